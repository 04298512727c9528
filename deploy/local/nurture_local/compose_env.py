"""What `deploy/compose.yaml` is told: secrets made once, passwords derived from SECRET_KEY, and the providers' settings."""

import re
import secrets as randomness
from collections.abc import Mapping

from nurture_local import bus_users, configuration
from nurture_local.addresses import bus_password, role_password
from nurture_local.configuration import SANDBOX_SENDER
from nurture_local.instance import Secrets
from nurture_local.plan import Keys, email_settings, telegram_settings
from nurture_local.rooms import ROOMS

SANDBOX = "http://sandbox:8080"
POSTBOX = ("sandbox", 2525)
"""Where services find the sandbox, by its name in compose.yaml."""
AUTHORITY = "/etc/nurture/relay/ca.crt"
"""Where the email container finds what SMTP_CA_FILE is on this machine."""
_KEPT = {
    "SECRET_KEY": "secret_key",
    "ADMIN_API_KEY": "admin_api_key",
    "POSTGRES_PASSWORD": "postgres_password",
    "SANDBOX_API_KEY": "sandbox_api_key",
    "SANDBOX_BOT_TOKEN": "sandbox_bot_token",
    "SANDBOX_WEBHOOK_SECRET": "webhook_secret",
    "TELEGRAM_WEBHOOK_SECRET": "telegram_webhook_secret",
}
GIVEN = (
    "ENVIRONMENT", "SECRET_KEY", "SECRET_KEY_PREVIOUS", "ADMIN_API_KEY", "PUBLIC_URL", "PUBLISH_SCHEMA",
    "EMAIL_PROVIDER", "RESEND_API_KEY", "RESEND_API_URL", "RESEND_WEBHOOK_SECRET", "FROM_EMAIL",
    "SMTP_HOST", "SMTP_PORT", "SMTP_TLS", "SMTP_CA_FILE", "SMTP_USERNAME", "SMTP_PASSWORD",
    "TELEGRAM_BOT_TOKEN", "TELEGRAM_API_URL", "TELEGRAM_LINK_URL", "TELEGRAM_UPDATES", "TELEGRAM_WEBHOOK_SECRET",
)  # fmt: skip
"""Settings of the user's: from the environment, else as the file had them."""
_PORTS = {"GATEWAY_PORT": "8001", "SANDBOX_PORT": "8025"}
_PLAIN = re.compile(r"[A-Za-z0-9_./:@+=-]*")
_LINE = re.compile(r"([A-Z][A-Z0-9_]*)=(?:'([^']*)'|(.*))")


class NotWritable(Exception):
    """A value has a form that `.env` files cannot hold."""


def read(text: str) -> dict[str, str]:
    """The settings of a file that `write` made; lines of another form are passed over."""
    found = (_LINE.fullmatch(line.strip()) for line in text.splitlines())
    return {match[1]: match[2] if match[2] is not None else match[3] for match in found if match}


def write(settings: Mapping[str, str]) -> str:
    """Lines that compose and a shell read alike. Raises NotWritable."""
    lines = ["# Written by `nurture compose-env`. Whoever reads this file can do everything."]
    for name, value in settings.items():
        if "'" in value or "\n" in value:
            raise NotWritable(f"{name} holds a quote or a line break, which a .env file cannot")
        lines.append(f"{name}={value}" if _PLAIN.fullmatch(value) else f"{name}='{value}'")
    return "\n".join(lines) + "\n"


def make(before: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """All settings: what `before` had generated is kept, the rest follows from it and from the environment.

    Raises SettingsError as `nurture up` does.
    """
    secrets = Secrets(**{field: before[name] for name, field in _KEPT.items() if before.get(name)})
    secrets.complete()
    secrets.postgres_password = secrets.postgres_password or randomness.token_hex(24)
    ports = {name: environ.get(name) or before.get(name) or usual for name, usual in _PORTS.items()}
    given = _given(before, environ, secrets)
    told = configuration.load(given)
    keys = Keys.of(told, secrets)
    shown = "" if told.live else f"http://127.0.0.1:{ports['SANDBOX_PORT']}"
    gateway = f"http://127.0.0.1:{ports['GATEWAY_PORT']}"
    email = email_settings(told, keys, SANDBOX, POSTBOX)
    return {
        "COMPOSE_PROJECT_NAME": environ.get("COMPOSE_PROJECT_NAME") or before.get("COMPOSE_PROJECT_NAME") or "nurture",
        **{name: getattr(secrets, field) for name, field in _KEPT.items()},
        "SECRET_KEY": keys.secret_key,
        **({"SECRET_KEY_PREVIOUS": keys.earlier_keys} if keys.earlier_keys else {}),
        "ADMIN_API_KEY": keys.api_key,
        **{f"{room.upper()}_DATABASE_PASSWORD": role_password(keys.secret_key, f"nurture_{room}") for room in ROOMS},
        **{bus_users.password_variable(user): bus_password(keys.secret_key, user) for user in bus_users.USERS},
        **ports,
        "ENVIRONMENT": told.environment,
        "PUBLIC_URL": told.public_url or gateway,
        "PUBLISH_SCHEMA": told.publish_schema,
        "NURTURE_SANDBOX": "0" if told.live else "1",
        "NURTURE_SANDBOX_URL": shown,
        "NURTURE_TELEGRAM": told.telegram,
        "EMAIL_PROVIDER": told.email_provider,
        # In the sandbox its address is also where `verify` finds the ledger, whatever emails go over.
        "RESEND_API_KEY": "",
        "RESEND_API_URL": told.resend_api_url if told.live else SANDBOX,
        "RESEND_WEBHOOK_SECRET": keys.webhook_secret,
        **email,
        # compose 1.29 cannot say one thing where another is set.
        **({"SMTP_CA_MOUNTED": AUTHORITY} if email.get("SMTP_CA_FILE") else {}),
        **telegram_settings(told, keys, SANDBOX, shown),
        # For the `nurture` command on this machine.
        "NURTURE_URL": gateway,
        "NURTURE_API_KEY": keys.api_key,
    }


def _given(before: Mapping[str, str], environ: Mapping[str, str], secrets: Secrets) -> dict[str, str]:
    # What was written for the sandbox, or by default, is nobody's wish: a key that comes later replaces it.
    made = {SANDBOX, SANDBOX_SENDER, secrets.sandbox_api_key, secrets.sandbox_bot_token, secrets.webhook_secret}
    local = "http://127.0.0.1:"
    gone = ("SMTP_",) if before.get("SMTP_HOST") == POSTBOX[0] else ()
    # Nor is what was written for the other provider, once somebody names one.
    gone += {"resend": ("SMTP_",), "smtp": ("RESEND_",)}.get(environ.get("EMAIL_PROVIDER", ""), ())
    kept = {
        name: before[name]
        for name in GIVEN
        if before.get(name)
        and not name.startswith(gone)
        and before[name] not in made
        and not before[name].startswith(local)
    }
    asked = [name for known in GIVEN for name in (known, f"{known}_FILE") if environ.get(name)]
    return {**kept, **{name: environ[name] for name in asked}}
