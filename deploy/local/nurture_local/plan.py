"""What will run: ports and places remembered or chosen, and one child per process with its environment."""

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct
from nurture_chassis.settings import email_mode

from nurture_local import business_clock, cluster_home, nats, postgres
from nurture_local.addresses import for_role, role_password
from nurture_local.configuration import SANDBOX_SENDER, Configuration, Options
from nurture_local.instance import DataDir, Secrets, State
from nurture_local.ports import LOOPBACK, gateway_port, remembered_port
from nurture_local.probes import http_ok
from nurture_local.processes import ChildSpec, Stage
from nurture_local.rooms import ROOMS

WITHHELD = (
    "DATABASE_URL",
    "NATS_URL",
    "SECRET_KEY",
    "SECRET_KEY_PREVIOUS",
    "ADMIN_API_KEY",
    "RESEND_API_KEY",
    "RESEND_API_URL",
    "RESEND_WEBHOOK_SECRET",
    "FROM_EMAIL",
    "EMAIL_PROVIDER",
    "SMTP_HOST",
    "SMTP_PORT",
    "SMTP_TLS",
    "SMTP_CA_FILE",
    "SMTP_USERNAME",
    "SMTP_PASSWORD",
    "TELEGRAM_BOT_TOKEN",
    "TELEGRAM_API_URL",
    "TELEGRAM_LINK_URL",
    "TELEGRAM_UPDATES",
    "TELEGRAM_WEBHOOK_SECRET",
    "PORT",
    "NURTURE_API_KEY",
    "NURTURE_SANDBOX_URL",
)
"""Not inherited by children: each gets only those that it needs."""


POSTBOX = "sandbox-smtp"
"""The port at which the sandbox takes mails over SMTP."""


class Refused(Exception):
    """The settings and what the data dir remembers do not fit together."""


class Plan(Struct, kw_only=True):
    """Everything the supervisor needs. `home` is None with a database of somebody else's."""

    specs: list[ChildSpec]
    state: State
    admin_url: str
    secret_key: str
    api_key: str
    publish_schema: str
    home: cluster_home.Home | None
    postgres_password: str


def make(
    data: DataDir, configuration: Configuration, options: Options, environ: Mapping[str, str] = os.environ
) -> Plan:
    """Choose everything that this run needs and prepare the cluster's files. Raises Refused, PortTaken and others."""
    state, secrets = data.state(), data.secrets()
    _set_clock(state, configuration, options)
    taken: set[int] = set()
    port = gateway_port(options.port or configuration.port, state.ports.get("gateway"))
    taken.add(port)
    state.ports = _ports(state.ports, configuration, options, taken) | {"gateway": port}
    state.gateway = f"http://{LOOPBACK}:{port}"
    state.live = configuration.any_live
    state.mode = email_mode(configuration.email_provider, live=configuration.live)
    state.sandbox = None if configuration.live else f"http://{LOOPBACK}:{state.ports['sandbox']}"
    state.nats = configuration.nats_url or nats.url(state.ports["nats"])
    state.publish_schema = configuration.publish_schema
    state.own_database = configuration.database_url is None
    home, admin_url = database(data, state, secrets, configuration)
    state.database = postgres.url(state.ports["postgres"], "…") if home else ""
    keys = Keys.of(configuration, secrets)
    specs = [
        *_servers(data, state, configuration, home),
        *([] if configuration.live else [_sandbox(data, state, keys, environ)]),
        *_services(state, configuration, options, keys, admin_url, environ),
    ]
    return Plan(
        specs=specs,
        state=state,
        admin_url=admin_url,
        secret_key=keys.secret_key,
        api_key=keys.api_key,
        publish_schema=configuration.publish_schema,
        home=home,
        postgres_password=secrets.postgres_password,
    )


class Keys(Struct, kw_only=True, frozen=True):
    """The secrets in force: the user's, else the generated ones."""

    secret_key: str
    earlier_keys: str
    api_key: str
    webhook_secret: str
    resend_api_key: str
    bot_token: str
    telegram_webhook_secret: str

    @classmethod
    def of(cls, configuration: Configuration, secrets: Secrets) -> "Keys":
        own = configuration
        # A generated webhook secret is the sandbox's; with a real provider it would only hide that none was set.
        webhook = own.resend_webhook_secret.reveal() if own.resend_webhook_secret else ""
        return cls(
            secret_key=own.secret_key.reveal() if own.secret_key else secrets.secret_key,
            earlier_keys=own.secret_key_previous.reveal() if own.secret_key_previous else "",
            api_key=own.admin_api_key.reveal() if own.admin_api_key else secrets.admin_api_key,
            webhook_secret=webhook or ("" if own.live else secrets.webhook_secret),
            resend_api_key=own.resend_api_key.reveal() if own.resend_api_key else secrets.sandbox_api_key,
            bot_token=_bot_token(own, secrets),
            # Unlike Resend's, this one is ours to choose: we tell it to Telegram together with the webhook's address.
            telegram_webhook_secret=own.telegram_webhook_secret.reveal()
            if own.telegram_webhook_secret
            else secrets.telegram_webhook_secret,
        )


def _bot_token(configuration: Configuration, secrets: Secrets) -> str:
    if configuration.telegram_bot_token:
        return configuration.telegram_bot_token.reveal()
    return secrets.sandbox_bot_token if configuration.telegram == "sandbox" else ""


def _set_clock(state: State, configuration: Configuration, options: Options) -> None:
    origin = business_clock.resume(state.clock, state.stopped_at, options.speed or 1, time.time())
    if origin and configuration.any_live:
        raise Refused(
            "this data dir's business time runs ahead of real time (an earlier run had --speed), and "
            f"{configuration.what_is_live} is set: begin anew with --fresh, or name another --data-dir"
        )
    state.clock, state.stopped_at = origin, None


def _ports(last: dict[str, int], configuration: Configuration, options: Options, taken: set[int]) -> dict[str, int]:
    names = [*_names(options)]
    names += [] if configuration.live else ["sandbox"]
    names += [POSTBOX] if _postbox(configuration) else []
    names += [] if configuration.nats_url else ["nats", "nats-monitor"]
    names += [] if configuration.database_url else ["postgres"]
    return {name: remembered_port(last.get(name), taken) for name in names if name != "gateway"}


def _postbox(configuration: Configuration) -> bool:
    """Whether the sandbox has to take mails over SMTP."""
    return configuration.email_provider == "smtp" and not configuration.live


def _names(options: Options) -> list[str]:
    """Service processes: `email`, `email-2`, …"""
    return [
        room if number == 1 else f"{room}-{number}"
        for room in ROOMS
        for number in range(1, options.replicas.get(room, 1) + 1)
    ]


def database(
    data: DataDir, state: State, secrets: Secrets, configuration: Configuration
) -> tuple[cluster_home.Home | None, str]:
    if configuration.database_url is not None:
        return None, configuration.database_url.reveal()
    recorded = Path(state.postgres_home) if state.postgres_home else None
    home = cluster_home.choose(data.path, recorded)
    if not secrets.postgres_password:
        if postgres.exists(home):
            _clear_orphan(home, recorded)
        secrets.postgres_password = os.urandom(24).hex()
        data.write_secrets(secrets)
    state.postgres_home = str(home.folder)
    data.write(state)  # before there is anything in that folder, so that --fresh finds it
    postgres.prepare(home, secrets.postgres_password)
    return home, postgres.url(state.ports["postgres"], secrets.postgres_password)


def _clear_orphan(home: cluster_home.Home, recorded: Path | None) -> None:
    if recorded is not None:
        raise Refused(
            f"the database in {home.folder} has a password that secrets.json no longer holds: restore that file, "
            "or begin anew with `nurture up --fresh`"
        )
    # Its data dir was deleted by hand and only this part, outside of it, was left over.
    postgres.stop_stray(home)
    postgres.remove_data(home)


def _servers(
    data: DataDir, state: State, configuration: Configuration, home: cluster_home.Home | None
) -> list[ChildSpec]:
    specs = [] if home is None else [postgres.spec(home, state.ports["postgres"])]
    if configuration.nats_url is None:
        specs.append(nats.spec(data.path / "nats", state.ports["nats"], state.ports["nats-monitor"]))
    return specs


def _sandbox(data: DataDir, state: State, keys: Keys, environ: Mapping[str, str]) -> ChildSpec:
    port = state.ports["sandbox"]
    clock = business_clock.setting(state.clock)
    return ChildSpec(
        name="sandbox",
        stage=Stage.PROVIDER,
        argv=(sys.executable, "-m", "nurture_local.sandbox"),
        env={
            **inherited(environ),
            "SANDBOX_PORT": str(port),
            "SANDBOX_DATA": str((data.path / "sandbox").resolve()),
            "SANDBOX_WEBHOOK_URL": f"{state.gateway}/admin/api/email/webhook",
            "RESEND_WEBHOOK_SECRET": keys.webhook_secret,
            **({"SANDBOX_SMTP_PORT": str(state.ports[POSTBOX])} if POSTBOX in state.ports else {}),
            **({"NURTURE_CLOCK": clock} if clock else {}),
        },
        ready=http_ok(port, "/health/ready"),
    )


def _services(
    state: State,
    configuration: Configuration,
    options: Options,
    keys: Keys,
    admin_url: str,
    environ: Mapping[str, str],
) -> list[ChildSpec]:
    clock = business_clock.setting(state.clock)
    shared = {
        **inherited(environ),
        # glibc gives every thread an arena of its own and keeps in it what was freed.
        "MALLOC_ARENA_MAX": "2",
        "NATS_URL": state.nats,
        "SECRET_KEY": keys.secret_key,
        "SECRET_KEY_PREVIOUS": keys.earlier_keys,
        "ENVIRONMENT": configuration.environment,
        "PUBLIC_URL": configuration.public_url or state.gateway,
        "PUBLISH_SCHEMA": configuration.publish_schema,
        "NURTURE_HTTP_HOST": environ.get("NURTURE_HTTP_HOST") or LOOPBACK,
        **({"NURTURE_CLOCK": clock} if clock else {}),
        "NURTURE_TELEGRAM": configuration.telegram,
        "EMAIL_PROVIDER": configuration.email_provider,
        **({} if configuration.live else {"NURTURE_SANDBOX": "1"}),
    }
    telegram = telegram_settings(configuration, keys, state.sandbox or "", state.sandbox or "")
    email = email_settings(configuration, keys, state.sandbox or "", (LOOPBACK, state.ports.get(POSTBOX, 0)))
    links = {"TELEGRAM_LINK_URL": telegram.get("TELEGRAM_LINK_URL", "")}
    own = {
        "gateway": {
            "ADMIN_API_KEY": keys.api_key,
            "RESEND_WEBHOOK_SECRET": keys.webhook_secret,
            "PORT": str(state.ports["gateway"]),
            "TELEGRAM_WEBHOOK_SECRET": telegram.get("TELEGRAM_WEBHOOK_SECRET", ""),
            "NURTURE_SANDBOX_URL": state.sandbox or "",
            **links,
        },
        "controller": links,
        "email": email,
        "telegram": telegram,
    }
    specs = []
    for name in _names(options):
        room = name.partition("-")[0]
        role = f"nurture_{room}"
        port = state.ports[name]
        specs.append(
            ChildSpec(
                name=name,
                stage=Stage.GATEWAY if room == "gateway" else Stage.SERVICE,
                argv=(sys.executable, "-m", role),
                env={
                    **{key: value for key, value in shared.items() if value},
                    **{key: value for key, value in own.get(room, {}).items() if value},
                    "DATABASE_URL": for_role(admin_url, role, role_password(keys.secret_key, role)),
                    "NURTURE_HTTP_PORT": str(port),
                },
                ready=http_ok(port, "/health/ready"),
            )
        )
    return specs


def email_settings(configuration: Configuration, keys: Keys, sandbox: str, postbox: tuple[str, int]) -> dict[str, str]:
    """Who emails are given to, the sandbox or the real provider, never a mixture. Over SMTP services find the sandbox at
    `postbox`, a host and a port."""
    sender = {"FROM_EMAIL": configuration.from_email or SANDBOX_SENDER}
    if configuration.email_provider == "resend":
        url = configuration.resend_api_url if configuration.live else sandbox
        return sender | {"RESEND_API_KEY": keys.resend_api_key, "RESEND_API_URL": url}
    if not configuration.live:
        host, port = postbox
        return sender | {"SMTP_HOST": host, "SMTP_PORT": str(port), "SMTP_TLS": "none"}
    return sender | {
        "SMTP_HOST": configuration.smtp_host or "",
        "SMTP_PORT": str(configuration.smtp_port),
        "SMTP_TLS": configuration.smtp_tls,
        # The services may stand in another folder.
        "SMTP_CA_FILE": os.path.abspath(configuration.smtp_ca_file) if configuration.smtp_ca_file else "",
        "SMTP_USERNAME": configuration.smtp_username,
        "SMTP_PASSWORD": configuration.smtp_password.reveal() if configuration.smtp_password else "",
    }


def telegram_settings(configuration: Configuration, keys: Keys, sandbox: str, shown: str) -> dict[str, str]:
    """The bot's settings, the sandbox's or the real ones, never a mixture; none while the channel is off.

    Services find the sandbox at `sandbox`, people's browsers at `shown`.
    """
    if configuration.telegram == "off":
        return {}
    played = configuration.telegram == "sandbox"
    return {
        "TELEGRAM_BOT_TOKEN": keys.bot_token,
        "TELEGRAM_API_URL": sandbox if played else configuration.telegram_api_url,
        "TELEGRAM_LINK_URL": f"{shown}/t.me" if played else configuration.telegram_link_url,
        "TELEGRAM_UPDATES": configuration.telegram_updates,
        "TELEGRAM_WEBHOOK_SECRET": keys.telegram_webhook_secret,
    }


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment without secrets and addresses; loopback never goes through a proxy."""
    withheld = {*WITHHELD, *(f"{name}_FILE" for name in WITHHELD)}
    kept = {key: value for key, value in environ.items() if key not in withheld}
    if any(key.lower() in ("http_proxy", "https_proxy", "all_proxy") for key in kept):
        for key in ("NO_PROXY", "no_proxy"):
            kept[key] = ",".join(filter(None, (kept.get(key), LOOPBACK, "localhost")))
    kept["PYTHONUNBUFFERED"] = "1"
    return kept
