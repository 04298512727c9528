"""Group commit: what arrives within a moment becomes one row and one message, and each sender is answered after it."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import structlog
from nurture_chassis.trace import forget
from prometheus_client import Counter, Gauge

log = structlog.get_logger()
T = TypeVar("T")
LOST = Counter("nurture_inbound_lost", "Tracking hits dropped because the database stayed away too long", ["kind"])
RECEIVED = Counter("nurture_inbound_received", "Webhooks, tracking hits and bot updates that were stored", ["kind"])
LAST = Gauge(
    "nurture_inbound_last_timestamp_seconds", "When the last arrival of a kind was stored, in Unix time", ["kind"]
)
WAITING = Gauge("nurture_inbound_waiting", "Arrivals that are not stored yet", ["kind"])

WINDOW = 0.01
"""Seconds that the first arrival waits for company."""
PAGE = 200
BACKLOG = 50_000
RETRY = 1.0


class Closed(Exception):
    """The gateway is stopping and stores nothing more."""


class Gate(Generic[T]):
    """Collects items and stores them by pages, one page at a time: while one commits, the next one fills."""

    def __init__(self, kind: str, store: Callable[[list[T]], Awaitable[None]]) -> None:
        self.kind = kind
        self._store = store
        self._items: deque[tuple[T, asyncio.Future[None] | None, float]] = deque()
        self._arrived = asyncio.Event()
        self._full = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        # An increase is seen only of what has begun at nought.
        RECEIVED.labels(kind)
        LOST.labels(kind)
        WAITING.labels(kind).set_function(lambda: len(self._items))

    async def put(self, item: T) -> None:
        """Returns when the item is committed. Raises what the store raised when it is not."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._add(item, future)
        await future

    def drop_in(self, item: T) -> None:
        """Takes the item and does not say when it is stored; it is tried again until it is."""
        if len(self._items) >= BACKLOG:
            LOST.labels(self.kind).inc()
            return
        self._add(item, None)

    def _add(self, item: T, future: asyncio.Future[None] | None) -> None:
        if self._closing:
            raise Closed
        self._items.append((item, future, asyncio.get_running_loop().time()))
        self._arrived.set()
        if len(self._items) >= PAGE:
            self._full.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"gate:{self.kind}")

    async def _run(self) -> None:
        # Begun by the first request that came; those that follow are not part of it.
        structlog.contextvars.unbind_contextvars("request_id")
        while True:
            forget()
            await self._arrived.wait()
            if len(self._items) < PAGE and not self._closing:
                with contextlib.suppress(TimeoutError):
                    # Counted from the arrival: who came while a page was being stored has waited already.
                    async with asyncio.timeout_at(self._items[0][2] + WINDOW):
                        await self._full.wait()
            page = [self._items.popleft() for _ in range(min(PAGE, len(self._items)))]
            if not self._items:
                self._arrived.clear()
            if len(self._items) < PAGE:
                self._full.clear()
            if page:
                await self._commit(page)
            if self._closing and not self._items:
                return

    async def _commit(self, page: list[tuple[T, asyncio.Future[None] | None, float]]) -> None:
        try:
            await self._store([item for item, _, _ in page])
        except Exception as error:
            log.warning("inbound.not_stored", kind=self.kind, items=len(page), error=type(error).__name__)
            again = [entry for entry in page if entry[1] is None]
            for _, future, _ in page:
                if future is not None and not future.done():
                    future.set_exception(error)
            if again and self._closing:
                LOST.labels(self.kind).inc(len(again))
            elif again:
                self._items.extendleft(reversed(again))
                self._arrived.set()
                await asyncio.sleep(RETRY)
        else:
            RECEIVED.labels(self.kind).inc(len(page))
            LAST.labels(self.kind).set_to_current_time()
            for _, future, _ in page:
                if future is not None and not future.done():
                    future.set_result(None)

    async def close(self) -> None:
        """Stores what is left and takes nothing more."""
        self._closing = True
        if self._task is not None:
            self._arrived.set()
            self._full.set()
            await asyncio.wait({self._task}, timeout=5)
            self._task.cancel()
