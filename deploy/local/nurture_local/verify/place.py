"""Where there is something to verify: the instance of a data dir, or the database that the environment names."""

from pathlib import Path

from msgspec import Struct, structs
from nurture_chassis import settings

from nurture_local import postgres
from nurture_local.configuration import Configuration
from nurture_local.instance import DataDir, DataDirRefused, State
from nurture_local.terminal import UNREACHABLE, USAGE, Failure, invocation

_CALLS = {"email": 8, "telegram": 4}
"""Calls that one process has under way at most, unless it is told otherwise."""


class Place(Struct, kw_only=True, frozen=True):
    """What a snapshot is taken from, and what else is known here. `secrets` by name; they are looked for, never shown.
    `ledger` is the sandbox's file, or its address."""

    admin_url: str
    publish_schema: str
    nats_url: str | None
    ledger: Path | str | None = None
    bus_files: Path | None = None
    logs: Path | None = None
    secrets: dict[str, str] = {}
    replicas: dict[str, int] = {}
    running: bool = False

    def slack(self, channel: str) -> int:
        """Calls that may arrive together behind a stall."""
        return _CALLS[channel] * self.replicas.get(channel, 1)


class _Elsewhere(Struct, kw_only=True, frozen=True):
    """What the environment of services somewhere else says of their sandbox: emails go to it, so it lies there."""

    nurture_sandbox: bool = False
    resend_api_url: str | None = None


def find(data_dir: Path | None) -> Place:
    """DATABASE_URL if it is set, else the running instance. Raises Failure."""
    try:
        given = settings.load(Configuration)
        elsewhere = settings.load(_Elsewhere)
        data = DataDir(data_dir)
        state = data.running()
    except settings.SettingsError as error:
        raise Failure(str(error), code=USAGE) from None
    except DataDirRefused as error:
        raise Failure(str(error)) from None
    if given.database_url is not None:
        here = state is not None and not state.own_database
        url, schema, nats_url = given.database_url.reveal(), given.publish_schema, given.nats_url
        if not here or state is None:
            ledger = elsewhere.resend_api_url if elsewhere.nurture_sandbox else None
            return Place(admin_url=url, publish_schema=schema, nats_url=nats_url, ledger=ledger)
        return _of(data, state, url, schema)
    return _own(data, state)


def here(data: DataDir) -> Place:
    """The running instance of this data dir, whatever the environment names. Raises Failure."""
    return _own(data, data.running())


def _own(data: DataDir, state: State | None) -> Place:
    if state is None or not state.own_database:
        raise Failure(
            f"no instance with a database of its own runs in {data.path}",
            f"start one with `{invocation()} up`, or set DATABASE_URL (and NATS_URL) to look at another",
            code=UNREACHABLE,
        )
    url = postgres.url(state.ports["postgres"], data.known_secrets().postgres_password)
    return _of(data, state, url, state.publish_schema)


def _of(data: DataDir, state: State, url: str, schema: str) -> Place:
    names = [name.partition("-")[0] for name in state.children]
    own_bus = "nats" in state.children
    return Place(
        admin_url=url,
        publish_schema=schema,
        nats_url=state.nats,
        ledger=data.path / "sandbox" / "ledger.sqlite3" if state.sandbox else None,
        bus_files=data.path / "nats" if own_bus else None,
        logs=data.logs,
        secrets={name.upper(): value for name, value in structs.asdict(data.known_secrets()).items() if value},
        replicas={name: names.count(name) for name in set(names)},
        running=True,
    )
