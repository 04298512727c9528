"""db check, plan, backup, migrate, restore: of DATABASE_URL, or of this instance's own database, whether it runs or not."""

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from cyclopts import App, Parameter
from msgspec import Struct

from nurture_local.instance import DataDir
from nurture_local.terminal import FAILED, UNREACHABLE, Failure, Where, console, invocation

if TYPE_CHECKING:
    from nurture_local.backup import Manifest

db = App(name="db", help="Look at the database's schema, bring it up to date, make a backup or put one back.")
T = TypeVar("T")


class Target(Struct, frozen=True):
    """The database to look at. `secret_key` is None when nobody told; roles cannot be checked or made then.

    `running` says that an instance of this machine works on it.
    """

    url: str
    secret_key: str | None
    publish_schema: str
    own_server: bool
    running: bool = False

    def key(self) -> str:
        if self.secret_key is None:
            raise Failure("SECRET_KEY is not set, and the passwords of the service roles come from it", code=2)
        return self.secret_key


@db.command
def check(*, data_dir: Where = None) -> int:
    """List what is not migrated yet; exit code 1 when there is anything."""
    from nurture_local import migrate

    with database_of(data_dir) as target:
        pending = _run(migrate.check(target.url, target.secret_key, target.publish_schema))
    for step in pending:
        console.print(f"pending: {step}", markup=False)
    console.print("The database is up to date." if not pending else "Bring it up to date with: nurture db migrate")
    return FAILED if pending else 0


@db.command
def plan(*, data_dir: Where = None) -> int:
    """Show what `db migrate` would do, without touching the database; exit code 1 when it would be refused."""
    from nurture_local import addresses, schema_diff

    with database_of(data_dir) as target:
        found = _run(schema_diff.diff(target.url, target.secret_key, target.publish_schema))
        console.print(f"{found.server} at {addresses.without_password(target.url)}", markup=False)
    for change in found.changes:
        console.print(f"  {change.action:<6} {change.what:<9} {change.name}", markup=False)
    for note in found.notes:
        console.print(f"  note   {note}", markup=False)
    for clash in found.clashes:
        console.print(f"  clash  {clash}", markup=False)
    if found.clashes:
        console.print("`nurture db migrate` would be refused; nothing was touched.")
        return FAILED
    if found.changes:
        console.print(f"{len(found.changes)} changes; nothing was touched. Make them with: nurture db migrate")
    else:
        console.print("The database is up to date.")
    return 0


@db.command
def backup(file: Path | None = None, *, data_dir: Where = None) -> int:
    """Write every row, as of one moment, into a file; what goes on meanwhile is not disturbed.

    Parameters
    ----------
    file
        Where to; nurture-TIME.backup.zip in this folder.
    """
    from nurture_local import backup as backups

    target_file = file or Path(f"nurture-{datetime.now(UTC):%Y%m%d-%H%M%S}.backup.zip")
    with database_of(data_dir) as target:
        manifest = _run(backups.write(target.url, target_file, target.secret_key))
    size = target_file.stat().st_size
    console.print(f"{target_file}: {_told(manifest)}, {size / 1e6:.1f} MB", markup=False)
    console.print(
        "It holds people's addresses and words: keep it where only you can read it. It does not hold SECRET_KEY."
    )
    return 0


@db.command(name="migrate")
def migrate_(*, data_dir: Where = None) -> int:
    """Apply pending migrations, and make views, roles and rights again: all of it, or nothing."""
    from nurture_local import migrate

    with database_of(data_dir) as target:
        done = _run(
            migrate.migrate(target.url, target.key(), target.publish_schema, own_server=target.own_server, force=True)
        )
    for step in done:
        console.print(f"done: {step}", markup=False)
    console.print("The database is up to date.")
    return 0


@db.command
def restore(file: Path, /, *, replace: Annotated[bool, Parameter(negative=())] = False, data_dir: Where = None) -> int:
    """Put a backup back, into an empty database or in place of what it holds: all of it, or nothing.

    Parameters
    ----------
    replace
        Drop what the database holds of Nurture's.
    """
    from nurture_local import backup as backups
    from nurture_local import restore as restoring

    with database_of(data_dir, make=True) as target:
        if target.running:
            raise Failure(
                "the instance runs on this database", f"stop it first: {invocation()} down{DataDir(data_dir).naming}"
            )
        manifest, held = _run(
            restoring.restore(
                target.url, file, target.key(), target.publish_schema, replace=replace, own_server=target.own_server
            )
        )
    console.print(f"Restored {_told(manifest)}.", markup=False)
    if held:
        console.print(
            "It sends nothing until you confirm that no other copy of it does: nurture resume --confirm-restored"
        )
    if manifest.key and manifest.key != backups.key_of(target.secret_key):
        console.print(
            "SECRET_KEY is another than when this backup was made: links in messages that were sent before will be refused "
            "until SECRET_KEY_PREVIOUS is that one."
        )
    return 0


def _told(manifest: "Manifest") -> str:
    return f"{manifest.rows} rows in {len(manifest.tables)} tables as of {manifest.taken_at:%Y-%m-%d %H:%M:%S} UTC"


def _run(work: Coroutine[Any, Any, T]) -> T:
    from nurture_local import backup, migrate, publish, roles, rooms, server

    known = (
        migrate.MigrationFailed,
        publish.NameTaken,
        roles.RoleForeign,
        rooms.RoomMissing,
        server.ServerRefused,
        backup.BackupFailed,
    )
    try:
        return asyncio.run(work)
    except known as error:
        raise Failure(str(error)) from None


@contextlib.contextmanager
def database_of(data_dir: Path | None, *, make: bool = False) -> Iterator[Target]:
    """The database that is meant. One of our own whose instance does not run is started for the length of the block.

    With `make`, an instance that is not there yet is begun.
    """
    import os

    from nurture_chassis import settings

    from nurture_local import own_server, plan, postgres, servers
    from nurture_local.cluster_home import NoHome
    from nurture_local.configuration import Configuration, supabase_without_address
    from nurture_local.instance import DataDir, DataDirRefused

    if trouble := supabase_without_address(os.environ):
        raise Failure(trouble, code=2)
    try:
        given = settings.load(Configuration)
        data = DataDir(data_dir)
        state = data.running()
        secrets = data.known_secrets()
    except settings.SettingsError as error:
        raise Failure(str(error), code=2) from None
    except DataDirRefused as error:
        raise Failure(str(error)) from None
    told = given.secret_key.reveal() if given.secret_key else None
    if given.database_url is not None:
        url = given.database_url.reveal()
        running = state is not None and not state.own_database
        yield Target(url, told or secrets.secret_key or None, given.publish_schema, False, running)
        return
    if state is not None and state.own_database:
        url = postgres.url(state.ports["postgres"], secrets.postgres_password)
        yield Target(url, told or secrets.secret_key or None, state.publish_schema, True, running=True)
        return
    if state is not None or not (make or (data.exists and data.state().postgres_home)):
        raise Failure(
            f"no instance with a database of its own is in {data.path}",
            "begin with `nurture up`, or set DATABASE_URL",
            code=UNREACHABLE,
        )
    known = (DataDirRefused, NoHome, plan.Refused, postgres.ClusterUnusable, servers.NeverReady)
    try:
        with own_server.awake(data, given, make=make) as url:
            key = told or data.known_secrets().secret_key
            yield Target(url, key, given.publish_schema, True)
    except known as error:
        raise Failure(str(error)) from None
