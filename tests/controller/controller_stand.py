"""The controller on real PostgreSQL with a clock that the test turns; the test plays the gateway's and the channels' rows."""

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
from nurture_contracts.base import Channel, Message
from nurture_contracts.commands import (
    ArchiveDeliveries,
    PauseSequence,
    ProcessDue,
    ResendDeliveries,
    SimulateSequence,
    StartSequences,
)
from nurture_contracts.events import CommandSettled
from nurture_contracts.ids import uuid7
from nurture_contracts.topology import MESSAGES
from nurture_controller.advancing import Planner
from nurture_controller.commands import Commands
from nurture_controller.config import Config
from nurture_controller.counting import Counting
from nurture_controller.desks import Desks
from nurture_controller.exiting import Exits
from nurture_controller.falling_back import FallbackPlanner
from nurture_controller.installation import Installation
from nurture_controller.ledger import Ledger
from nurture_controller.library import Library
from nurture_controller.operating import Operations
from nurture_controller.requests import Requests
from nurture_controller.simulating import ENTRIES, Simulator
from nurture_controller.starting import Starter
from nurture_controller.wording import Wordings

from tests.servers import SECRET_KEY, SilentBus, role_url

_BY_SUBJECT = {message.subject: message for message in MESSAGES}
_STEP = '[[steps]]\nkind = "message"\n{when}\nchannel = "email"\nsubject = "Hello {{{{ user_name }}}}"\nbody = "Good day."\n'


class Hands(Clock):
    """Business time stands still until the test moves it; seconds are real, so that a day passes in no time."""

    def __init__(self) -> None:
        super().__init__()
        self.at = datetime(2026, 6, 1, 9, 0, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at

    def forward(self, **span: float) -> None:
        self.at += timedelta(**span)


class Room:
    """One controller, ticked by hand."""

    def __init__(self, database: Database, clock: Clock, plan_batch: int) -> None:
        config = Config(database_url=Secret(""), nats_url="", secret_key=Secret(SECRET_KEY), plan_batch=plan_batch)
        self.database = database
        self.clock = clock
        self.outbox = Outbox(database, SilentBus())  # type: ignore[arg-type]
        library, desks = Library(database, clock), Desks(config, Wordings())
        self.starter = Starter(self.outbox, library, clock, config, desks)
        self.planner = Planner(self.outbox, library, clock, config, desks)
        self.requests = Requests(self.outbox, library, clock, config, desks)
        self.commands = Commands(self.outbox, library)
        self.operations = Operations(self.outbox, clock, config, self.planner, self.requests)
        self.ledger = Ledger(self.outbox, FallbackPlanner(library, clock, config, desks))
        self.exits = Exits(self.outbox, clock)
        self.counting = Counting(database)
        self.simulator = Simulator(self.outbox, library, desks, shown=ENTRIES)
        self.library = library
        self.installation = Installation(database)

    async def plan(self) -> bool | float:
        """Tick until nothing is due; returns the last tick's wish."""
        while (again := await self.planner.tick()) is True or (not isinstance(again, bool) and again <= 0.01):
            pass
        return again

    async def hold(self, sequence_type: str, paused: bool, *, confirm: bool = False) -> CommandSettled:
        """Pause or resume; returns what was answered."""
        command = PauseSequence(
            command_id=uuid7(),
            at=self.clock.now(),
            sequence_type=sequence_type,
            paused=paused,
            confirm_restored=confirm,
        )
        await self.commands.pause(command)
        return await self.answer(command.command_id)

    async def start(self, sequence_type: str, *people: UUID) -> CommandSettled:
        """Trigger one person, or several as a job."""
        command = StartSequences(
            command_id=uuid7(),
            at=self.clock.now(),
            sequence_type=sequence_type,
            single=len(people) == 1,
            user_ids=list(people),
        )
        await self.starter.start(command)
        while len(people) > 1 and await self.starter.work():
            pass
        return await self.answer(command.command_id)

    async def simulate(self, *people: UUID, **asked: Any) -> CommandSettled:
        """What a start of these people, or as `asked`, would do; all timelines are told."""
        command = SimulateSequence(
            command_id=uuid7(), at=self.clock.now(), start_at=self.clock.now(), user_ids=list(people), **asked
        )
        await self.simulator.simulate(command)
        return await self.answer(command.command_id)

    async def process(self) -> CommandSettled:
        """One planning pass by command."""
        command = ProcessDue(command_id=uuid7(), at=self.clock.now())
        await self.operations.process(command)
        return await self.answer(command.command_id)

    async def resend(
        self, delivery_id: UUID | None = None, *, channel: Channel = "email", may_have_arrived: bool = False
    ) -> CommandSettled:
        """Once more: one delivery, or what is in a channel's queue."""
        command = ResendDeliveries(
            command_id=uuid7(),
            at=self.clock.now(),
            delivery_id=delivery_id,
            channel=None if delivery_id else channel,
            may_have_arrived=may_have_arrived,
        )
        await self.operations.resend(command)
        return await self.answer(command.command_id)

    async def archive(self, channel: Channel = "email") -> CommandSettled:
        """Take failures out of the queue."""
        command = ArchiveDeliveries(command_id=uuid7(), at=self.clock.now(), channel=channel)
        await self.operations.archive(command)
        return await self.answer(command.command_id)

    async def answer(self, command_id: UUID) -> CommandSettled:
        said = [message for message in await self.said() if isinstance(message, CommandSettled)]
        return next(message for message in said if message.command_id == command_id)

    async def said(self) -> list[Message]:
        rows = await self.sql("select subject, payload from outbox order by created_at, id")
        return [msgspec.json.decode(row["payload"], type=_BY_SUBJECT[row["subject"]]) for row in rows]

    async def sql(self, statement: str, *args: Any) -> list[asyncpg.Record]:
        return await self.database.pool.fetch(statement, *args)

    async def statuses(self) -> list[str]:
        return [row["status"] for row in await self.sql("select status from deliveries order by id")]

    async def settle_all(self) -> None:
        """The channel has sent what was planned."""
        await self.sql("update deliveries set sent_at = $1 where unsettled", self.clock.now())


class Stand:
    """A database of its own, with people in it, and rooms made from the service's own role."""

    def __init__(self, admin_url: str, admin: asyncpg.Connection) -> None:
        self.admin_url = admin_url
        self.admin = admin
        self.clock = Hands()
        self._databases: list[Database] = []

    async def room(self, plan_batch: int = 1000) -> Room:
        config = Config(
            database_url=Secret(role_url(self.admin_url, "nurture_controller")),
            nats_url="",
            secret_key=Secret(SECRET_KEY),
        )
        database = Database(config, "controller", Queries.of("nurture_controller", "public"))
        await database.open()
        self._databases.append(database)
        return Room(database, self.clock, plan_batch)

    async def people(self, count: int) -> list[UUID]:
        ids = [uuid7() for _ in range(count)]
        await self.admin.execute(
            "insert into gateway.users (id, first_name, created_at, updated_at)"
            " select id, 'P', now(), now() from unnest($1::uuid[]) id",
            ids,
        )
        await self.admin.execute(
            "insert into gateway.contacts (user_id, channel, address, address_key, changed_at)"
            " select id, 'email', id || '@x.test', id || '@x.test', now() from unnest($1::uuid[]) id",
            ids,
        )
        return ids

    async def sequence(self, room: Room, name: str, *whens: str, head: str = "") -> None:
        """A published sequence of steps with these times: `now`, or a delay like `1d`."""
        steps = "\n".join(
            _STEP.format(when='when = "now"' if when == "now" else f'delay = "{when}"') for when in whens or ("now",)
        )
        async with room.outbox.transaction() as tx:
            toml = f'format = 1\ntype = "{name}"\ntitle = "{name}"\n{head}\n{steps}'
            status, result = await room.library.publish(tx, toml, self.clock.now(), dry_run=False)
        assert status == 201, result

    async def close(self) -> None:
        for database in self._databases:
            await database.close()


@asynccontextmanager
async def standing(admin_url: str):
    admin = await asyncpg.connect(admin_url)
    stand = Stand(admin_url, admin)
    try:
        yield stand
    finally:
        await stand.close()
        await admin.close()
