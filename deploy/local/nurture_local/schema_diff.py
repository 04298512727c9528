"""What migrating would do to a database, found out in a transaction that can only read."""

from typing import Literal

import asyncpg
from msgspec import Struct
from nurture_chassis.queries import quoted

from nurture_local import migrate, publish, roles, server
from nurture_local.rooms import Room, rooms
from nurture_local.server import connected

Action = Literal["make", "change", "drop", "apply", "set"]


class Change(Struct, frozen=True):
    """One thing that migrating would do. `what` is a schema, a role, a migration, a view or a function."""

    action: Action
    what: str
    name: str


class Diff(Struct, kw_only=True):
    """`clashes` are what migrating would be refused for, each with what to do; `notes` are good to know."""

    server: str
    changes: list[Change]
    clashes: list[str]
    notes: list[str]


async def diff(url: str, secret_key: str | None, publish_schema: str, found: tuple[Room, ...] | None = None) -> Diff:
    """Compare a database with what this version expects. Nothing in it is touched. Raises ServerRefused.

    Without `secret_key` roles that are there are taken to be right.
    """
    found = found or rooms()
    async with connected(url) as connection:
        trouble = await server.problems(connection, url)
        async with connection.transaction(readonly=True):
            clashes = trouble + await _clashes(connection, found, publish_schema)
            told = await migrate.notes(connection, found)
            changes = await _of_rooms(connection, found, told, secret_key, publish_schema)
            changes += await _of_published(connection, found, publish_schema)
            outsiders = await connection.fetch(
                "select rolname from pg_roles where rolname = any($1) order by 1", list(roles.OUTSIDERS)
            )
        version = connection.get_server_version()
    notes = [
        f"the role {row['rolname']} is there and will be allowed nothing: no schema, view or function of Nurture's"
        for row in outsiders
    ]
    return Diff(server=f"PostgreSQL {version.major}.{version.minor}", changes=changes, clashes=clashes, notes=notes)


async def _clashes(connection: asyncpg.Connection, found: tuple[Room, ...], schema: str) -> list[str]:
    clashes = migrate.foreign(await migrate.notes(connection, found))
    _, taken = await publish.look(connection, found, schema)
    clashes += [f"{publish.clash(schema, [one])}. {publish.WAY_OUT}" for one in taken]
    superusers = await connection.fetch(
        "select rolname from pg_roles where rolsuper and rolname = any($1)", [room.role for room in found]
    )
    clashes += [roles.superuser(row["rolname"]) for row in superusers]
    may = await connection.fetchrow(
        "select current_user as me, r.rolsuper or r.rolcreaterole as roles,"
        " has_database_privilege(current_database(), 'create') as schemas,"
        " coalesce(has_schema_privilege(to_regnamespace($1)::oid, 'create'), true) as views"
        " from pg_roles r where r.rolname = current_user",
        quoted(schema),
    )
    assert may is not None
    for allowed, what in (
        (may["roles"], "make roles (CREATEROLE)"),
        (may["schemas"], "make schemas in this database (CREATE)"),
        (may["views"], f"make views in the schema {schema} (CREATE)"),
    ):
        if not allowed:
            clashes.append(f"{may['me']} may not {what}: connect as the database's owner, or have it granted")
    return clashes


async def _of_rooms(
    connection: asyncpg.Connection, found: tuple[Room, ...], told: dict[str, str], secret_key: str | None, schema: str
) -> list[Change]:
    changes = [Change("make", "schema", room.name) for room in found if room.name not in told]
    there = {
        row["rolname"]
        for row in await connection.fetch(
            "select rolname from pg_roles where rolname = any($1)", [room.role for room in found]
        )
    }
    wanted = migrate.fingerprint_of(found, secret_key, schema) if secret_key else None
    for room in found:
        if room.role not in there:
            changes.append(Change("make", "role", room.role))
        elif wanted and told.get(room.name) != f"{publish.MARK} {wanted}":
            changes.append(Change("set", "role", room.role))
    left = migrate.pending(found, await migrate.applied(connection, found))
    return changes + [Change("apply", "migration", name) for name in left]


async def _of_published(connection: asyncpg.Connection, found: tuple[Room, ...], schema: str) -> list[Change]:
    ours, _ = await publish.look(connection, found, schema)
    present = {(one.kind, one.name): one.text for one in ours}
    changes: list[Change] = []
    for (kind, name), text in publish.wanted(found).items():
        if (kind, name) not in present:
            changes.append(Change("make", kind, f"{schema}.{name}"))
        elif present[kind, name] != text:
            changes.append(Change("change", kind, f"{schema}.{name}"))
    return changes + [
        Change("drop", one.kind, one.signature) for one in await publish.former(connection, found, schema)
    ]
