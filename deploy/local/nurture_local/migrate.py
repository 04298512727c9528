"""Bring a database to the state that this version's services expect; near nothing when it is there already.

The work is: a schema and a role per room, dbmate's forward migrations, published views, rights. Each schema carries
the comment `nurture <fingerprint>`: it says that the schema is ours, and of which inputs it was last made.
"""

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import asyncpg
from nurture_chassis.queries import quoted

from nurture_local import publish, roles
from nurture_local.addresses import password_of, role_password, with_database, with_query
from nurture_local.programs import dbmate
from nurture_local.rooms import Room, fingerprint, rooms

LOCK = 0x6E757274  # "nurt": one migration at a time per database
_PATIENCE = 300.0
_DOWN = "-- migrate:down"
REST = "published views, roles and rights"


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
    server nothing is touched that is not ours. Raises MigrationFailed, publish.NameTaken or roles.RoleForeign.
    """
    found = found or rooms()
    if own_server:
        await _create_database(admin_url)
    async with _connection(admin_url) as connection:
        wanted = _wanted(found, secret_key, publish_schema)
        undone = await _undone(connection, found, wanted)
        if not undone and not force:
            return []
        async with _connection(admin_url) as guard, guard.transaction():
            await guard.execute(f"select pg_advisory_xact_lock({LOCK})", timeout=_PATIENCE)
            undone = await _undone(connection, found, wanted)
            if undone or force:
                # Asked again in the publishing transaction; asked first so that a refusal leaves nothing behind.
                await publish.refuse_foreign(connection, found, publish_schema)
                await _make_rooms(connection, found, secret_key)
                await _run_dbmate(connection, admin_url, found)
                await _finish(connection, found, publish_schema, wanted, own_server=own_server)
        return undone


async def check(
    url: str, secret_key: str | None = None, publish_schema: str = "public", found: tuple[Room, ...] | None = None
) -> list[str]:
    """What `migrate` would do: `room/file` of each pending migration, and views and roles when they may be stale.

    Without `secret_key` only migrations are looked at.
    """
    found = found or rooms()
    async with _connection(url) as connection:
        wanted = _wanted(found, secret_key, publish_schema) if secret_key else None
        return await _undone(connection, found, wanted)


def _wanted(found: tuple[Room, ...], secret_key: str, publish_schema: str) -> str:
    keys = "".join(sha256(role_password(secret_key, room.role).encode()).hexdigest() for room in found)
    return fingerprint(found, publish_schema, keys, roles.RIGHTS, repr(roles.LIMITS))


@contextlib.asynccontextmanager
async def _connection(url: str) -> AsyncIterator[asyncpg.Connection]:
    try:
        # No statement cache: a pooler may give each transaction another server connection.
        connection = await asyncpg.connect(url, statement_cache_size=0, timeout=10)
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise MigrationFailed(f"cannot connect to the database: {_scrub(reason, url)}") from None
    try:
        yield connection
    finally:
        await connection.close(timeout=5)


async def _create_database(admin_url: str) -> None:
    name = admin_url.partition("?")[0].rpartition("/")[2]
    async with _connection(with_database(admin_url, "postgres")) as connection:
        if not await connection.fetchval("select exists (select from pg_database where datname = $1)", name):
            await connection.execute(f"create database {quoted(name)}")


async def _undone(connection: asyncpg.Connection, found: tuple[Room, ...], wanted: str | None) -> list[str]:
    rows = await connection.fetch(
        "select n.nspname, obj_description(n.oid, 'pg_namespace') as note,"
        "       to_regclass(quote_ident(n.nspname) || '.schema_migrations') is not null as begun"
        " from pg_namespace n where n.nspname = any($1)",
        [room.name for room in found],
    )
    notes = {row["nspname"]: row["note"] or "" for row in rows}
    for name, note in notes.items():
        if note.partition(" ")[0] != publish.MARK:
            raise MigrationFailed(
                f"the schema {name} exists and is not Nurture's; nothing was touched. Use a database without such a "
                f"schema; or, if it was made for Nurture: comment on schema {name} is '{publish.MARK}'"
            )
    begun = [row["nspname"] for row in rows if row["begun"]]
    applied: set[tuple[str, str]] = set()
    if begun:
        union = " union all ".join(
            f"select '{name}' as room, version from {quoted(name)}.schema_migrations"  # noqa: S608 - our own names
            for name in begun
        )
        applied = {(row["room"], row["version"]) for row in await connection.fetch(union)}
    undone = [
        f"{room.name}/{path.name}"
        for room in found
        for version, path in room.migrations().items()
        if (room.name, version) not in applied
    ]
    if wanted is not None and not await _finished(connection, found, notes, wanted):
        undone.append(REST)
    return undone


async def _finished(
    connection: asyncpg.Connection, found: tuple[Room, ...], notes: dict[str, str], wanted: str
) -> bool:
    if any(notes.get(room.name) != f"{publish.MARK} {wanted}" for room in found):
        return False
    # A database restored from a dump has its comments but not its roles.
    names = [room.role for room in found]
    return await connection.fetchval("select count(*) from pg_roles where rolname = any($1)", names) == len(names)


async def _make_rooms(connection: asyncpg.Connection, found: tuple[Room, ...], secret_key: str) -> None:
    async with connection.transaction():
        for room in found:
            schema = quoted(room.name)
            if not await connection.fetchval("select to_regnamespace($1) is not null", schema):
                await connection.execute(f"create schema {schema}")
                await connection.execute(f"comment on schema {schema} is '{publish.MARK}'")
            await roles.ensure(connection, room, role_password(secret_key, room.role))


async def _run_dbmate(connection: asyncpg.Connection, admin_url: str, found: tuple[Room, ...]) -> None:
    # dbmate insists on TLS unless told otherwise; it gets what our own connection came to use.
    encrypted = await connection.fetchval("select ssl from pg_stat_ssl where pid = pg_backend_pid()")
    if "sslmode=verify" not in admin_url:
        admin_url = with_query(admin_url, sslmode="require" if encrypted else "disable")
    undone = await _undone(connection, found, None)
    for room in found:
        if not any(step.startswith(f"{room.name}/") for step in undone):
            continue
        with tempfile.TemporaryDirectory(prefix="nurture-migrations-") as folder:
            _stage(room, Path(folder))
            await _dbmate(room, Path(folder), with_query(admin_url, search_path=room.name))


def _stage(room: Room, folder: Path) -> None:
    # Our migrations only go forward; dbmate refuses a file that does not say so.
    for path in room.migrations().values():
        sql = path.read_text(encoding="utf-8")
        (folder / path.name).write_text(sql if _DOWN in sql else f"{sql}\n{_DOWN}\n", encoding="utf-8")


async def _dbmate(room: Room, folder: Path, address: str) -> None:
    process = await asyncio.create_subprocess_exec(
        str(dbmate()),
        *("--env-file", os.devnull, "--no-dump-schema", "--migration-lock"),
        *("--migrations-dir", str(folder), "--migrations-table", f"{room.name}.schema_migrations"),
        "migrate",
        env={**_plain_environment(), "DATABASE_URL": address},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(process.communicate(), _PATIENCE)
    if process.returncode != 0:
        lines = _scrub(said.decode(errors="replace"), address).strip().splitlines()
        raise MigrationFailed(f"migrating the schema {room.name} failed:\n  " + "\n  ".join(lines[-6:]))


def _plain_environment() -> dict[str, str]:
    # PGHOST and its kin would override parts of the address, DBMATE_* our options.
    return {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "TMPDIR", "SSL_CERT_FILE")}


async def _finish(
    connection: asyncpg.Connection, found: tuple[Room, ...], publish_schema: str, wanted: str, *, own_server: bool
) -> None:
    async with connection.transaction():
        if own_server:
            await roles.close_server(connection, found)
        await publish.apply(connection, found, publish_schema)
        for room in found:
            if room.migrations():
                await roles.grant(connection, room, publish_schema)
            await connection.execute(f"comment on schema {quoted(room.name)} is '{publish.MARK} {wanted}'")


def _scrub(text: str, url: str) -> str:
    password = password_of(url)
    return text.replace(password, "…") if password else text
