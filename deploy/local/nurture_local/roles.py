"""Database roles: one per service, with rights on its own schema and nothing else."""

import base64
import hashlib
import hmac
import os

import asyncpg
from nurture_chassis.queries import quoted

from nurture_local.rooms import Room

LIMITS = {"statement_timeout": "30s", "lock_timeout": "10s", "idle_in_transaction_session_timeout": "60s"}
OUTSIDERS = ("anon", "authenticated")
"""Roles that hosted platforms grant everything new to; they never see anything of ours."""

_TABLES = "select, insert, update, delete"
RIGHTS = """
revoke all on schema {schema} from {outsiders};
revoke all on all tables in schema {schema} from {outsiders};
grant usage on schema {schema} to {role};
grant {tables} on all tables in schema {schema} to {role};
revoke insert, update, delete on {schema}.schema_migrations from {role};
grant usage, select on all sequences in schema {schema} to {role};
revoke all on all functions in schema {schema} from {outsiders};
grant execute on all functions in schema {schema} to {role};
alter default privileges in schema {schema} grant {tables} on tables to {role};
alter default privileges in schema {schema} grant usage, select on sequences to {role};
grant usage on schema {publish} to {role};
"""


class RoleForeign(Exception):
    """A role of ours exists with rights that a service must not have."""


def superuser(role: str) -> str:
    """What to say of a role of ours with every right."""
    return (
        f"the database role {role} exists and is a superuser; a service must not be one: "
        f"`alter role {role} nosuperuser`, then migrate again"
    )


def verifier(password: str, salt: bytes | None = None) -> str:
    """The SCRAM-SHA-256 verifier: sent in the password's place, so that no statement log ever holds a password."""
    salt = salt or os.urandom(16)
    rounds = 4096
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)
    client = hmac.new(salted, b"Client Key", hashlib.sha256).digest()
    server = hmac.new(salted, b"Server Key", hashlib.sha256).digest()

    def text(data: bytes) -> str:
        return base64.b64encode(data).decode()

    return f"SCRAM-SHA-256${rounds}:{text(salt)}${text(hashlib.sha256(client).digest())}:{text(server)}"


async def ensure(connection: asyncpg.Connection, room: Room, password: str) -> None:
    """Make the room's role, or give the existing one its password and limits. Raises RoleForeign."""
    superuser = await connection.fetchval("select rolsuper from pg_roles where rolname = $1", room.role)
    if superuser:
        raise RoleForeign(superuser(room.role))
    verb = "create" if superuser is None else "alter"
    role = quoted(room.role)
    await connection.execute(f"{verb} role {role} login password '{verifier(password)}'")
    await connection.execute(f"alter role {role} set search_path = {quoted(room.name)}")
    for name, value in LIMITS.items():
        await connection.execute(f"alter role {role} set {name} = '{value}'")


async def grant(connection: asyncpg.Connection, room: Room, publish_schema: str) -> None:
    """What the role may do, also with tables that are made later."""
    await connection.execute(
        RIGHTS.format(
            schema=quoted(room.name),
            role=quoted(room.role),
            tables=_TABLES,
            publish=quoted(publish_schema),
            outsiders=await _outsiders(connection),
        )
    )


async def close_to_outsiders(connection: asyncpg.Connection, kind: str, names: list[str]) -> None:
    """Take every right on these objects (`kind` is table or function) from PUBLIC and from platform roles."""
    if not names:
        return
    await connection.execute(f"revoke all on {kind} {', '.join(names)} from {await _outsiders(connection)}")


async def _outsiders(connection: asyncpg.Connection) -> str:
    present = await connection.fetch("select rolname from pg_roles where rolname = any($1)", list(OUTSIDERS))
    return ", ".join(["public", *(quoted(row["rolname"]) for row in present)])


async def close_server(connection: asyncpg.Connection, found: tuple[Room, ...]) -> None:
    """On a server of our own: nobody enters this database or its public schema without being named."""
    name = await connection.fetchval("select quote_ident(current_database())")
    roles = ", ".join(quoted(room.role) for room in found)
    await connection.execute(f"revoke all on database {name} from public")
    await connection.execute("revoke all on schema public from public")
    await connection.execute(f"grant connect on database {name} to {roles}")
