"""The bus with its keeper and one room that speaks and hears, on real servers, inside the test's own event loop."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import UUID

import asyncpg
from nurture_chassis import topology
from nurture_chassis.bus import Bus
from nurture_chassis.database import Database
from nurture_chassis.outbox import Outbox
from nurture_chassis.queries import Queries
from nurture_chassis.settings import Secret, ServiceSettings
from nurture_contracts.commands import SendTelegrams
from nurture_contracts.ids import uuid7
from nurture_contracts.topology import BY_DURABLE
from nurture_controller.keeping import Keeper

from tests import servers

SUBJECT = SendTelegrams.subject


async def until(holds: Callable[[], Any], seconds: float = 40) -> Any:
    """The first truthy answer; asks what lives in another process, which sets no event of ours."""
    async with asyncio.timeout(seconds):
        while True:
            answer = holds()
            answer = await answer if asyncio.iscoroutine(answer) else answer
            if answer:
                return answer
            await asyncio.sleep(0.02)


class Stand:
    """`keeper` is the controller's; `outbox` and `heard` are of a telegram room that wakes itself up."""

    def __init__(self, admin: str, nats: servers.NatsServer) -> None:
        self.admin, self.nats = admin, nats
        self.heard: Counter[UUID] = Counter()
        self.deaf = False
        settings = self._settings("controller")
        self._owner = Database(settings, "controller", Queries.of("nurture_controller", "public"))
        self._owner_bus = Bus(nats.url, "controller", self._owner)
        self.keeper = Keeper(self._owner, self._owner_bus, 1)
        self.database = Database(self._settings("telegram"), "telegram", Queries.of("nurture_telegram", "public"))
        self.bus = Bus(nats.url, "telegram", self.database)
        self.outbox = Outbox(self.database, self.bus)
        self.bus.hear("telegram-send", self._hear)

    def _settings(self, room: str) -> ServiceSettings:
        url = servers.role_url(self.admin, f"nurture_{room}")
        return ServiceSettings(
            database_url=Secret(url),
            nats_url=self.nats.url,
            secret_key=Secret(servers.SECRET_KEY),
            database_pool_size=3,
        )

    async def _hear(self, page: SendTelegrams) -> None:
        if self.deaf:
            raise ConnectionError("told to be deaf")
        self.heard[page.page_id] += 1

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Stand"]:
        await self._owner.open()
        await self.database.open()
        await self._owner_bus.connect()
        await self.bus.connect()
        await self.keeper.tick()
        await self.bus.start()
        try:
            yield self
        finally:
            for bus in (self.bus, self._owner_bus):
                with contextlib.suppress(Exception):
                    await asyncio.wait_for(bus.stop(), 10)
            await self.outbox.close()
            await self.database.close()
            await self._owner.close()

    async def say(self, number: int = 1, outbox: Outbox | None = None) -> list[UUID]:
        """Commit so many pages, publish them and mark them as published."""
        outbox = outbox or self.outbox
        pages = [uuid7() for _ in range(number)]
        async with outbox.transaction() as tx:
            for page in pages:
                tx.say(SendTelegrams(page_id=page, items=[uuid7()]))
        await outbox.close()
        return pages

    async def hears(self, pages: list[UUID]) -> None:
        """Wait until each has come once at least."""
        await until(lambda: all(self.heard[page] for page in pages))

    async def acked(self, durable: str = "telegram-send") -> None:
        """Wait until a consumer owes nothing."""

        async def done() -> bool:
            standing = await self.standing(durable)
            return standing is not None and standing.pending == standing.ack_pending == 0

        await until(done)

    async def standing(self, durable: str) -> Any:
        found = await topology.find_consumers(self._owner_bus, BY_DURABLE[durable].stream)
        return found[durable].standing if durable in found else None

    async def stream(self, name: str = "COMMANDS") -> Any:
        return await topology.find_stream(self._owner_bus, name)

    async def ask(self, subject: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """As an operator with the nats command would."""
        return await topology._ask(self._owner_bus, subject, body)

    async def through(self, accident: Callable[[], Any]) -> Any:
        """What the accident returns, once everybody is connected again."""
        clients = [bus.broker.config.broker_config.connection_state.connection for bus in (self.bus, self._owner_bus)]
        before = [client.stats["reconnects"] for client in clients]
        result = await asyncio.to_thread(accident)
        await until(
            lambda: all(
                client.is_connected and client.stats["reconnects"] > count
                for client, count in zip(clients, before, strict=True)
            )
        )
        return result

    async def look(self) -> None:
        """Have the keeper look until it could."""
        await until(self._looked)

    async def _looked(self) -> bool:
        try:
            await self.keeper.tick()
        except Exception:
            return False
        return True

    async def ask_owner(self, statement: str) -> Any:
        """One value from the controller's own tables."""
        return await self._owner.pool.fetchval(statement)

    async def losses(self) -> list[asyncpg.Record]:
        return await self._owner.pool.fetch("select n, stream, subject, since, reason from bus_losses order by n")

    async def reasons(self) -> dict[str, str]:
        """By stream, of the latest losses."""
        return {row["stream"]: row["reason"] for row in await self.losses()}
