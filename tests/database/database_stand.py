"""A migrated database with the controller's planning on it; the test plays the gateway's rows and the channels' words."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from nurture_chassis.clock import Clock
from nurture_chassis.database import Database
from nurture_chassis.outbox import Outbox
from nurture_chassis.queries import Queries
from nurture_chassis.settings import Secret
from nurture_contracts.ids import uuid7
from nurture_controller.commands import Commands
from nurture_controller.config import Config
from nurture_controller.desks import Desks
from nurture_controller.falling_back import FallbackPlanner
from nurture_controller.ledger import Ledger
from nurture_controller.library import Library
from nurture_controller.requests import Requests
from nurture_controller.wording import Wordings

from tests.servers import SECRET_KEY, SilentBus, role_url


class Stand:
    """`admin` is the administrator's connection, as psql would be; its jsonb are Python values."""

    def __init__(self, url: str, admin: asyncpg.Connection, database: Database) -> None:
        self.url = url
        self.admin = admin
        self.database = database
        self.offset = timedelta(0)
        self.config = Config(
            database_url=Secret(url), nats_url="", secret_key=Secret(SECRET_KEY), public_url="https://n.test"
        )
        self.outbox = Outbox(database, SilentBus())  # type: ignore[arg-type]

    def clock(self) -> Clock:
        """Business time is real time and whatever the test let pass."""
        return Clock(1.0, time.time(), (datetime.now(UTC) + self.offset).timestamp())

    def controller(self) -> tuple[Requests, Ledger, Commands, Library]:
        """A controller's parts by the clock of now."""
        clock = self.clock()
        library = Library(self.database, clock)
        desks = Desks(self.config, Wordings())
        ledger = Ledger(self.outbox, FallbackPlanner(library, clock, self.config, desks))
        return (
            Requests(self.outbox, library, clock, self.config, desks),
            ledger,
            Commands(self.outbox, library),
            library,
        )

    async def planned(self) -> None:
        """Let the controller look at what was asked for, until nothing is due."""
        requests, *_ = self.controller()
        while await requests.tick() in (True, 0.05):
            pass

    async def person(self, *channels: str, **columns: Any) -> UUID:
        """Somebody with an address on each of these channels."""
        id = uuid7()
        names = "".join(f", {name}" for name in columns)
        values = "".join(f", ${number}" for number in range(3, 3 + len(columns)))
        await self.admin.execute(
            f"insert into gateway.users (id, first_name, created_at, updated_at{names}) values ($1, $2, now(), now(){values})",
            id, "Ada", *columns.values(),
        )  # fmt: skip
        for channel in channels:
            await self.admin.execute(
                "insert into gateway.contacts (user_id, channel, address, address_key, changed_at) values ($1, $2, $3, $3, now())",
                id, channel, f"{id}@test" if channel == "email" else str(id.int % 10**12),
            )  # fmt: skip
        return id

    async def telegram(self, ready: bool = True) -> None:
        """Whether the second channel can send."""
        await self.admin.execute(
            "insert into telegram.channel (ready, bot_username, updates) values ($1, 'bot', 'poll')"
            " on conflict (one) do update set ready = excluded.ready",
            ready,
        )

    async def schedule(self, person: Any, **more: Any) -> UUID:
        """schedule_multi_channel_message with what most tests do not care about filled in."""
        asked = {
            "type": "onboarding", "step": 1, "channels": [], "at": datetime.now(UTC), "content": "Hello {user_name}",
            "metadata": {}, **more,
        }  # fmt: skip
        return await self.admin.fetchval(
            "select schedule_multi_channel_message($1, $2, $3, $4, $5, $6, $7)", str(person), *asked.values()
        )

    async def delivery(self, id: UUID) -> asyncpg.Record | None:
        return await self.admin.fetchrow("select * from message_deliveries where id = $1", id)


@asynccontextmanager
async def standing(url: str) -> AsyncIterator[Stand]:
    admin = await asyncpg.connect(url)
    await admin.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=lambda v: msgspec.json.encode(v).decode(), decoder=msgspec.json.decode
    )
    stand = Stand(url, admin, None)  # type: ignore[arg-type]
    settings = msgspec.structs.replace(stand.config, database_url=Secret(role_url(url, "nurture_controller")))
    database = Database(settings, "controller", Queries.of("nurture_controller", "public"))
    await database.open()
    stand.database = database
    stand.outbox = Outbox(database, SilentBus())  # type: ignore[arg-type]
    try:
        yield stand
    finally:
        await database.close()
        await admin.close()
