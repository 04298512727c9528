"""A service process: the product's own objects, wired as its `app.py` does, between a world that fails and one that kills."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any

import asyncpg
from nurture_chassis.database import UNREACHABLE
from nurture_chassis.outbox import Outbox

from tests.simulation.bus import Pending, ProcessBus
from tests.simulation.database import SimulatedDatabase
from tests.simulation.virtual_time import OWNER, ProcessClock

if TYPE_CHECKING:
    from tests.simulation.world import World

IDLE = 3600.0
"""Seconds after which a ticker looks, though nothing that it looks at has changed. In earnest it looks all the time."""
Tick = Callable[[], Awaitable[bool | float | None]]


def _never() -> float:
    return math.inf


class Ticker:
    """Ticks as the product's does, but sleeps while none of `tables` changes and `due` (seconds of the loop) has not come.

    `lazy`: a change alone is no reason to look, only what becomes due by it."""

    def __init__(
        self,
        process: "Process",
        name: str,
        work: Tick,
        *,
        every: float,
        tables: set[str],
        due: Callable[[], float],
        lazy: bool,
    ) -> None:
        self.tables = tables
        self._lazy = lazy
        self._process = process
        self._name = name
        self._work = work
        self._every = every
        self._due = due
        self._woken = asyncio.Event()
        self._stirred = False

    def wake(self) -> None:
        self._woken.set()

    def stir(self) -> None:
        """Something has changed; in earnest the next tick would see it."""
        if not self._stirred:
            self._stirred = True
            world = self._process.world
            world.loop.call_later(self._every * world.chance.random.uniform(0.1, 1.1), self._rouse)

    def _rouse(self) -> None:
        due, now = self._due() if self._lazy else 0.0, self._process.world.loop.time()
        if due <= now:
            self._woken.set()
        elif due == math.inf:
            self._stirred = False
        else:
            self._process.world.loop.call_later(due - now, self._rouse)

    async def run(self) -> None:
        world = self._process.world
        while True:
            self._woken.clear()
            self._stirred = False
            try:
                again = await self._work()
            except UNREACHABLE:
                again = world.chance.random.uniform(0.1, 5.0)
            except Exception as error:
                world.error(self._process, self._name, error)
                again = 5.0
            if again is True:
                continue
            now = world.loop.time()
            until = min(self._due(), now + IDLE) if again is False or again is None else now + min(again, IDLE)
            until = max(until, now + self._every * 0.1) + self._every * world.chance.random.uniform(0.0, 0.2)
            alarm = world.loop.call_at(until, self._woken.set)
            await self._woken.wait()
            alarm.cancel()


class Process:
    """One life of one replica. `wire` gives it what its room does."""

    def __init__(self, world: "World", room: str, name: str, skew: float) -> None:
        self.world = world
        self.room = room
        self.name = name
        self.alive = True
        self.stopped_until = 0.0
        self.tasks: set[asyncio.Task[Any]] = set()
        self.tickers: list[Ticker] = []
        self.clock = ProcessClock(world.loop, skew)
        self.database = SimulatedDatabase(world.tables, room, world.statements[room], world.loop, self)
        self.database.heard = lambda name, session, answer: world.oracle.heard(self, name, answer)
        self.bus = ProcessBus(world.bus, self._cross_to_bus, self._bus_replies)
        self.outbox = Outbox(self.database, self.bus)  # type: ignore[arg-type]
        outbox = f"{room}.outbox"
        self.marker = self.tick("mark", self.outbox.mark, every=0.25)
        self.tick(
            "relay",
            self.outbox.relay,
            every=5.0,
            tables={outbox, "controller.bus_losses"},
            due=self._relay_due,
            lazy=True,
        )

    def _relay_due(self) -> float:
        if (
            len(self.world.tables.committed["controller.bus_losses"])
            > self.world.tables.committed[f"{self.room}.refilled"][True]["n"]
        ):
            return 0.0
        waiting = [
            row["created_at"] for row in self.world.tables.rows(f"{self.room}.outbox") if not row["published_at"]
        ]
        return self.world.seconds(min(waiting)) + 5.0 if waiting else math.inf

    def tick(
        self,
        name: str,
        work: Tick,
        *,
        every: float,
        tables: Iterable[str] = (),
        due: Callable[[], float] = _never,
        lazy: bool = False,
    ) -> Ticker:
        ticker = Ticker(self, name, work, every=every, tables=set(tables), due=due, lazy=lazy)
        self.tickers.append(ticker)
        return ticker

    def hear(self, durable: str, handler: Callable[[Any], Awaitable[None]]) -> None:
        self.spawn(self._consume(durable, handler))

    def begin(self) -> None:
        for ticker in self.tickers:
            self.spawn(ticker.run())

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """A task that dies with this process, and so do those that it starts."""
        token = OWNER.set(self.tasks)
        try:
            return asyncio.get_running_loop().create_task(work)
        finally:
            OWNER.reset(token)

    def die(self, why: str) -> None:
        """kill -9: nothing of it runs any more, and its server notices that its connections are gone."""
        if not self.alive:
            return
        self.alive = False
        self.world.note(f"{self.name} dies: {why}")
        for session in list(self.database.open):
            session.rollback()
        for task in list(self.tasks):
            task.cancel()
        self.world.died(self)

    def end(self) -> set[asyncio.Task[Any]]:
        """The run is over."""
        self.alive = False
        return self.tasks

    # ── the boundary ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def cross(self, what: str) -> None:
        """A request to the database leaves, or does not."""
        await self._step(what)
        if self.world.chance.hits(self.world.chance.database):
            self.world.note(f"{self.name}: {what} does not reach the database")
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")

    async def lose_reply(self, what: str) -> None:
        """It was done, and now the answer comes back, or does not."""
        self._crash(f"after {what}")
        if self.world.chance.hits(self.world.chance.database):
            self.world.note(f"{self.name}: the reply of {what} is lost")
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")

    async def _cross_to_bus(self, what: str) -> None:
        await self._step(what)
        if self.world.chance.hits(self.world.chance.bus) or self.world.bus_down:
            raise TimeoutError

    async def _bus_replies(self, what: str) -> None:
        self._crash(f"after {what}")
        self.marker.stir()
        if self.world.chance.hits(self.world.chance.bus):
            raise TimeoutError

    async def _step(self, what: str) -> None:
        self._crash(f"before {what}")
        await asyncio.sleep(self.world.chance.short() if self.world.chance.hits(0.4) else 0)
        while self.stopped_until > self.world.loop.time():
            await asyncio.sleep(self.stopped_until - self.world.loop.time())
        self._still_alive()
        self.world.steps += 1

    def _crash(self, where: str) -> None:
        self._still_alive()
        if self.world.chance.hits(self.world.chance.crash):
            self.die(where)
            raise asyncio.CancelledError

    def _still_alive(self) -> None:
        if not self.alive:
            raise asyncio.CancelledError

    async def call_leaves(self, args: tuple[Any, ...]) -> None:
        """A request to a provider leaves, as late as this process is."""
        await self._step("the call")
        self.world.note(f"{self.name} calls its provider: {str(args)[:300]}")

    def call_ends(self) -> None:
        self._crash("after the call")

    # ── hearing ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _consume(self, durable: str, handler: Callable[[Any], Awaitable[None]]) -> None:
        """As the product's desk: ack after the handler, give back after a fault."""
        bus, chance = self.world.bus, self.world.chance
        woken = bus.listener(durable)
        while True:
            one = bus.next(durable)
            if one is None:
                woken.clear()
                at = bus.next_at(durable)
                alarm = self.world.loop.call_at(at, woken.set) if at is not None else None
                await woken.wait()
                if alarm is not None:
                    alarm.cancel()
                continue
            await self._step(f"hear {durable}")
            ended = await self.world.ack_policy(self, one, durable, handler)
            if ended and not chance.hits(chance.acks_lost):
                bus.ack(durable, one)

    async def handle(self, one: Pending, durable: str, handler: Callable[[Any], Awaitable[None]]) -> bool:
        """Whether it is over."""
        self.world.note(f"{self.name} hears {durable}: {one.stored.payload.decode()[:300]}")
        try:
            await handler(one.stored.message)
        except UNREACHABLE:
            pass
        except Exception as error:
            self.world.error(self, durable, error)
        else:
            return True
        self.world.bus.nak(one, min(30.0, 0.25 * 2 ** min(one.deliveries, 7)))
        return False
