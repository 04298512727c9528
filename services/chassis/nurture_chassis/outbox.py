"""A message is a row in the transaction that causes it; the writer publishes after commit, the relay sweeps what is left."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import msgspec
import structlog
from nurture_contracts.base import SCHEMA_VERSION, Message
from nurture_contracts.ids import uuid7
from prometheus_client import Counter

from nurture_chassis.bus import Bus
from nurture_chassis.database import Database, Transaction
from nurture_chassis.trace import HEADER, traceparent

log = structlog.get_logger()
SWEPT = Counter("nurture_outbox_swept", "Messages that the relay published in their writer's place")


class Letter(msgspec.Struct, frozen=True):
    """One outbox row."""

    id: UUID
    subject: str
    payload: bytes
    headers: dict[str, str]


class Saying(Transaction):
    """A transaction that can also speak: what is said is on the bus only if it commits."""

    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction.connection, transaction.queries)
        self.letters: list[Letter] = []

    def say(self, message: Message, *, id: UUID | None = None) -> UUID:
        """Queue a message; a caller that gives `id` makes it the same message when said again."""
        letter = Letter(
            id=id or uuid7(),
            subject=message.subject,
            payload=msgspec.json.encode(message),
            headers={HEADER: traceparent(), "Nurture-Schema": str(SCHEMA_VERSION)},
        )
        self.letters.append(letter)
        return letter.id


class Outbox:
    """The outbox of one room."""

    def __init__(self, database: Database, bus: Bus) -> None:
        self.database = database
        self._bus = bus
        self._published: list[UUID] = []
        self._flight: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Saying]:
        """Commit what was done and said together, then publish what was said."""
        async with self.database.transaction() as plain:
            saying = Saying(plain)
            yield saying
            if saying.letters:
                await saying.execute("outbox_add", *_columns(saying.letters))
        if saying.letters:
            self.publish(saying.letters)

    def publish(self, letters: list[Letter]) -> None:
        """Publish committed letters without making the caller wait; whatever fails is left to the relay."""
        task = asyncio.create_task(self._publish(letters))
        self._flight.add(task)
        task.add_done_callback(self._flight.discard)

    async def _publish(self, letters: list[Letter]) -> None:
        results = await asyncio.gather(
            *(self._bus.publish(letter.subject, letter.payload, letter.id, letter.headers) for letter in letters),
            return_exceptions=True,
        )
        failed = [result for result in results if isinstance(result, BaseException)]
        if failed:
            log.warning("outbox.left_to_relay", letters=len(failed), error=type(failed[0]).__name__)
        self._published += [letter.id for letter, result in zip(letters, results, strict=True) if result is None]

    async def mark(self) -> bool:
        """Write down what was published. Late marks cost at most a repeat that the bus drops."""
        ids, self._published = self._published[:2000], self._published[2000:]
        if ids:
            try:
                await self.database.execute("outbox_published", ids)
            except BaseException:
                self._published = ids + self._published
                raise
        return bool(self._published)

    async def sweep(self, older_than: float = 5.0, limit: int = 200) -> bool:
        """Publish what no writer got out, oldest first, `older_than` seconds; one round. True when there may be more."""
        async with self.database.transaction() as tx:
            rows = await tx.fetch("outbox_sweep", older_than, limit)
            if not rows:
                return False
            await asyncio.gather(*(self._bus.publish(r["subject"], r["payload"], r["id"], r["headers"]) for r in rows))
            await tx.execute("outbox_published", [row["id"] for row in rows])
        SWEPT.inc(len(rows))
        return len(rows) == limit

    async def replay(self, ids: list[UUID]) -> int:
        """Put dead letters on the bus again, each as a new message. Returns how many there were."""
        async with self.database.transaction() as tx:
            rows = await tx.fetch("dead_letters_replay", ids)
            letters = [Letter(uuid7(), row["subject"], row["payload"], row["headers"]) for row in rows]
            if letters:
                await tx.execute("outbox_add", *_columns(letters))
        self.publish(letters)
        return len(letters)

    async def close(self) -> None:
        """Let publishes in flight end, then mark them."""
        if self._flight:
            await asyncio.wait(self._flight, timeout=5)
        while await self.mark():
            pass


def _columns(letters: list[Letter]) -> tuple[list[UUID], list[str], list[bytes], list[dict[str, str]]]:
    return (
        [letter.id for letter in letters],
        [letter.subject for letter in letters],
        [letter.payload for letter in letters],
        [letter.headers for letter in letters],
    )
