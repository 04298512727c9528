"""Bring a database to the state that this version's services expect; near nothing when it is there already.

The work is: a schema and a role per room, forward migrations, published views, rights. All of it is one transaction: it
is done, or nothing of it is. Each schema carries the comment `nurture <fingerprint>`: it says that the schema is ours, and
of which inputs it was last made. Files are in dbmate's form and its table keeps which were applied.
"""

from collections.abc import Mapping
from hashlib import sha256

import asyncpg
from nurture_chassis.queries import quoted

from nurture_local import publish, roles, server
from nurture_local.addresses import role_password, with_database
from nurture_local.rooms import Room, fingerprint, rooms
from nurture_local.server import connected

LOCK = 0x6E757274  # "nurt": one migration at a time per database
_PATIENCE = 300.0
_TRIES = 3
_DOWN = "-- migrate:down"
REST = "published views, roles and rights"
_BUSY = (asyncpg.DeadlockDetectedError, asyncpg.LockNotAvailableError)
_IN_THE_WAY = (asyncpg.DependentObjectsStillExistError, asyncpg.FeatureNotSupportedError)
"""A migration meets a view that shows what it changes."""


class MigrationFailed(Exception):
    """The database is not in the expected state; the text says which step failed and why."""


async def migrate(
    admin_url: str,
    secret_key: str,
    publish_schema: str = "public",
    *,
    own_server: bool = False,
    force: bool = False,
    found: tuple[Room, ...] | None = None,
) -> list[str]:
    """Do what `check` finds undone, or everything with `force`. Returns what was done.

    `own_server` marks a server of ours: its database is made when absent and closed to everybody else. On any other
    server nothing is touched that is not ours. Raises MigrationFailed, ServerRefused, publish.NameTaken or
    roles.RoleForeign; the database is then as it was.
    """
    found = found or rooms()
    if own_server:
        await create_database(admin_url)
    async with connected(admin_url) as connection:
        wanted = fingerprint_of(found, secret_key, publish_schema)
        if not force and not await undone(connection, found, wanted):
            return []
        if not own_server:
            await server.refuse(connection, admin_url)
        for tried in range(1, _TRIES + 1):
            try:
                return await _once(connection, found, secret_key, publish_schema, wanted, own_server, force)
            except _BUSY:
                # Services that run meanwhile hold locks for moments; nothing of ours is left behind by a try.
                if tried == _TRIES:
                    raise MigrationFailed(
                        "the tables are in use and were not to be had within 10 s, three times; nothing was changed. "
                        "Migrate again when less is going on"
                    ) from None
        raise AssertionError


async def _once(
    connection: asyncpg.Connection,
    found: tuple[Room, ...],
    secret_key: str,
    publish_schema: str,
    wanted: str,
    own_server: bool,
    force: bool,
) -> list[str]:
    async with connection.transaction():
        await hold(connection)
        left = await undone(connection, found, wanted)
        if left or force:
            await build(connection, found, secret_key, publish_schema, own_server=own_server)
    return left


async def hold(connection: asyncpg.Connection) -> None:
    """Wait for our turn; from then on no lock is waited for longer than 10 s, and no statement is cut short."""
    await connection.execute(f"select pg_advisory_xact_lock({LOCK})", timeout=_PATIENCE)
    await connection.execute("set local lock_timeout = '10s'; set local statement_timeout = 0")


async def build(
    connection: asyncpg.Connection,
    found: tuple[Room, ...],
    secret_key: str,
    publish_schema: str,
    *,
    own_server: bool = False,
) -> None:
    """Everything, inside of the caller's transaction."""
    await publish.refuse_foreign(connection, found, publish_schema)
    await make_rooms(connection, found, secret_key)
    kept = await publish.grants(connection, found, publish_schema)
    try:
        async with connection.transaction():
            await run_files(connection, found)
    except MigrationFailed as failure:
        if not isinstance(failure.__cause__, _IN_THE_WAY):
            raise
        await publish.drop(connection, found, publish_schema)
        await run_files(connection, found)
    if own_server:
        await roles.close_server(connection, found)
    await publish.apply(connection, found, publish_schema, kept)
    wanted = fingerprint_of(found, secret_key, publish_schema)
    for room in found:
        if room.migrations():
            await roles.grant(connection, room, publish_schema)
        await connection.execute(f"comment on schema {quoted(room.name)} is '{publish.MARK} {wanted}'")


async def check(
    url: str, secret_key: str | None = None, publish_schema: str = "public", found: tuple[Room, ...] | None = None
) -> list[str]:
    """What `migrate` would do: `room/file` of each pending migration, and views and roles when they may be stale.

    Without `secret_key` only migrations are looked at.
    """
    found = found or rooms()
    async with connected(url) as connection:
        wanted = fingerprint_of(found, secret_key, publish_schema) if secret_key else None
        return await undone(connection, found, wanted)


def fingerprint_of(found: tuple[Room, ...], secret_key: str, publish_schema: str) -> str:
    """What the rooms' schemas say of themselves when they were made by this version with these settings."""
    keys = "".join(sha256(role_password(secret_key, room.role).encode()).hexdigest() for room in found)
    return fingerprint(found, publish_schema, keys, roles.RIGHTS, repr(roles.LIMITS))


async def create_database(admin_url: str) -> None:
    """On a server of ours: make the database when it is absent."""
    name = admin_url.partition("?")[0].rpartition("/")[2]
    async with connected(with_database(admin_url, "postgres")) as connection:
        if not await connection.fetchval("select exists (select from pg_database where datname = $1)", name):
            await connection.execute(f"create database {quoted(name)}")


async def notes(connection: asyncpg.Connection, found: tuple[Room, ...]) -> dict[str, str]:
    """Schema → its comment, for the schemas with names of ours that are there."""
    rows = await connection.fetch(
        "select nspname, coalesce(obj_description(oid, 'pg_namespace'), '') as note from pg_namespace where nspname = any($1)",
        [room.name for room in found],
    )
    return {row["nspname"]: row["note"] for row in rows}


def foreign(told: Mapping[str, str]) -> list[str]:
    """What to say of schemas with our names that are somebody else's."""
    return [
        f"the schema {name} exists and is not Nurture's; nothing was touched. Use a database without such a "
        f"schema; or, if it was made for Nurture: comment on schema {name} is '{publish.MARK}'"
        for name, note in told.items()
        if note.partition(" ")[0] != publish.MARK
    ]


async def applied(connection: asyncpg.Connection, found: tuple[Room, ...]) -> set[tuple[str, str]]:
    """(room, version) of every migration that was."""
    rows = await connection.fetch(
        "select n.nspname from pg_namespace n join pg_class c on c.relnamespace = n.oid"
        " where n.nspname = any($1) and c.relname = 'schema_migrations'",
        [room.name for room in found],
    )
    if not rows:
        return set()
    union = " union all ".join(
        f"select '{row['nspname']}' as room, version from {quoted(row['nspname'])}.schema_migrations"  # noqa: S608 - our own names
        for row in rows
    )
    return {(row["room"], row["version"]) for row in await connection.fetch(union)}


async def undone(connection: asyncpg.Connection, found: tuple[Room, ...], wanted: str | None) -> list[str]:
    """What `check` tells, on a connection. Raises MigrationFailed on schemas that are not ours."""
    told = await notes(connection, found)
    for trouble in foreign(told):
        raise MigrationFailed(trouble)
    left = pending(found, await applied(connection, found))
    if wanted is not None and not await _finished(connection, found, told, wanted):
        left.append(REST)
    return left


def pending(found: tuple[Room, ...], applied: set[tuple[str, str]]) -> list[str]:
    """`room/file` of what was not applied yet, in order."""
    return [
        f"{room.name}/{path.name}"
        for room in found
        for version, path in room.migrations().items()
        if (room.name, version) not in applied
    ]


async def _finished(connection: asyncpg.Connection, found: tuple[Room, ...], told: dict[str, str], wanted: str) -> bool:
    if any(told.get(room.name) != f"{publish.MARK} {wanted}" for room in found):
        return False
    # A database restored from a dump has its comments but not its roles.
    names = [room.role for room in found]
    return await connection.fetchval("select count(*) from pg_roles where rolname = any($1)", names) == len(names)


async def make_rooms(connection: asyncpg.Connection, found: tuple[Room, ...], secret_key: str) -> None:
    """Schemas and roles, as far as they are missing."""
    for room in found:
        schema = quoted(room.name)
        if not await connection.fetchval("select to_regnamespace($1) is not null", schema):
            await connection.execute(f"create schema {schema}")
            await connection.execute(f"comment on schema {schema} is '{publish.MARK}'")
        await roles.ensure(connection, room, role_password(secret_key, room.role))


async def run_files(
    connection: asyncpg.Connection, found: tuple[Room, ...], only: set[tuple[str, str]] | None = None
) -> None:
    """Apply pending migrations, or those of them that `only` names, in the caller's transaction. Raises MigrationFailed."""
    for room in found:
        schema = quoted(room.name)
        await connection.execute(
            f"create table if not exists {schema}.schema_migrations (version varchar not null primary key)"
        )
    done = await applied(connection, found)
    for room in found:
        await connection.execute(f"set local search_path = {quoted(room.name)}")
        for version, path in room.migrations().items():
            if (room.name, version) not in done and (only is None or (room.name, version) in only):
                await _run_file(connection, room, path.name, path.read_text(encoding="utf-8"))
                await connection.execute("insert into schema_migrations (version) values ($1)", version)
    await connection.execute("set local search_path to default")


async def _run_file(connection: asyncpg.Connection, room: Room, name: str, text: str) -> None:
    if "transaction:false" in text.partition("\n")[0]:
        raise MigrationFailed(f"{room.name}/{name} asks to run outside of a transaction, which no migration may")
    try:
        await connection.execute(text.partition(_DOWN)[0])
    except _BUSY:
        raise
    except asyncpg.PostgresError as error:
        position = str(getattr(error, "position", None) or "")
        line = f", line {text[: int(position)].count(chr(10)) + 1}" if position.isdigit() else ""
        raise MigrationFailed(
            f"migrating the schema {room.name} failed in {name}{line}: {error}. Nothing was changed"
        ) from error
