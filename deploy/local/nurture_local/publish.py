"""Published views: what rooms show each other and the outside, in a schema that may hold other people's tables."""

import re

import asyncpg
from nurture_chassis.queries import quoted

from nurture_local import roles
from nurture_local.rooms import Room

MARK = "nurture"
_CREATED = re.compile(r"create\s+(?:or\s+replace\s+)?(view|function)\s+\{publish\}\.\"?(\w+)\"?", re.IGNORECASE)
_COMMENT = re.compile(r"--.*$", re.MULTILINE)

_RELATIONS = """
select c.relname as name, c.relkind::text as kind, pg_get_userbyid(c.relowner) as owner,
       obj_description(c.oid, 'pg_class') as mark
from pg_class c where c.relnamespace = $1::text::regnamespace and c.relname = any($2)
"""
_FUNCTIONS = """
select p.proname as name, p.oid::regprocedure::text as signature, pg_get_userbyid(p.proowner) as owner,
       obj_description(p.oid, 'pg_proc') as mark
from pg_proc p where p.pronamespace = $1::text::regnamespace and p.proname = any($2)
"""
_KINDS = {"r": "table", "p": "table", "v": "view", "m": "materialized view", "f": "foreign table", "S": "sequence"}


class NameTaken(Exception):
    """A relation or function of that name exists and is not ours; it was not touched."""


def created(sql: str) -> tuple[list[str], list[str]]:
    """The views and the functions that a publish.sql makes, in order."""
    found = _CREATED.findall(sql)
    return (
        [name for kind, name in found if kind.lower() == "view"],
        [name for kind, name in found if kind.lower() == "function"],
    )


async def apply(connection: asyncpg.Connection, found: tuple[Room, ...], schema: str) -> None:
    """Make all views and functions again; the caller holds a transaction. Raises NameTaken."""
    texts = [room.publish.read_text(encoding="utf-8") for room in found if room.publish]
    # A room that shows nothing yet has a file of comments only, which is no statement.
    scripts = [text for text in texts if _COMMENT.sub("", text).strip()]
    views, functions = created("\n".join(texts))
    place = quoted(schema)
    if not await connection.fetchval("select to_regnamespace($1) is not null", place):
        await connection.execute(f"create schema {place}")
    ours = await refuse_foreign(connection, found, schema)
    try:
        async with connection.transaction():
            await _run(connection, scripts, place)
    except (asyncpg.InvalidTableDefinitionError, asyncpg.InvalidFunctionDefinitionError):
        # A view cannot lose or rename a column in place; a function cannot change its result. Make them anew.
        await _drop(connection, place, ours, await connection.fetch(_FUNCTIONS, place, functions))
        await _run(connection, scripts, place)
    await _mark(connection, place, views, functions)


async def _run(connection: asyncpg.Connection, scripts: list[str], place: str) -> None:
    for script in scripts:
        await connection.execute(script.replace("{publish}", place))


async def refuse_foreign(connection: asyncpg.Connection, found: tuple[Room, ...], schema: str) -> list[str]:
    """The views of ours that exist already. Raises NameTaken when a name belongs to somebody else."""
    views, functions = created("\n".join(room.publish.read_text(encoding="utf-8") for room in found if room.publish))
    ours: list[str] = []
    if not await connection.fetchval("select to_regnamespace($1) is not null", quoted(schema)):
        return ours
    for row in await connection.fetch(_RELATIONS, quoted(schema), views):
        if row["mark"] != MARK or row["kind"] != "v":
            raise _taken(schema, row["name"], _KINDS.get(row["kind"], "relation"), row["owner"])
        ours.append(row["name"])
    for row in await connection.fetch(_FUNCTIONS, quoted(schema), functions):
        if row["mark"] != MARK:
            raise _taken(schema, row["name"], "function", row["owner"])
    return ours


def _taken(schema: str, name: str, kind: str, owner: str) -> NameTaken:
    return NameTaken(
        f"{schema}.{name} exists already: a {kind} of {owner} that is not Nurture's. It was not touched and nothing "
        f"was published. Set PUBLISH_SCHEMA to another schema (for example PUBLISH_SCHEMA=nurture) and migrate again."
    )


async def _drop(connection: asyncpg.Connection, place: str, views: list[str], functions: list[asyncpg.Record]) -> None:
    if views:
        await connection.execute("drop view " + ", ".join(f"{place}.{quoted(name)}" for name in views))
    for row in functions:
        await connection.execute(f"drop function {row['signature']}")


async def _mark(connection: asyncpg.Connection, place: str, views: list[str], functions: list[str]) -> None:
    names = [f"{place}.{quoted(name)}" for name in views]
    for name in names:
        await connection.execute(f"comment on view {name} is '{MARK}'")
    await roles.close_to_outsiders(connection, "table", names)
    signatures = [row["signature"] for row in await connection.fetch(_FUNCTIONS, place, functions)]
    for signature in signatures:
        await connection.execute(f"comment on function {signature} is '{MARK}'")
    await roles.close_to_outsiders(connection, "function", signatures)
