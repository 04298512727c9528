"""One pace per provider account, shared by all replicas through one row. The order is always slot, claim, call."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from nurture_chassis.database import Database

SLOT_LIFE = 0.1
"""Seconds after which a slot has passed: calls that gather behind a stall must not leave together."""
KEPT_BACK = 0.9
"""Share of the limit that is used: what leaves up to SLOT_LIFE late still fits into every second."""


class Slot(NamedTuple):
    """When to call, and until when that still is this slot, by `time.monotonic`."""

    at: float
    until: float

    @property
    def passed(self) -> bool:
        return time.monotonic() > self.until


class Pace:
    """Slots for provider calls. `per_second` is the limit until the provider's own headers say otherwise."""

    def __init__(self, database: Database, account: str, per_second: float) -> None:
        self._database = database
        self._account = account
        self._interval = 1 / per_second
        self._agreed = False
        self._usual = 0.0

    async def slots(self, count: int = 1, *, after: float = 0.0) -> list[Slot]:
        """Take the next `count` slots, the first not before `after` real seconds from now."""
        slots = await self._reserve(count, lambda: ("pace_reserve", count, 1 / KEPT_BACK, after))
        assert slots is not None
        return slots

    async def _reserve(self, count: int, asks: Callable[[], tuple[Any, ...]]) -> list[Slot] | None:
        if not self._agreed:
            # The row outlives us and may hold another limit: ours counts until the provider states one.
            await self._database.execute("pace_follow", self._account, self._interval)
            self._agreed = True
        while True:
            asked = time.monotonic()
            name, *args = asks()
            row = await self._database.fetchrow(name, self._account, self._interval, *args)
            answered = time.monotonic()
            if row is None:
                return None
            wait, step = row
            # The answer took that much longer than usual, which may all have been its way back: the slots are older by it.
            late = max(0.0, answered - asked - self._usual)
            if late <= SLOT_LIFE:
                self._usual = min(self._usual or SLOT_LIFE, answered - asked)
                return [
                    Slot(answered + wait + n * step, answered + wait + n * step + SLOT_LIFE - late)
                    for n in range(count)
                ]
            # A process that stood still, or a database that has become slow: after a few losses that is what is usual.
            self._usual = min(answered - asked, 2 * self._usual + 0.01)

    async def slot(self, *, after: float = 0.0) -> Slot:
        """Take the next slot."""
        (slot,) = await self.slots(after=after)
        return slot

    async def slot_before(self, deadline: float) -> Slot | None:
        """Take the next slot if it comes before `deadline` (monotonic). None: it comes later, and was not taken."""
        slots = await self._reserve(
            1, lambda: ("pace_reserve_within", 1 / KEPT_BACK, max(0.0, deadline - time.monotonic()))
        )
        return slots[0] if slots else None

    async def wait(self, slot: Slot, deadline: float) -> bool:
        """Wait for the slot, or for another where it has passed already. False: none comes before `deadline` (monotonic).

        After True the call has to begin at once, without another await.
        """
        while slot.at <= deadline:
            await asyncio.sleep(max(0.0, slot.at - time.monotonic()))
            if not slot.passed:
                return time.monotonic() <= deadline
            other = await self.slot_before(deadline)
            if other is None:
                return False
            slot = other
        return False

    async def follow(self, per_second: float) -> None:
        """Adopt the limit that the provider states in its headers; a repeated statement costs nothing."""
        interval = 1 / per_second
        if abs(interval - self._interval) > 1e-6:
            self._interval = interval
            await self._database.execute("pace_follow", self._account, interval)

    async def hold(self, seconds: float) -> None:
        """Nobody calls for that long: the provider said `retry-after`."""
        await self._database.execute("pace_hold", self._account, seconds)

    async def park(self, reason: str, seconds: float) -> None:
        """Stop the channel: the provider refuses the account, and trying again soon would not help."""
        await self._database.execute("pace_park", self._account, seconds, reason, self._interval)

    async def unpark(self) -> None:
        await self._database.execute("pace_unpark", self._account)


class Paid:
    """Slots that were taken before it was known what for: what was paid for is used, unless it has passed meanwhile."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._slots: list[Slot] = []

    def __len__(self) -> int:
        return len(self._slots)

    async def wait(self, wanted: int) -> float:
        """Have at least `wanted` of them; seconds until the first one."""
        self._slots = [slot for slot in self._slots if not slot.passed]
        if (lacking := wanted - len(self._slots)) > 0:
            self._slots += await self._pace.slots(lacking)
        return max(0.0, self._slots[0].at - time.monotonic())

    def take(self, count: int) -> list[Slot]:
        """The next ones, at most `count`."""
        taken, self._slots = self._slots[:count], self._slots[count:]
        return taken

    def put_back(self, slots: Sequence[Slot]) -> None:
        """Those that were taken and not needed."""
        self._slots = [*slots, *self._slots]

    def let_go(self) -> None:
        """Of all: calls of now would not be taken."""
        self._slots.clear()
