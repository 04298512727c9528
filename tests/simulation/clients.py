"""Whoever acts from outside: operators and programs over REST, people, providers' webhooks. Each insists on its 2xx."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from random import Random
from typing import TYPE_CHECKING, Any
from uuid import UUID

from nurture_chassis.database import UNREACHABLE
from nurture_contracts.base import Message
from nurture_contracts.commands import CancelEnrolments, PauseSequence, StartSequences
from nurture_contracts.events import EmailWebhooksReceived, Hit, TrackingHit, WebhookReceived
from nurture_contracts.ids import derived, uuid7
from nurture_local.verify.history import Effect

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.world import World

_LATER = (
    ("email.delivered", None), ("email.opened", None), ("email.clicked", None), ("email.bounced", "Permanent"),
    ("email.bounced", "Transient"), ("email.complained", None), ("email.failed", None), ("email.suppressed", None),
)  # fmt: skip


class Clients:
    """`starts` are commands that were answered with a 2xx; `reported` the log's ids of what providers and people told."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._random = world.chance.random
        self.starts: set[UUID] = set()
        self.reported: set[UUID] = set()
        self.busy: set[asyncio.Task[Any]] = set()
        world.ledger.told = self._hear_of

    def begin(self) -> None:
        """Everything that will be asked for in this run."""
        random, people = self._random, sorted(row["id"] for row in self._world.tables.rows("gateway.users"))
        types = [row["type"] for row in self._world.tables.rows("controller.sequences")]
        types = random.sample(types, 2)
        for _ in range(random.randint(1, 3)):
            command = self._start(random.choice(types), people)
            self._later(random.choice((0, 0, 300)), self._command, command.command_id, "trigger", command)
            if random.random() < 0.2:
                wait = random.choice((0.0, 1.0, 60.0, 1200.0))
                cancel = CancelEnrolments(
                    command_id=uuid7(), at=self._world.loop.now, start_command_id=command.command_id
                )
                self._later(wait, self._command, cancel.command_id, "cancel", cancel)
        for _ in range(random.choice((0, 0, 1, 3))):
            self._later(random.expovariate(1 / 300), self._change_mind, random.choice(people))
        if random.random() < 0.5:
            self._later(random.expovariate(1 / 60), self._hold, random.choice(("*", *types)))
        # By a chance of its own, so that runs without it are what they were.
        other = Random(self._world.chance.favourite)
        contacts = sorted(self._world.tables.committed["gateway.contacts"])
        if contacts and other.random() < 0.25:
            for _ in range(other.choice((1, 3))):
                whose = other.choice(contacts)
                self._later(other.expovariate(1 / other.choice((5, 300))), self._correct_address, *whose)

    def _start(self, type: str, people: list[UUID]) -> StartSequences:
        whom = self._random.sample(people, self._random.randint(1, len(people)))
        single = len(whom) == 1 and self._random.random() < 0.7
        return StartSequences(
            command_id=uuid7(), sequence_type=type, at=self._world.loop.now, single=single, user_ids=whom
        )

    def _later(self, seconds: float, work: Callable[..., Awaitable[None]], *args: Any) -> None:
        async def wait() -> None:
            await asyncio.sleep(seconds)
            await work(*args)

        # Whoever acts from outside lives on when the process dies that made them act.
        task = self._world.loop.create_task(wait(), context=Context())
        self.busy.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self.busy.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._world.oracle.violated("error", f"a client met {type(error).__name__}: {error}")

    async def _insist(self, what: str, work: "Callable[[Process], Awaitable[None]]") -> None:
        """Until a gateway says 2xx."""
        while True:
            process = self._world.any("gateway")
            if process is not None:
                task = process.spawn(work(process))  # type: ignore[arg-type]
                await asyncio.wait({task})
                if not task.cancelled() and (error := task.exception()) is None:
                    self._world.note(f"2xx: {what}")
                    return
                if not task.cancelled() and not isinstance(error, UNREACHABLE):
                    raise error
            await asyncio.sleep(self._random.uniform(0.5, 30))

    async def _command(self, id: UUID, kind: str, command: Message) -> None:
        async def post(process: "Process") -> None:
            async with process.outbox.transaction() as tx:
                if await tx.fetchval("command_add", id, kind, self._world.loop.now):
                    tx.say(command)

        await self._insist(f"{kind} {id}", post)
        self.starts.add(id)

    async def _say(self, what: str, message: Message) -> None:
        async def post(process: "Process") -> None:
            async with process.outbox.transaction() as tx:
                tx.say(message)

        await self._insist(what, post)

    async def _change_mind(self, person: UUID) -> None:
        channel = self._random.choice(("email", "telegram"))
        for said in ("refused", "granted")[: self._random.choice((1, 1, 2))]:

            async def post(process: "Process", said: str = said) -> None:
                await process.database.execute("consent", person, channel, said, self._world.loop.now)

            await self._insist(f"{person} has {said} {channel}", post)
            await asyncio.sleep(self._random.expovariate(1 / 300))

    async def _correct_address(self, person: UUID, channel: str) -> None:
        """Only the front of it changes, so that it is nobody else's."""

        async def post(process: "Process") -> None:
            await process.database.execute("correct_address", person, channel, "9", self._world.loop.now)

        await self._insist(f"{person} has another address for {channel}", post)

    async def _hold(self, type: str) -> None:
        for paused in (True, False):
            command = PauseSequence(command_id=uuid7(), at=self._world.loop.now, sequence_type=type, paused=paused)
            await self._command(command.command_id, "pause", command)
            await asyncio.sleep(self._random.choice((10.0, 600.0, 3600.0)))
            while not self._settled(command.command_id):
                await asyncio.sleep(30)

    def _settled(self, id: UUID) -> bool:
        return self._world.tables.committed["gateway.commands"][id]["state"] == "settled"

    # ── what comes of a message ──────────────────────────────────────────────────────────────────────────────────────

    def _hear_of(self, effect: Effect) -> None:
        self._world.note(f"{effect.channel} to {effect.recipient}: {effect.delivery_id}")
        self._world.oracle.took(effect)
        random = self._random
        for _ in range(random.choice((0, 1, 1, 3))):
            wait = random.choice((0.0, 1.0, 60.0, 3000.0)) * random.random()
            if effect.channel == "email" and random.random() < 0.8:
                self._later(wait, self._webhook, effect)
            else:
                self._later(wait, self._hit, effect)

    async def _webhook(self, effect: Effect) -> None:
        random = self._random
        type, bounce = random.choice(_LATER[:3] if random.random() < 0.7 else _LATER)
        webhook = WebhookReceived(
            webhook_id=f"msg_{random.getrandbits(64):x}", type=type, at=self._world.loop.now, bounce_type=bounce,
            delivery_id=effect.delivery_id if random.random() < 0.8 else None, provider_id=effect.provider_id,
        )  # fmt: skip
        self.reported.add(derived("webhook", webhook.webhook_id))
        for _ in range(random.choice((1, 1, 2))):
            await self._say(f"webhook {type} of {effect.delivery_id}", EmailWebhooksReceived(items=[webhook]))
            await asyncio.sleep(random.expovariate(1 / 20))

    async def _hit(self, effect: Effect) -> None:
        hit = Hit(
            event_id=uuid7(), kind="clicked", delivery_id=effect.delivery_id or uuid7(), at=self._world.loop.now,
            channel=effect.channel,
        )  # fmt: skip
        self.reported.add(hit.event_id)
        await self._say(f"click on {effect.delivery_id}", TrackingHit(items=[hit]))
