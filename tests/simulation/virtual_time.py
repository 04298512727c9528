"""An event loop whose clock jumps to the next timer instead of waiting for it, and what the product asks the time of."""

import asyncio
import heapq
import itertools
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any

import nurture_chassis.clock
import nurture_chassis.outbox
import nurture_chassis.pace
import nurture_chassis.triggers
import nurture_contracts.ids
import nurture_contracts.life
import nurture_controller.advancing
import nurture_controller.desks
import nurture_controller.falling_back
import nurture_controller.starting
import nurture_email.calls
import nurture_email.sender
import nurture_email.volleys
import nurture_telegram.sender
from nurture_chassis.clock import Clock

EPOCH = datetime(2026, 3, 27, 6, 0, tzinfo=UTC)
"""Two days before clocks change in Europe, so that a longer run meets that."""
OWNER: ContextVar[set[asyncio.Task[Any]] | None] = ContextVar("OWNER", default=None)
"""The tasks of the process that is running; a task that it starts is one of them."""
_ASKS_TIME = (
    nurture_chassis.clock, nurture_chassis.outbox, nurture_chassis.pace, nurture_contracts.ids, nurture_contracts.life, nurture_controller.desks,
    nurture_email.sender, nurture_email.volleys, nurture_telegram.sender,
)  # fmt: skip
_LOGS = (
    nurture_chassis.outbox, nurture_chassis.triggers, nurture_controller.advancing, nurture_controller.falling_back, nurture_controller.starting,
    nurture_email.calls, nurture_email.sender, nurture_email.volleys, nurture_telegram.sender,
)  # fmt: skip


class _Task(asyncio.Task):
    """Hashed by its number and not by its address, so that sets of tasks have the same order in each run."""

    def __new__(cls, *_: Any, loop: "VirtualLoop", **__: Any) -> "_Task":
        task = super().__new__(cls)
        task.number = next(loop.numbers)
        return task

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        return self is other


class NothingLeft(Exception):
    """Everybody waits and no timer is set."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Time passes only while everybody waits, and then at once. Knows no files and no sockets."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = itertools.count()
        self._seconds = 0.0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self.set_task_factory(self._make_task)

    def time(self) -> float:
        """Seconds since the beginning of the run."""
        return self._seconds

    @property
    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self._seconds)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self.numbers), timer))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None: ...

    def _run_once(self) -> None:
        """What is ready, and when nothing is, the next timer and all of the same moment."""
        timers, ready = self._timers, self._ready
        while not ready:
            if not timers:
                raise NothingLeft
            self._seconds = max(self._seconds, timers[0][0])
            while timers and timers[0][0] <= self._seconds:
                timer = heapq.heappop(timers)[2]
                if not timer.cancelled():
                    ready.append(timer)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle.cancelled():
                handle._run()

    def _write_to_self(self) -> None: ...

    def _make_task(self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine, **options: Any) -> asyncio.Task:
        task = _Task(coroutine, loop=loop, **options)
        context = options.get("context")
        owned = OWNER.get() if context is None else context.get(OWNER)
        if owned is not None:
            owned.add(task)
            task.add_done_callback(owned.discard)
        return task


class ProcessClock(Clock):
    """Business time of one process: `skew` seconds off, as clocks of machines are."""

    def __init__(self, loop: VirtualLoop, skew: float) -> None:
        super().__init__()
        self._loop = loop
        self.skew = skew

    def now(self) -> datetime:
        return self._loop.now + timedelta(seconds=self.skew)

    def real(self) -> datetime:
        return self.now()


class _Time:
    """Stands in for the module `time`."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.monotonic = loop.time

    def time(self) -> float:
        return self._loop.now.timestamp()

    def time_ns(self) -> int:
        return int(self.time() * 1_000_000) * 1000


class _Silence:
    """Stands in for a logger."""

    def info(self, *_: Any, **__: Any) -> None: ...

    debug = warning = error = exception = info


@contextmanager
def simulated(loop: VirtualLoop, bits: Any) -> Iterator[None]:
    """While this lasts, the product asks `loop` for the time and `bits(80)` for chance, and logs nothing."""
    time, silence = _Time(loop), _Silence()
    put: list[tuple[Any, str, Any]] = [(module, "time", time) for module in _ASKS_TIME]
    put += [(module, "log", silence) for module in _LOGS]
    put.append((nurture_contracts.ids, "_random", lambda: bits(80)))
    before = [(module, name, getattr(module, name)) for module, name, _ in put]
    for one in put:
        setattr(*one)
    try:
        yield
    finally:
        for one in before:
            setattr(*one)
