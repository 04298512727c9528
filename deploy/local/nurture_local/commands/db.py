"""db check, db migrate: of the running instance, or of DATABASE_URL."""

import asyncio
from pathlib import Path
from typing import Any

from cyclopts import App
from msgspec import Struct

from nurture_local.terminal import FAILED, UNREACHABLE, Failure, Where, console

db = App(name="db", help="Look at the database's schema, or bring it up to date.")


class Target(Struct, frozen=True):
    """The database to look at. `secret_key` is None when nobody told; roles cannot be checked or made then."""

    url: str
    secret_key: str | None
    publish_schema: str
    own_server: bool


@db.command
def check(*, data_dir: Where = None) -> int:
    """List what is not migrated yet; exit code 1 when there is anything."""
    from nurture_local import migrate

    target = _target(data_dir)
    pending = _run(migrate.check(target.url, target.secret_key, target.publish_schema))
    for step in pending:
        console.print(f"pending: {step}", markup=False)
    console.print("The database is up to date." if not pending else "Bring it up to date with: nurture db migrate")
    return FAILED if pending else 0


@db.command(name="migrate")
def migrate_(*, data_dir: Where = None) -> int:
    """Apply pending migrations, and make views, roles and rights again."""
    from nurture_local import migrate

    target = _target(data_dir)
    if target.secret_key is None:
        raise Failure("SECRET_KEY is not set, and the passwords of the service roles come from it", code=2)
    done = _run(
        migrate.migrate(target.url, target.secret_key, target.publish_schema, own_server=target.own_server, force=True)
    )
    for step in done:
        console.print(f"done: {step}", markup=False)
    console.print("The database is up to date.")
    return 0


def _run(work: Any) -> list[str]:
    from nurture_local import migrate, publish, roles, rooms

    known = (migrate.MigrationFailed, publish.NameTaken, roles.RoleForeign, rooms.RoomMissing)
    try:
        return asyncio.run(work)
    except known as error:
        raise Failure(str(error)) from None


def _target(data_dir: Path | None) -> Target:
    from nurture_chassis import settings

    from nurture_local import postgres
    from nurture_local.configuration import Configuration
    from nurture_local.instance import DataDir, DataDirRefused

    try:
        given = settings.load(Configuration)
        data = DataDir(data_dir)
        state = data.running()
        secrets = data.known_secrets()
    except settings.SettingsError as error:
        raise Failure(str(error), code=2) from None
    except DataDirRefused as error:
        raise Failure(str(error)) from None
    key = given.secret_key.reveal() if given.secret_key else secrets.secret_key or None
    if given.database_url is not None:
        return Target(given.database_url.reveal(), key, given.publish_schema, False)
    if state is None or not state.own_database:
        raise Failure(
            f"no instance with a database of its own runs in {data.path}",
            "start one with `nurture up`, or set DATABASE_URL",
            code=UNREACHABLE,
        )
    url = postgres.url(state.ports["postgres"], secrets.postgres_password)
    return Target(url, key, state.publish_schema, True)
