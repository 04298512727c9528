"""Gauges of what no counter knows: what waits in the database, how late the event loop is, how full the pool.

A process asks the database for itself, one statement each few seconds whatever the number of people, and a scrape asks nobody.
Every replica tells the same of what all share, so that none is missed when one dies: read such a gauge with `max`.
"""

import asyncio
import platform
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from importlib.metadata import version
from typing import Protocol

from prometheus_client import Gauge, Histogram

from nurture_chassis.database import UNREACHABLE, Database

BUILD = Gauge("nurture_build_info", "Always 1; the labels say what runs", ["service", "version", "python"])
READY = Gauge("nurture_ready", "1 while the process is ready, as its health page tells")
HELD = Gauge(
    "nurture_held_back", "1 while the process is well and sends nothing, for a reason that its health page tells"
)
BUS = Gauge("nurture_bus_connected", "1 while there is a connection to NATS")
POOL = Gauge("nurture_database_connections", "Connections to the database, by what they do", ["state"])
POOL_LIMIT = Gauge("nurture_database_connections_limit", "How many connections the pool may open")
OUTBOX_WAITING = Gauge(
    "nurture_outbox_waiting_messages", "Committed messages that are not marked as published yet, up to 10,000"
)
OUTBOX_AGE = Gauge(
    "nurture_outbox_oldest_seconds",
    "How long the oldest committed message has been waiting for its mark; 0 when none is",
)
DEAD_LETTERS = Gauge(
    "nurture_dead_letters", "Messages of this service that were set aside and not replayed, up to 10,000"
)
LOOP_LAG = Histogram(
    "nurture_event_loop_lag_seconds",
    "How much later than asked the event loop woke somebody, looked at once a second",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
SECONDS = 5.0
LONGEST = 60.0
SHARE = 100
"""Asking may take a hundredth of the time: whoever needs 0.2 s asks each 20 s."""


class Told(Protocol):
    """The parts of a service that its gauges tell of."""

    room: str
    database: Database
    held: list[Callable[[], list[str]]]

    def troubles(self) -> list[str]: ...


class Measures:
    """A tick. Rooms append to `asks` what they measure beside."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.asks: list[Callable[[], Awaitable[None]]] = [self._ask]

    async def tick(self) -> float:
        """Ask everything once. Returns the seconds to rest. A database that is away is told of by others."""
        began = time.monotonic()
        try:
            for ask in self.asks:
                await ask()
        except UNREACHABLE:
            return SECONDS
        return min(LONGEST, max(SECONDS, SHARE * (time.monotonic() - began)))

    async def _ask(self) -> None:
        row = await self._database.fetchrow("waiting_here")
        assert row is not None
        OUTBOX_WAITING.set(row["waiting"])
        OUTBOX_AGE.set(age(row["oldest"], row["now"]))
        DEAD_LETTERS.set(row["dead_letters"])


def age(since: datetime | None, now: datetime) -> float:
    """Seconds from then until now; 0 for nothing."""
    return max(0.0, (now - since).total_seconds()) if since is not None else 0.0


def tell(service: Told, connected: Callable[[], bool]) -> None:
    """Connect the gauges that are read at the scrape, from memory."""
    BUILD.labels(service.room, version(f"nurture-{service.room}"), platform.python_version()).set(1)
    READY.set_function(lambda: not service.troubles())
    HELD.set_function(lambda: any(ask() for ask in service.held))
    BUS.set_function(connected)
    POOL.labels("idle").set_function(lambda: service.database.connections[0])
    POOL.labels("busy").set_function(lambda: service.database.connections[1])
    POOL_LIMIT.set_function(lambda: service.database.connections[2])


async def watch_loop(every: float = 1.0) -> None:
    """Observe how late the loop is, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + every
        await asyncio.sleep(every)
        LOOP_LAG.observe(max(0.0, loop.time() - due))
