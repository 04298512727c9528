"""A backup put back, in one transaction: afterwards the database holds its rows and no others, or is as it was before."""

import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import asyncpg
from nurture_chassis.queries import quoted

from nurture_local import backup, migrate, publish, server
from nurture_local.backup import BackupFailed, Manifest, Table
from nurture_local.rooms import Room, rooms
from nurture_local.server import connected

_CHUNK = 1 << 20
_SERVICES = """
select distinct coalesce(nullif(application_name, ''), usename) as name from pg_stat_activity
where datname = current_database() and usename = any($1) order by 1
"""
_REFERENCES = """
select c.conrelid::regclass::oid as table_id, format('%I.%I', n.nspname, t.relname) as child,
       format('%I.%I', m.nspname, p.relname) as parent
from pg_constraint c
join pg_class t on t.oid = c.conrelid join pg_namespace n on n.oid = t.relnamespace
join pg_class p on p.oid = c.confrelid join pg_namespace m on m.oid = p.relnamespace
where c.contype = 'f' and n.nspname = any($1)
"""
# What counts rows as they come is among what is put back.
_TRIGGERED = """
select distinct format('%I.%I', n.nspname, c.relname) as place
from pg_trigger t join pg_class c on c.oid = t.tgrelid join pg_namespace n on n.oid = c.relnamespace
where n.nspname = any($1) and not t.tgisinternal and t.tgparentid = 0
"""
# Somebody's own views on our tables would go with them.
_DEPENDENTS = """
select distinct format('%I.%I', vn.nspname, v.relname) as name
from pg_depend d
join pg_rewrite w on w.oid = d.objid and d.classid = 'pg_rewrite'::regclass
join pg_class v on v.oid = w.ev_class join pg_namespace vn on vn.oid = v.relnamespace
join pg_class t on t.oid = d.refobjid and d.refclassid = 'pg_class'::regclass join pg_namespace tn on tn.oid = t.relnamespace
where tn.nspname = any($1) and not vn.nspname = any($1) and v.oid <> t.oid
  and coalesce(obj_description(v.oid, 'pg_class'), '') not like 'nurture%'
"""


class Restored(NamedTuple):
    """What was put back; `held` says that it sends nothing before it is confirmed."""

    manifest: Manifest
    held: bool


async def restore(
    url: str,
    source: Path,
    secret_key: str,
    publish_schema: str = "public",
    *,
    replace: bool = False,
    own_server: bool = False,
    found: tuple[Room, ...] | None = None,
) -> Restored:
    """Put a backup back and bring it to this version. With `replace`, what is there of ours is dropped for it.

    Raises BackupFailed and what `migrate` raises.
    """
    found = found or rooms()
    try:
        with zipfile.ZipFile(source) as archive:
            manifest = backup.read(archive)
            _refuse_newer(manifest, found)
            if own_server:
                await migrate.create_database(url)
            async with connected(url) as connection:
                if not own_server:
                    await server.refuse(connection, url)
                await _refuse_services(connection, found)
                async with connection.transaction():
                    await migrate.hold(connection)
                    await _clear(connection, found, publish_schema, replace=replace)
                    await _put_back(connection, archive, manifest, found, secret_key)
                    await migrate.build(connection, found, secret_key, publish_schema, own_server=own_server)
                    held = await _hold_back(connection, source, manifest)
                # Without statistics the first plans would read whole tables.
                await connection.execute("analyze " + ", ".join(table.place for table in manifest.tables))
    except FileNotFoundError:
        raise BackupFailed(f"there is no file {source}") from None
    except (zipfile.BadZipFile, OSError) as error:
        raise BackupFailed(f"{source} is no whole backup: {error}") from None
    return Restored(manifest, held)


async def _hold_back(connection: asyncpg.Connection, source: Path, manifest: Manifest) -> bool:
    """Nothing is sent from what was restored before its operator has confirmed it: another copy of it may be at work.

    Whether it is held: a backup from before there was such a guard, or that no controller ever worked on, is not.
    """
    if not await connection.fetchval("select to_regclass('controller.installation') is not null"):
        return False
    done = await connection.execute(
        "update controller.installation set restored_at = now(), evidence = $1",
        f"the backup {source.name} of {manifest.taken_at:%Y-%m-%d %H:%M:%S} UTC was restored",
    )
    return done == "UPDATE 1"


def _refuse_newer(manifest: Manifest, found: tuple[Room, ...]) -> None:
    known = {(room.name, version) for room in found for version in room.migrations()}
    newer = [f"{room}/{v}" for room, versions in manifest.applied.items() for v in versions if (room, v) not in known]
    if newer:
        raise BackupFailed(
            f"the backup was made by a newer version, which had the migrations {', '.join(newer)}: upgrade Nurture first"
        )


async def _refuse_services(connection: asyncpg.Connection, found: tuple[Room, ...]) -> None:
    names = [row["name"] for row in await connection.fetch(_SERVICES, [room.role for room in found])]
    if names:
        raise BackupFailed(f"services are at work on this database ({', '.join(names)}): stop them, then restore")


async def _clear(connection: asyncpg.Connection, found: tuple[Room, ...], schema: str, *, replace: bool) -> None:
    told = await migrate.notes(connection, found)
    for trouble in migrate.foreign(told):
        raise BackupFailed(trouble)
    if not told:
        return
    counts = []
    for row in await backup.tables(connection, found):
        if (row["schema"], row["name"]) in (("gateway", "users"), ("controller", "deliveries")):
            place = f"{quoted(row['schema'])}.{quoted(row['name'])}"
            counts.append((await connection.fetchval(f"select count(*) from {place}"), row["name"]))  # noqa: S608 - ours
    if any(count for count, _ in counts) and not replace:
        held = " and ".join(f"{count} {name}" for count, name in counts)
        raise BackupFailed(
            f"the database holds {held}, which would be gone: make a backup of it, then restore with --replace"
        )
    mine = [room.name for room in found if room.name in told]
    if resting := await connection.fetch(_DEPENDENTS, mine):
        names = ", ".join(row["name"] for row in resting)
        raise BackupFailed(f"views of yours rest on tables of Nurture's and would go with them: drop {names} first")
    await publish.drop(connection, found, schema)
    await connection.execute(f"drop schema {', '.join(quoted(name) for name in mine)} cascade")


async def _put_back(
    connection: asyncpg.Connection,
    archive: zipfile.ZipFile,
    manifest: Manifest,
    found: tuple[Room, ...],
    secret_key: str,
) -> None:
    await migrate.make_rooms(connection, found, secret_key)
    applied = {(room, version) for room, versions in manifest.applied.items() for version in versions}
    await migrate.run_files(connection, found, applied)
    there = {f"{quoted(row['schema'])}.{quoted(row['name'])}" for row in await backup.tables(connection, found)}
    missing = [table.place for table in manifest.tables if table.place not in there]
    if missing:
        raise BackupFailed(f"no migration makes {', '.join(missing)}: the backup holds tables that are not Nurture's")
    if not there:
        return
    # A migration may have filled a table: what counts is what the backup holds.
    await connection.execute(f"truncate {', '.join(sorted(there))}")
    triggered = [row["place"] for row in await connection.fetch(_TRIGGERED, [room.name for room in found])]
    for place in triggered:
        await connection.execute(f"alter table {place} disable trigger user")
    for table in _parents_first(manifest.tables, await connection.fetch(_REFERENCES, [room.name for room in found])):
        with archive.open(table.entry) as entry:

            async def data(entry=entry) -> AsyncIterator[bytes]:
                while piece := entry.read(_CHUNK):
                    yield piece

            await connection.copy_to_table(
                table.name, schema_name=table.schema, columns=list(table.columns), source=data(), timeout=None
            )
        rows = await connection.fetchval(f"select count(*) from {table.place}")  # noqa: S608 - quoted names
        if rows != table.rows:
            raise BackupFailed(f"{table.place} has {rows} rows after the restore; the backup had {table.rows}")
    for place in triggered:
        await connection.execute(f"alter table {place} enable trigger user")


def _parents_first(tables: tuple[Table, ...], references: list[asyncpg.Record]) -> list[Table]:
    """In an order in which every row finds what it refers to."""
    parents: dict[str, set[str]] = {}
    for row in references:
        if row["child"] != row["parent"]:
            parents.setdefault(row["child"], set()).add(row["parent"])
    plain = {f"{table.schema}.{table.name}": table for table in tables}
    done: list[Table] = []

    def put(name: str, on_the_way: tuple[str, ...] = ()) -> None:
        table = plain.get(name)
        if table is None or table in done or name in on_the_way:
            return
        for parent in sorted(parents.get(name, ())):
            put(parent, (*on_the_way, name))
        done.append(table)

    for name in plain:
        put(name)
    return done
