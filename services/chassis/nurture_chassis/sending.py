"""What the senders of all channels share: how long a claim lasts, when its call may still begin, and writing down its end."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from prometheus_client import Counter, Gauge, Histogram

from nurture_chassis.database import UNREACHABLE

T = TypeVar("T")

LEASE_SECONDS = 60.0
LEASE_MARGIN = 10.0
CALL_WITHIN = 8.0
"""Seconds after its claim in which a call begins. Consent is asked for by the claim, so nobody who refused longer ago than
that, and the time of a call, is written to."""
SHORT_WAIT = 1.0
"""Seconds that a sender waits for a slot before it looks again at what there is to do."""
_AGAIN = (0.1, 0.5, 2.0, 5.0)


class Meter:
    """A channel's metrics: `nurture_<channel>_calls_total` and its sisters."""

    def __init__(self, channel: str) -> None:
        name = f"nurture_{channel}"
        self.calls = Counter(f"{name}_calls", "Calls to the provider, by what became of them", ["verdict"])
        self.call_seconds = Histogram(f"{name}_call_seconds", "How long the provider took to answer")
        self.settled = Counter(f"{name}_settled", "Attempts settled, by outcome", ["outcome"])
        self.parked = Gauge(f"{name}_parked", "1 while the provider refuses the account")


def latest_start(taken_at: float, lease: float, call_seconds: float) -> float:
    """Until when a call may begin under a claim taken at `taken_at`; it has to end well before the lease does."""
    return taken_at + min(CALL_WITHIN, lease - call_seconds - LEASE_MARGIN)


async def insist(write: Callable[[], Awaitable[T]]) -> T:
    """What `write` returns, tried again for about 8 s while the database is away. It must bear being done twice: the reply
    of a commit may be lost."""
    for wait in _AGAIN:
        try:
            return await write()
        except UNREACHABLE:
            await asyncio.sleep(wait)
    return await write()
