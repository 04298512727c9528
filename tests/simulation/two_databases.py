"""PostgreSQL and the tables in memory side by side: every statement is run on both, and both have to say and hold the same."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from nurture_chassis.queries import Queries

from tests.simulation import statements
from tests.simulation.tables import Row, Session, Tables

NEAR = timedelta(seconds=1)
"""`clock_timestamp()` moves between the two."""
KEYS = {
    "gateway.users": ("id",), "gateway.contacts": ("user_id", "channel"), "controller.sequences": ("id",),
    "controller.enrolments": ("id",), "controller.deliveries": ("id",), "controller.delivery_contents": ("delivery_id",),
    "controller.delivery_events": ("event_id",), "controller.fallbacks": ("delivery_id",), "controller.paused_types": ("type",),
    "controller.command_results": ("command_id",), "controller.cancelled_starts": ("command_id",),
    "controller.start_jobs": ("command_id",), "controller.bus_losses": ("n",), "email.pages": ("id",), "email.claims": ("id",),
    "email.suppressions": ("address_key",), "email.pace": ("account",), "email.outbox": ("id",), "email.refilled": ("one",),
    "telegram.pages": ("id",), "telegram.claims": ("delivery_id",), "telegram.chat_pace": ("chat_id",),
    "telegram.chats": ("chat_id",), "telegram.refusals": ("chat_id",), "telegram.pace": ("account",),
}  # fmt: skip


class Pair:
    """A transaction on either side."""

    def __init__(self, both: "Both", room: str, connection: asyncpg.Connection, session: Session) -> None:
        self._both = both
        self._room = room
        self._connection = connection
        self._session = session

    async def run(self, name: str, *args: Any) -> Any:
        """The answer, in which both agree."""
        statement = await self._connection.prepare(self._both.queries[self._room][name])
        rows = [dict(row) for row in await statement.fetch(*args)]
        moment = await self._connection.fetchval("select clock_timestamp()")
        answer = self._session.run(statements.ROOMS[self._room][name], self._room, moment, args)
        if isinstance(answer, int):
            assert answer == int(statement.get_statusmsg().rpartition(" ")[2]), (name, args)
            return answer
        told = [{column: row[column] for column in rows[0]} for row in answer] if rows else answer
        assert same(_sorted(rows), _sorted(told)), (name, args, rows, told)
        return rows


class Both:
    """`now` is PostgreSQL's, and the tables in memory take it from there."""

    def __init__(self, connections: list[asyncpg.Connection]) -> None:
        self._connections = connections
        self.tables = Tables()
        self.queries = {room: Queries.of(f"nurture_{room}", "public") for room in ("controller", "email", "telegram")}

    @asynccontextmanager
    async def transaction(self, room: str) -> AsyncIterator[Pair]:
        """Several may be open, as many as there are connections."""
        connection = self._connections.pop()
        await connection.execute(f"set search_path to {room}")
        async with connection.transaction():
            session = Session(self.tables, await connection.fetchval("select now()"))
            yield Pair(self, room, connection, session)
            session.commit()
        self._connections.append(connection)

    async def run(self, room: str, name: str, *args: Any) -> Any:
        async with self.transaction(room) as pair:
            return await pair.run(name, *args)

    async def put(self, table: str, **row: Any) -> None:
        """A row that is there before; what PostgreSQL adds is read back."""
        columns, places = ", ".join(row), ", ".join(f"${n}" for n in range(1, len(row) + 1))
        made = await self._connections[0].fetchrow(
            f"insert into {table} ({columns}) values ({places}) returning *", *row.values()
        )
        assert made is not None
        self.tables.committed[table][_key(table, dict(made))] = dict(made)

    async def moment(self) -> datetime:
        return await self._connections[0].fetchval("select clock_timestamp()")

    async def change(self, table: str, key: Any, **changes: Any) -> None:
        """Somebody else changes a row."""
        for column, value in changes.items():
            where = " and ".join(f"{name} = ${n}" for n, name in enumerate(KEYS[table], 2))
            keys = key if isinstance(key, tuple) else (key,)
            await self._connections[0].execute(f"update {table} set {column} = $1 where {where}", value, *keys)
        rows = self.tables.committed[table]
        rows[key] = {**rows[key], **changes}

    async def pass_time(self, seconds: float, *tables: str) -> None:
        """Every moment in these tables moves into the past."""
        span = timedelta(seconds=seconds)
        for table in tables:
            rows = self.tables.committed[table]
            moments = {name for row in rows.values() for name, value in row.items() if isinstance(value, datetime)}
            for key, row in rows.items():
                rows[key] = {
                    name: value - span if isinstance(value, datetime) else value for name, value in row.items()
                }
            for name in sorted(moments):
                await self._connections[0].execute(f"update {table} set {name} = {name} - $1::interval", span)

    async def agree(self, *tables: str) -> None:
        """Both hold the same."""
        for table in tables:
            rows = {
                _key(table, dict(row)): dict(row) for row in await self._connections[0].fetch(f"select * from {table}")
            }
            known = self.tables.committed[table]
            assert rows.keys() == known.keys(), table
            for key, row in known.items():
                for name, value in row.items():
                    assert same(rows[key][name], value), (table, key, name, rows[key][name], value)


@asynccontextmanager
async def both(url: str) -> AsyncIterator[Both]:
    connections = [await asyncpg.connect(url) for _ in range(2)]
    for connection in connections:
        await connection.set_type_codec(
            "jsonb",
            schema="pg_catalog",
            encoder=lambda value: msgspec.json.encode(value).decode(),
            decoder=msgspec.json.decode,
        )
    pair = Both(list(connections))
    pair.tables.committed["email.refilled"][True] = {"one": True, "n": 0}
    try:
        yield pair
    finally:
        for connection in connections:
            await connection.close()


def same(one: Any, other: Any) -> bool:
    """Equal, where moments and spans may differ by what passes between two statements."""
    if isinstance(one, datetime) and isinstance(other, datetime):
        return abs(one - other) < NEAR
    if isinstance(one, float | int) and isinstance(other, float | int) and not isinstance(one, bool):
        return abs(one - other) < NEAR.total_seconds() if isinstance(one, float) else one == other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def _sorted(rows: list[Row]) -> list[Row]:
    # Statements without an order promise none.
    return sorted(rows, key=lambda row: [str(value) for value in row.values() if isinstance(value, UUID | str)])


def _key(table: str, row: Row) -> Any:
    key = tuple(row[name] for name in KEYS[table])
    return key if len(key) > 1 else key[0]
