"""Due work: a tick that runs at once when woken, else every so often, and again at once while there is more."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable

import structlog
from prometheus_client import Counter, Gauge

from nurture_chassis.trace import forget

log = structlog.get_logger()
FAILED = Counter("nurture_tick_failures", "Ticks that raised; they are tried again", ["tick"])
ENDED = Gauge("nurture_tick_last_success_timestamp_seconds", "When a tick last ended well, in Unix time", ["tick"])
_jitter = random.SystemRandom()


class Ticker:
    """Runs `tick` one at a time. True: run again now; a number: that many seconds from now at the latest."""

    def __init__(self, name: str, tick: Callable[[], Awaitable[bool | float | None]], *, every: float) -> None:
        self.name = name
        self._tick = tick
        self._every = every
        self._woken = asyncio.Event()
        self._ended = ENDED.labels(name)
        self._failed = FAILED.labels(name)
        self._failures = 0
        self._fault = ""
        self._task: asyncio.Task[None] | None = None

    @property
    def failing(self) -> str | None:
        """The kind of error that the last ticks ended with, more than two in a row. Its text stays in the log: readiness,
        which reports this, is read by anybody."""
        return self._fault if self._failures > 2 else None

    def wake(self) -> None:
        self._woken.set()

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"ticker:{self.name}")

    async def stop(self) -> None:
        """Waits for a tick in progress: it may hold a transaction."""
        if self._task is None:
            return
        task, self._task = self._task, None
        self.wake()
        try:
            async with asyncio.timeout(10):
                await task
        except TimeoutError:
            log.warning("ticker.stopped_hard", ticker=self.name)

    async def _run(self) -> None:
        while self._task is not None:
            self._woken.clear()
            forget()
            try:
                again = await self._tick()
                self._failures = 0
                self._ended.set_to_current_time()
            except Exception as error:
                self._failures += 1
                self._failed.inc()
                self._fault = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
                again = min(5.0, 0.1 * 2 ** min(self._failures, 6))
                log.warning("ticker.failed", ticker=self.name, exc_info=True)
            if again is True:
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(rest(again, self._every, _jitter.random())):
                    await self._woken.wait()


def rest(again: float | None, every: float, chance: float) -> float:
    """Seconds to the next tick; `chance`, from 0 to 1, keeps replicas from asking the database in step.

    Never later than a number that the tick asked for: a slot at the provider would have passed.
    """
    if again is None or again is False:
        return every * (0.9 + 0.2 * chance)
    return min(again, every) * (0.9 + 0.1 * chance)
