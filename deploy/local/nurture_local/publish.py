"""Published views and functions: what rooms show each other and the outside, in a schema that may hold other people's tables.

Each carries the comment `nurture <hash of its text>`: it says that the thing is ours, and whether it is this version's.
"""

import re
from hashlib import sha256
from typing import Literal, NamedTuple

import asyncpg
from nurture_chassis.queries import quoted

from nurture_local import roles
from nurture_local.rooms import Room

MARK = "nurture"
Kind = Literal["view", "function"]
_CREATED = re.compile(r"create\s+(?:or\s+replace\s+)?(view|function)\s+\{publish\}\.\"?(\w+)\"?", re.IGNORECASE)
_PIECE = re.compile(r"--[^\n]*|\$\$.*?\$\$|'(?:[^']|'')*'|;|[^-$';]+|.", re.DOTALL)

_RELATIONS = """
select c.relname as name, c.relkind::text as kind, pg_get_userbyid(c.relowner) as owner,
       coalesce(obj_description(c.oid, 'pg_class'), '') as mark, format('%I.%I', n.nspname, c.relname) as signature
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1 and (c.relname = any($2) or (c.relkind = 'v' and obj_description(c.oid, 'pg_class') like 'nurture%'))
order by c.relname
"""
_FUNCTIONS = """
select p.proname as name, 'function' as kind, pg_get_userbyid(p.proowner) as owner,
       coalesce(obj_description(p.oid, 'pg_proc'), '') as mark,
       format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)) as signature
from pg_proc p join pg_namespace n on n.oid = p.pronamespace
where n.nspname = $1 and (p.proname = any($2) or obj_description(p.oid, 'pg_proc') like 'nurture%')
order by p.proname
"""
_OTHER_PLACES = """
select distinct n.nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'v' and n.nspname <> $1 and obj_description(c.oid, 'pg_class') ~ '^nurture( [0-9a-f]{16})?$'
"""
# What operators granted on ours, which a thing that is made anew would lose.
_GRANTS = """
select format('grant %s on %s %s to %s', a.privilege_type, o.kind, o.signature,
              case when a.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end) as statement
from (
    select 'table' as kind, format('%I.%I', $1::text, c.relname) as signature, c.relacl as acl, c.relowner as owner
    from pg_class c
    where c.relnamespace = to_regnamespace(quote_ident($1)) and obj_description(c.oid, 'pg_class') like 'nurture%'
    union all
    select 'function', format('%I.%I(%s)', $1::text, p.proname, pg_get_function_identity_arguments(p.oid)), p.proacl, p.proowner
    from pg_proc p
    where p.pronamespace = to_regnamespace(quote_ident($1)) and obj_description(p.oid, 'pg_proc') like 'nurture%'
) o cross join lateral aclexplode(o.acl) a
where a.grantee not in (0, o.owner) and not pg_get_userbyid(a.grantee) = any($2)
"""
_KINDS = {"r": "table", "p": "table", "v": "view", "m": "materialized view", "f": "foreign table", "S": "sequence"}
_CANNOT_REPLACE = (asyncpg.InvalidTableDefinitionError, asyncpg.InvalidFunctionDefinitionError)


class NameTaken(Exception):
    """A relation or function of that name exists and is not ours; it was not touched."""


class Present(NamedTuple):
    """A view or function of ours that is in the database; `text` is the hash of what it was made from."""

    kind: Kind
    name: str
    signature: str
    text: str


def statements(sql: str) -> list[str]:
    """The statements of a publish.sql, without comments and the space around them."""
    found, now = [], ""
    for piece in _PIECE.findall(sql):
        if piece == ";":
            found.append(now.strip())
            now = ""
        elif not piece.startswith("--"):
            now += piece
    return [statement for statement in [*found, now.strip()] if statement]


def created(sql: str) -> dict[tuple[Kind, str], str]:
    """(kind, name) → hash of its text, for the views and functions that a publish.sql makes, in order."""
    found: dict[tuple[Kind, str], str] = {}
    for statement in statements(sql):
        if match := _CREATED.match(statement):
            kind: Kind = "view" if match[1].lower() == "view" else "function"
            found[kind, match[2]] = sha256(" ".join(statement.split()).encode()).hexdigest()[:16]
    return found


def wanted(found: tuple[Room, ...]) -> dict[tuple[Kind, str], str]:
    """What all rooms publish, as `created` tells."""
    return created(";\n".join(room.publish.read_text(encoding="utf-8") for room in found if room.publish))


async def look(
    connection: asyncpg.Connection, found: tuple[Room, ...], schema: str
) -> tuple[list[Present], list[tuple[str, str, str]]]:
    """What is there of ours, also of an earlier version; and (name, kind, owner) of what has a name of ours and is not."""
    meant = wanted(found)
    ours: list[Present] = []
    foreign: list[tuple[str, str, str]] = []
    asked: tuple[tuple[Kind, str], ...] = (("view", _RELATIONS), ("function", _FUNCTIONS))
    for kind, query in asked:
        names = [name for which, name in meant if which == kind]
        for row in await connection.fetch(query, schema, names):
            mark, _, text = row["mark"].partition(" ")
            if mark == MARK and row["kind"] in ("v", "function"):
                ours.append(Present(kind, row["name"], row["signature"], text))
            else:
                foreign.append((row["name"], _KINDS.get(row["kind"], "function"), row["owner"]))
    return ours, foreign


async def refuse_foreign(connection: asyncpg.Connection, found: tuple[Room, ...], schema: str) -> None:
    """Raises NameTaken when a name belongs to somebody else."""
    _, foreign = await look(connection, found, schema)
    if foreign:
        raise NameTaken(f"{clash(schema, foreign)}. It was not touched and nothing was published. {WAY_OUT}")


def clash(schema: str, foreign: list[tuple[str, str, str]]) -> str:
    return "; ".join(
        f"{schema}.{name} exists already: a {kind} of {owner} that is not Nurture's" for name, kind, owner in foreign
    )


WAY_OUT = "Set PUBLISH_SCHEMA to another schema (for example PUBLISH_SCHEMA=nurture) and migrate again."


async def apply(connection: asyncpg.Connection, found: tuple[Room, ...], schema: str, kept: list[str]) -> None:
    """Make all views and functions again; the caller holds a transaction. Raises NameTaken.

    `kept` is what `grants` told before anything was dropped.
    """
    scripts = [room.publish.read_text(encoding="utf-8") for room in found if room.publish]
    place = quoted(schema)
    if not await connection.fetchval("select to_regnamespace($1) is not null", place):
        await connection.execute(f"create schema {place}")
    await refuse_foreign(connection, found, schema)
    try:
        async with connection.transaction():
            await _run(connection, scripts, place)
    except _CANNOT_REPLACE:
        # A view cannot lose, rename or retype a column in place; a function cannot change its result. Make them anew.
        await drop(connection, found, schema)
        await _run(connection, scripts, place)
    await _mark(connection, found, schema)
    await _drop(connection, await former(connection, found, schema))
    for statement in kept:
        # A role or a thing may be gone since; its grant goes with it.
        try:
            async with connection.transaction():
                await connection.execute(statement)
        except (asyncpg.UndefinedObjectError, asyncpg.UndefinedTableError, asyncpg.UndefinedFunctionError):
            continue


async def _run(connection: asyncpg.Connection, scripts: list[str], place: str) -> None:
    for script in scripts:
        # A room that shows nothing yet has a file of comments only, which is no statement.
        if statements(script):
            await connection.execute(script.replace("{publish}", place))


async def grants(connection: asyncpg.Connection, found: tuple[Room, ...], schema: str) -> list[str]:
    """Statements that give operators' roles again what they may do with our views and functions."""
    rows = await connection.fetch(_GRANTS, schema, [*(room.role for room in found), *roles.OUTSIDERS])
    return [row["statement"] for row in rows]


async def drop(connection: asyncpg.Connection, found: tuple[Room, ...], schema: str) -> None:
    """Drop what is ours, of this version or an earlier one. Raises NameTaken when somebody's own views rest on it."""
    ours, _ = await look(connection, found, schema)
    await _drop(connection, ours)


async def former(connection: asyncpg.Connection, found: tuple[Room, ...], schema: str) -> list[Present]:
    """What an earlier version published and this one does not, or published into another schema."""
    meant = wanted(found)
    ours, _ = await look(connection, found, schema)
    left = [one for one in ours if (one.kind, one.name) not in meant]
    for row in await connection.fetch(_OTHER_PLACES, schema):
        elsewhere, _ = await look(connection, (), row["nspname"])
        left += elsewhere
    return left


async def _drop(connection: asyncpg.Connection, things: list[Present]) -> None:
    try:
        for kind in ("view", "function"):
            signatures = [one.signature for one in things if one.kind == kind]
            if signatures:
                await connection.execute(f"drop {kind} {', '.join(signatures)}")
    except asyncpg.DependentObjectsStillExistError as error:
        detail = getattr(error, "detail", None) or error
        raise NameTaken(
            f"something of yours rests on a view of Nurture's that has to be made anew ({detail}). Nothing was changed: "
            "drop it, migrate, and make it again"
        ) from None


async def _mark(connection: asyncpg.Connection, found: tuple[Room, ...], schema: str) -> None:
    meant, place = wanted(found), quoted(schema)
    views = [f"{place}.{quoted(name)}" for kind, name in meant if kind == "view"]
    functions = [name for kind, name in meant if kind == "function"]
    rows = await connection.fetch(_FUNCTIONS, schema, functions)
    signatures = {row["signature"]: meant["function", row["name"]] for row in rows if row["name"] in functions}
    notes = [
        f"comment on view {place}.{quoted(name)} is '{MARK} {meant[kind, name]}'"
        for kind, name in meant
        if kind == "view"
    ]
    notes += [f"comment on function {signature} is '{MARK} {text}'" for signature, text in signatures.items()]
    if notes:
        await connection.execute(";".join(notes))
    await roles.close_to_outsiders(connection, "table", views)
    await roles.close_to_outsiders(connection, "function", list(signatures))
