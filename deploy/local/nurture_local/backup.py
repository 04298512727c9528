"""A backup: every row of every table of ours, as of one moment, in one file that can say whether it is whole.

The file is a ZIP: `<schema>/<table>.copy` holds a table's rows as PostgreSQL's COPY writes them as text, and
`manifest.json`, last, what was applied and how many rows, bytes and which SHA-256 each entry has. Rows only: what they lie
in is made by the migrations that the manifest names, so a backup of one PostgreSQL version goes into another.
"""

import hashlib
import os
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import asyncpg
import msgspec
from msgspec import Struct
from nurture_chassis.queries import quoted

from nurture_local import migrate
from nurture_local.rooms import Room, rooms
from nurture_local.server import connected

FORMAT = 1
MANIFEST = "manifest.json"
_CHUNK = 1 << 20

_TABLES = """
select n.nspname as schema, c.relname as name,
       array(select a.attname::text from pg_attribute a
             where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
             order by a.attnum) as columns
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = any($1) and c.relkind in ('r', 'p') and not c.relispartition and c.relname <> 'schema_migrations'
order by array_position($1, n.nspname::text), c.relname
"""


class BackupFailed(Exception):
    """The backup cannot be made or used; the text says why."""


class Table(Struct, frozen=True, kw_only=True):
    """One entry. `columns` in the order of the rows; `sha256` is that of the entry's bytes."""

    schema: str
    name: str
    columns: tuple[str, ...]
    rows: int
    bytes: int
    sha256: str

    @property
    def entry(self) -> str:
        return f"{self.schema}/{self.name}.copy"

    @property
    def place(self) -> str:
        return f"{quoted(self.schema)}.{quoted(self.name)}"


class Manifest(Struct, frozen=True, kw_only=True):
    """`applied` are the versions of migrations by room. `key` tells one SECRET_KEY from another and gives nothing away."""

    format: int
    product: str
    taken_at: datetime
    server: str
    key: str | None
    applied: dict[str, tuple[str, ...]]
    tables: tuple[Table, ...]

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables)


def key_of(secret_key: str | None) -> str | None:
    """What a manifest says of the SECRET_KEY that links in sent messages were signed with."""
    return secret_key and hashlib.sha256(b"nurture-backup\0" + secret_key.encode()).hexdigest()[:12]


async def tables(connection: asyncpg.Connection, found: tuple[Room, ...]) -> list[asyncpg.Record]:
    """schema, name and columns of every table of ours, partitions as the whole that they are part of."""
    return await connection.fetch(_TABLES, [room.name for room in found])


async def write(
    url: str, target: Path, secret_key: str | None = None, found: tuple[Room, ...] | None = None
) -> Manifest:
    """Write a backup to `target`, which appears only when it is whole. Raises BackupFailed, MigrationFailed, ServerRefused."""
    found = found or rooms()
    partial = target.with_name(target.name + ".part")
    try:
        # Addresses and words of people: for nobody's eyes but the owner's.
        with os.fdopen(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), "w+b") as file:
            async with connected(url) as connection:
                manifest = await _fill(connection, file, secret_key, found)
            file.flush()
            os.fsync(file.fileno())
        # A link and not a rename: a file that is there already is never replaced.
        os.link(partial, target)
    except FileExistsError:
        raise BackupFailed(f"{target} exists already: name another file") from None
    except OSError as error:
        raise BackupFailed(f"cannot write {target}: {error.strerror or error}") from None
    finally:
        partial.unlink(missing_ok=True)
    return manifest


async def _fill(
    connection: asyncpg.Connection, file: IO[bytes], secret_key: str | None, found: tuple[Room, ...]
) -> Manifest:
    # One snapshot for everything: what commits meanwhile is in none of the tables.
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute("set local statement_timeout = 0")
        told = await migrate.notes(connection, found)
        for trouble in migrate.foreign(told):
            raise BackupFailed(trouble)
        if not told:
            raise BackupFailed("there is nothing of Nurture's in this database")
        applied: dict[str, list[str]] = {}
        for room, version in sorted(await migrate.applied(connection, found)):
            applied.setdefault(room, []).append(version)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=3) as archive:
            written = [await _copy(connection, archive, row) for row in await tables(connection, found)]
            version = connection.get_server_version()
            manifest = Manifest(
                format=FORMAT,
                product="nurture",
                taken_at=datetime.now(UTC),
                server=f"{version.major}.{version.minor}",
                key=key_of(secret_key),
                applied={room: tuple(versions) for room, versions in applied.items()},
                tables=tuple(written),
            )
            archive.writestr(MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=1))
    return manifest


async def _copy(connection: asyncpg.Connection, archive: zipfile.ZipFile, row: asyncpg.Record) -> Table:
    digest, size = hashlib.sha256(), 0
    names = ", ".join(quoted(name) for name in row["columns"])
    place = f"{quoted(row['schema'])}.{quoted(row['name'])}"
    with archive.open(f"{row['schema']}/{row['name']}.copy", "w", force_zip64=True) as entry:

        async def take(data: bytes) -> None:
            nonlocal size
            entry.write(data)
            digest.update(data)
            size += len(data)

        # From a query and not from the table, so that a partitioned one is a single stream.
        said = await connection.copy_from_query(f"select {names} from {place}", output=take)  # noqa: S608 - quoted names
    return Table(
        schema=row["schema"],
        name=row["name"],
        columns=tuple(row["columns"]),
        rows=int(said.rpartition(" ")[2]),
        bytes=size,
        sha256=digest.hexdigest(),
    )


def read(archive: zipfile.ZipFile) -> Manifest:
    """The manifest, after every entry was found to be what it says. Raises BackupFailed."""
    try:
        manifest = msgspec.json.decode(archive.read(MANIFEST), type=Manifest)
    except (KeyError, msgspec.DecodeError):
        raise BackupFailed("this is no backup of Nurture's: it has no manifest") from None
    if manifest.product != "nurture" or manifest.format > FORMAT:
        raise BackupFailed(
            f"a backup of format {manifest.format}; this version reads up to {FORMAT}: upgrade Nurture first"
        )
    for table in manifest.tables:
        digest = hashlib.sha256()
        try:
            with archive.open(table.entry) as entry:
                while data := entry.read(_CHUNK):
                    digest.update(data)
        except (KeyError, zipfile.BadZipFile, OSError) as error:
            raise BackupFailed(f"the backup is damaged: {table.entry}: {error}") from None
        if digest.hexdigest() != table.sha256:
            raise BackupFailed(f"the backup is damaged: {table.entry} is not what was written")
    return manifest
