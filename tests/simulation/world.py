"""One run: a few people, a few replicas, and what a seed does to them; then everything heals, and comes to rest or does not."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch
from uuid import UUID

import nurture_controller.advancing
import nurture_email.attempts
from nurture_contracts.ids import uuid7
from nurture_controller.sequence import definition
from nurture_controller.sequence_toml import parse

from tests.simulation import statements
from tests.simulation.bus import Pending, SimulatedBus
from tests.simulation.chance import Chance
from tests.simulation.clients import Clients
from tests.simulation.oracle import Oracle
from tests.simulation.process import Process
from tests.simulation.providers import KEY_TRUSTED, BotApi, Ledger, Relay, Resend
from tests.simulation.rooms import ROOMS
from tests.simulation.tables import Tables
from tests.simulation.virtual_time import EPOCH, VirtualLoop, simulated

FAULTS_LAST = 3600.0
PATIENCE = 48 * 3600.0
"""Seconds after which a run that has not come to rest will not."""
_HEAD = 'format = 1\ntype = "{type}"\ntitle = "T"\nmax_lateness = "{late}"\n'
_STEP = '[[steps]]\nkind = "message"\n{when}\nchannel = "{channel}"\nfallback = "{fallback}"\n{more}subject = "S"\nbody = "B {n}"\n'


def _sequence(type: str, late: str, *steps: tuple[str, str, str, str]) -> tuple[UUID, str, Any]:
    toml = _HEAD.format(type=type, late=late)
    for n, (when, channel, fallback, more) in enumerate(steps):
        when = 'when = "now"' if when == "now" else f'delay = "{when}"'
        toml += _STEP.format(when=when, channel=channel, fallback=fallback, more=more, n=n)
    return UUID(int=len(type)), type, definition(parse(toml))


SEQUENCES = (
    _sequence("one", "24h", ("now", "email", "telegram", "")),
    _sequence("three", "6h", ("now", "auto", "auto", ""), ("10m", "telegram", "email", ""), ("1h", "auto", "none", "")),
    _sequence("retries", "1h", ("now", "telegram", "email", 'on_ambiguous = "retry"\n'), ("5m", "email", "auto", "")),
    _sequence("slowly", "24h", ("20m", "email", "auto", ""), ("1d", "auto", "auto", "")),
)  # fmt: skip


class World:
    """Everything that is not a process, and the processes."""

    def __init__(self, seed: int, loop: VirtualLoop, *, provider: str = "resend", trace: bool = False) -> None:
        self.loop = loop
        self.provider = provider
        self.chance = Chance(seed)
        self.trace: list[str] | None = [] if trace else None
        self.tables = Tables()
        self.statements = {room: dict(known) for room, known in statements.ROOMS.items()}
        self.bus = SimulatedBus(loop, self.chance)
        self.bus_down = False
        self.ledger = Ledger(loop)
        self.resend = Resend(loop, self.chance, self.ledger)
        self.relay = Relay(loop, self.chance, self.ledger, self.resend.invalid)
        self.bot = BotApi(loop, self.chance, self.ledger)
        self.oracle = Oracle(self)
        self.clients = Clients(self)
        self.processes: dict[str, Process] = {}
        self.skews: dict[str, float] = {}
        self.steps = 0
        self.deaths: Counter[str] = Counter()
        self.stops: Counter[str] = Counter()
        self.ack_policy: Callable[..., Awaitable[bool]] = self._handle
        self.tables.watchers += [self.oracle.committed, self._stir]

    # ── what processes need ──────────────────────────────────────────────────────────────────────────────────────────

    def seconds(self, moment: datetime) -> float:
        return (moment - EPOCH).total_seconds()

    def note(self, what: str) -> None:
        if self.trace is not None:
            self.trace.append(f"{self.loop.time():12.3f}  {what}")

    def error(self, process: Process, where: str, error: Exception) -> None:
        self.oracle.violated("error", f"{process.name}, {where}: {type(error).__name__}: {error}")

    async def _handle(self, process: Process, one: Pending, durable: str, handler: Any) -> bool:
        return await process.handle(one, durable, handler)

    def _stir(self, changed: dict[str, Any]) -> None:
        for process in self.processes.values():
            for ticker in process.tickers:
                if not ticker.tables.isdisjoint(changed):
                    ticker.stir()

    # ── processes ────────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self, room: str, name: str) -> None:
        self.note(f"{name} starts")
        process = self.processes[name] = Process(self, room, name, self.skews.get(name, 0.0))
        ROOMS[room](process)
        process.begin()

    def died(self, process: Process) -> None:
        self.deaths[process.room] += 1
        self.loop.call_later(self.chance.random.uniform(0.5, 120), self.start, process.room, process.name)

    def any(self, room: str) -> Process | None:
        """A live replica of a room, that answers."""
        live = [one for one in self.processes.values() if one.room == room and one.alive]
        live = [one for one in live if one.stopped_until <= self.loop.time()]
        return self.chance.random.choice(live) if live else None

    # ── the run ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Raises what breaks the simulation itself; what breaks a promise is in `oracle.violations`."""
        self._populate()
        random = self.chance.random
        for room in ROOMS:
            for n in range(random.choice((1, 1, 2))):
                name = f"{room}-{n}"
                self.skews[name] = random.choice((0.0, 0.0, random.uniform(-600, 600)))
                self.start(room, name)
        self.clients.begin()
        for at, fault in self._plan():
            await self._until(at)
            fault()
        await self._until(FAULTS_LAST)
        self._heal()
        while not self.oracle.quiet() and not self.oracle.violations and self.loop.time() < PATIENCE:
            await asyncio.sleep(120)
        if not self.oracle.violations:
            self.oracle.at_rest()
        for tasks in (self.clients.busy, *(process.end() for process in self.processes.values())):
            for task in list(tasks):
                task.cancel()
        await asyncio.sleep(0)

    async def _until(self, at: float) -> None:
        """A run that has broken a promise need not go on."""
        while self.loop.time() < at and not self.oracle.violations:
            await asyncio.sleep(min(60.0, at - self.loop.time()))

    def _populate(self) -> None:
        random, rows = self.chance.random, self.tables.committed
        for room in ROOMS:
            rows[f"{room}.refilled"][True] = {"n": 0}
        for id, type, stored in SEQUENCES:
            rows["controller.sequences"][id] = {"id": id, "type": type, "version": 1, "definition": stored}
        for n in range(random.randint(1, 4)):
            person = uuid7()
            wish = random.choice((None, "email", "telegram"))
            zone = random.choice(("UTC", "Europe/Berlin", "America/St_Johns", "Mars/Phobos"))
            rows["gateway.users"][person] = {
                "id": person, "first_name": "P", "timezone": zone, "locale": "en", "attributes": {},
                "preferred_channel": wish, "preferred_time": "morning",
            }  # fmt: skip
            for channel, address in (("email", f"p{n}@x.test"), ("telegram", f"{1000 + n}")):
                if random.random() < 0.85:
                    rows["gateway.contacts"][person, channel] = {
                        "user_id": person, "channel": channel, "address": address, "state": "ok", "consent": "granted",
                        "opt_in_sequences": True, "opt_in_announcements": True, "changed_at": self.loop.now,
                    }  # fmt: skip
            if random.random() < 0.15:
                self.resend.invalid.add(f"p{n}@x.test")
            if random.random() < 0.15:
                self.bot.blocked.add(f"{1000 + n}")

    def _plan(self) -> list[tuple[float, Callable[[], None]]]:
        """Faults that come at a time of their own."""
        random, plan = self.chance.random, []
        every = (self._kill, self._stop, self._wipe, self._wipe_behind_a_stop, self._cut, self._skew)
        for kind in random.sample(every, random.randint(0, 3)):
            usual = random.choice((5, 20, 600, 3600))
            plan += [(random.expovariate(1 / usual), kind) for _ in range(random.choice((1, 2, 6)))]
        return sorted(((min(at, FAULTS_LAST), kind) for at, kind in plan), key=lambda one: one[0])

    def _somebody(self) -> Process:
        return self.chance.random.choice(list(self.processes.values()))

    def _kill(self) -> None:
        self._somebody().die("killed")

    def _stop(self) -> None:
        process, seconds = self._somebody(), self.chance.random.choice((5, 70, 200))
        self.note(f"{process.name} stands still for {seconds} s")
        self.stops[process.room] += 1
        process.stopped_until = self.loop.time() + seconds

    def _wipe(self) -> None:
        self.note("the bus loses everything")
        self.bus.wipe()
        self.loop.call_later(self.chance.random.uniform(0.1, 6.0), self._note_loss)

    def _wipe_behind_a_stop(self) -> None:
        """Whoever stands still knows nothing of the loss when it goes on."""
        self._stop()
        self.loop.call_later(self.chance.short(), self._wipe)

    def _note_loss(self) -> None:
        """The controller's keeper finds out, and writes down what may be lost."""
        while self.bus.lost:
            since, subjects = self.bus.lost.pop(0)
            losses = self.tables.committed["controller.bus_losses"]
            for subject in subjects:
                n = len(losses) + 1
                losses[n] = {"n": n, "subject": subject, "since": since}
        self._stir({"controller.bus_losses": {}})

    def _cut(self) -> None:
        seconds = self.chance.random.choice((3, 30, 120))
        self.note(f"the bus does not answer for {seconds} s")
        self.bus_down = True
        self.loop.call_later(seconds, self._mend)

    def _mend(self) -> None:
        self.bus_down = False

    def _skew(self) -> None:
        process, seconds = self._somebody(), self.chance.random.uniform(-600, 600)
        self.note(f"the clock of {process.name} jumps to {seconds:+.0f} s")
        process.clock.skew = self.skews[process.name] = seconds

    def _heal(self) -> None:
        self.note("everything heals")
        self.chance.calm()
        self.bus_down = False
        for process in self.processes.values():
            process.stopped_until = 0.0


def run(
    seed: int,
    *,
    provider: str = "resend",
    trace: bool = False,
    sabotage: Callable[[World, ExitStack], None] | None = None,
) -> World:
    """One seed from beginning to end. The same seed is the same run, with each provider. `sabotage` plants a bug that is gone afterwards."""
    loop = VirtualLoop()
    with ExitStack() as stack:
        stack.callback(loop.close)
        world = World(seed, loop, provider=provider, trace=trace)
        stack.enter_context(simulated(loop, world.chance.random.getrandbits))
        # Shorter, so that a run meets the end of a key's life, and does not look for hours whether a delivery has ended.
        stack.enter_context(patch.object(nurture_email.attempts, "KEY_LIFETIME", timedelta(seconds=KEY_TRUSTED)))
        stack.enter_context(patch.object(nurture_controller.advancing, "PUT_OFF_SECONDS", 120.0))
        if sabotage is not None:
            sabotage(world, stack)
        loop.run_until_complete(world.run())
    return world
