"""Load on a record of the real schema: people and commands as the gateway writes them, many writers at once."""

import asyncio
import contextlib
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
from msgspec import json
from nurture_chassis.database import UNREACHABLE
from nurture_chassis.queries import Queries
from nurture_contracts.commands import StartSequences
from nurture_contracts.ids import uuid7
from nurture_contracts.life import COMMAND_LIFE

WRITERS = 8


class RecordLoad:
    """`acked` are the commands whose commit was answered, `doubtful` those whose commit may have happened."""

    def __init__(self, url: str, **settings: str) -> None:
        self._url = url
        self._settings = settings
        self._queries = Queries.of("nurture_gateway", "public")
        self._news = asyncio.Event()
        self.acked: set[UUID] = set()
        self.doubtful: set[UUID] = set()

    async def until(self, acked: int) -> None:
        """Wait until so many are committed."""
        while len(self.acked) < acked:
            self._news.clear()
            await self._news.wait()

    async def write(self) -> None:
        """Write from several connections until the server is gone."""
        async with asyncio.TaskGroup() as group:
            for _ in range(WRITERS):
                group.create_task(self._write())

    async def _write(self) -> None:
        with contextlib.suppress(*UNREACHABLE):
            connection = await asyncpg.connect(
                self._url, server_settings={"search_path": "gateway", **self._settings}, command_timeout=5
            )
            while True:
                id = uuid7()
                self.doubtful.add(id)
                await self._commit(connection, id)
                self.doubtful.remove(id)
                self.acked.add(id)
                self._news.set()

    async def _commit(self, connection: asyncpg.Connection, id: UUID) -> None:
        # What one POST to /trigger of a new person writes, in the gateway's own statements.
        now = datetime.now(UTC)
        message = StartSequences(command_id=id, sequence_type="onboarding", at=now, single=True, user_ids=[id])
        run = {name: self._queries[name] for name in ("save_people", "save_contacts", "add_command", "outbox_add")}
        async with connection.transaction():
            await connection.execute(
                run["save_people"], [id], [str(id)], ["Ada"], ["UTC"], ["en"], ["{}"], [None], ["morning"], now
            )
            await connection.execute(
                run["save_contacts"], [id], ["email"], [f"{id}@example.test"], [f"{id}@example.test"], now
            )
            await connection.execute(
                run["add_command"], id, "trigger", "{}", "[]", None, None, "rest", None, None, COMMAND_LIFE
            )
            await connection.execute(run["outbox_add"], [id], [message.subject], [json.encode(message)], ["{}"])

    async def verdict(self, url: str) -> tuple[int, int]:
        """After a restart: how many of the committed are gone, and how many commands are there in part only."""
        connection = await asyncpg.connect(url)
        try:
            parts = [
                {row["id"] for row in await connection.fetch(f"select id from gateway.{table}")}
                for table in ("commands", "outbox", "users")
            ]
        finally:
            await connection.close()
        # An earlier load may have written here too.
        mine = self.acked | self.doubtful
        whole, some = set.intersection(*parts) & mine, set.union(*parts) & mine
        return len(self.acked - whole), len(some - whole)
