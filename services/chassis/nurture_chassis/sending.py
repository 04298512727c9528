"""What the senders of all channels share: how long a claim lasts, when its call may still begin, and writing down its end."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar
from uuid import UUID

from prometheus_client import Counter, Gauge, Histogram

from nurture_chassis.database import UNREACHABLE, Database
from nurture_chassis.measuring import age

T = TypeVar("T")

LEASE_SECONDS = 60.0
LEASE_MARGIN = 10.0
CALL_WITHIN = 8.0
"""Seconds after its claim in which a call begins. Consent is asked for by the claim, so nobody who refused longer ago than
that, and the time of a call, is written to."""
SHORT_WAIT = 1.0
"""Seconds that a sender waits for a slot before it looks again at what there is to do."""
_AGAIN = (0.1, 0.5, 2.0, 5.0)


CALLS = Counter("nurture_provider_calls", "Calls to the provider, by what became of them", ["channel", "verdict"])
CALL_SECONDS = Histogram(
    "nurture_provider_call_seconds",
    "How long the provider took to answer",
    ["channel"],
    buckets=(0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20),
)
SETTLED = Counter("nurture_attempts_settled", "Attempts settled, by outcome", ["channel", "outcome"])
UP = Gauge(
    "nurture_provider_up",
    "0 after a call that nobody answered, or that ended in a server's error; 1 after others",
    ["channel"],
)
PARKED = Gauge(
    "nurture_provider_parked", "1 while the channel stands still because the provider refuses the account", ["channel"]
)
WAITING = Gauge(
    "nurture_channel_waiting",
    "What a channel has not claimed yet, up to 10,000: pages of email, Telegram messages",
    ["channel"],
)
WAITING_AGE = Gauge(
    "nurture_channel_oldest_seconds",
    "How long the oldest unclaimed page or message has been due; 0 when there is none",
    ["channel"],
)
CLAIMS = Gauge(
    "nurture_channel_open_claims", "Claims that are being sent or wait to be tried again, up to 10,000", ["channel"]
)


class Meter:
    """The metrics of one channel."""

    def __init__(self, channel: str) -> None:
        self._channel = channel
        self.call_seconds = CALL_SECONDS.labels(channel)
        self.parked = PARKED.labels(channel)
        self._up = UP.labels(channel)
        self._up.set(1)

    def called(self, kind: str, then: str | None, *, answered: bool) -> None:
        """A call is over: its verdict, what follows beside that, and whether there was a reply. Whoever refuses is there."""
        CALLS.labels(self._channel, then or kind).inc()
        self._up.set(1 if answered and (then or kind != "ambiguous") else 0)

    def settled(self, outcome: str) -> None:
        SETTLED.labels(self._channel, outcome).inc()

    async def measure(self, database: Database, account: str) -> None:
        """Ask what waits; the room's statement `waiting_to_send` tells, the same at every replica."""
        row = await database.fetchrow("waiting_to_send", account)
        assert row is not None
        WAITING.labels(self._channel).set(row["waiting"])
        WAITING_AGE.labels(self._channel).set(age(row["oldest"], row["now"]))
        CLAIMS.labels(self._channel).set(row["claims"])
        self.parked.set(row["parked"])


def latest_start(taken_at: float, lease: float, call_seconds: float) -> float:
    """Until when a call may begin under a claim taken at `taken_at`; it has to end well before the lease does."""
    return taken_at + min(CALL_WITHIN, lease - call_seconds - LEASE_MARGIN)


class Unanswered:
    """Claims that were asked for and of which no answer came: they may have been made. `give_back` undoes those of the ids
    that there are."""

    def __init__(self, give_back: Callable[[list[UUID]], Awaitable[None]], lease: float) -> None:
        self._give_back = give_back
        self._lease = lease
        self._until: dict[UUID, float] = {}

    @contextmanager
    def asked(self, id: UUID, at: float) -> Iterator[None]:
        """Around the statement that claims; `at` is when its lease begins at the earliest, by `time.monotonic`."""
        self._until[id] = at + self._lease
        yield
        del self._until[id]

    async def give_back(self) -> None:
        """All of them. A statement may still be under way there, so each is given back until its lease would be over."""
        if self._until:
            await self._give_back(list(self._until))
            now = time.monotonic()
            self._until = {id: until for id, until in self._until.items() if until > now}


async def insist(write: Callable[[], Awaitable[T]]) -> T:
    """What `write` returns, tried again for about 8 s while the database is away. It must bear being done twice: the reply
    of a commit may be lost."""
    for wait in _AGAIN:
        try:
            return await write()
        except UNREACHABLE:
            await asyncio.sleep(wait)
    return await write()
