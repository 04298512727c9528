"""A message is a row in the transaction that causes it; the writer publishes after commit, the relay sweeps what is left."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

import msgspec
import structlog
from nats.errors import MaxPayloadError
from nurture_contracts.base import SCHEMA_VERSION, Message
from nurture_contracts.ids import uuid7
from prometheus_client import Counter

from nurture_chassis import trace as traces
from nurture_chassis.bus import Bus
from nurture_chassis.codec import letter_id
from nurture_chassis.database import UNREACHABLE, Database, Transaction

log = structlog.get_logger()
SWEPT = Counter("nurture_outbox_swept", "Messages that the relay published in their writer's place")
HURRY_SECONDS = 8.0
REFILLED = Counter("nurture_outbox_refilled", "Messages made unpublished again because the bus may have lost them")


class Letter(msgspec.Struct, frozen=True):
    """One outbox row."""

    id: UUID
    subject: str
    payload: bytes
    headers: dict[str, str]
    redrive: int = 0

    @property
    def message_id(self) -> str:
        """What the bus drops repeats by. A stream that was purged or damaged still drops the ids it knew, so a message
        that is said again for a loss bears that loss's number."""
        return f"{self.id}.{self.redrive}" if self.redrive else str(self.id)


class Saying(Transaction):
    """A transaction that can also speak: what is said is on the bus only if it commits."""

    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction.connection, transaction.queries)
        self.letters: list[Letter] = []
        self.counts: list[tuple[Counter, float]] = []
        self.spans: list[traces.Span] = []

    def count(self, counter: Counter, n: float = 1) -> None:
        """Add to a metric, but only if this transaction commits."""
        self.counts.append((counter, n))

    def say(self, message: Message, *, id: UUID | None = None, about: Iterable[str | None] = ()) -> UUID:
        """Queue a message; a caller that gives `id` makes it the same message when said again. It belongs to the current
        trace, or to those of `about`: what is kept of its members' traces."""
        id = id or uuid7()
        trace = traces.about(about)
        if not about and traces.known() is None:
            trace = traces.current()
        span = traces.start(
            f"send {message.subject}",
            "producer",
            trace,
            messaging__system="nats",
            messaging__operation__type="send",
            messaging__destination__name=message.subject,
            messaging__message__id=str(id),
        )
        self.spans.append(span)
        letter = Letter(
            id=id,
            subject=message.subject,
            payload=msgspec.json.encode(message),
            headers={**traces.headers_of(span.trace), "Nurture-Schema": str(SCHEMA_VERSION)},
        )
        self.letters.append(letter)
        return letter.id


class Outbox:
    """The outbox of one room.

    What the bus has lost is said again: the controller writes down from when on, each room makes its rows of that time
    unpublished, once, and the relay does the rest.
    """

    def __init__(self, database: Database, bus: Bus) -> None:
        self.database = database
        self._bus = bus
        self.last: UUID | None = None
        """The newest letter that this process has committed."""
        self._published: list[UUID] = []
        self._flight: set[asyncio.Task[None]] = set()
        self._answered: int | None = None
        self._sour: set[str] = set()
        self._trouble: str | None = None
        self._left_at = float("-inf")

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Saying]:
        """Commit what was done and said together, then publish what was said."""
        async with self.database.transaction() as plain:
            saying = Saying(plain)
            yield saying
            if saying.letters:
                await saying.execute("outbox_add", *_columns(saying.letters))
        for counter, n in saying.counts:
            counter.inc(n)
        for span in saying.spans:
            span.end()
        if saying.letters:
            self.last = saying.letters[-1].id
            self.publish(saying.letters)

    def publish(self, letters: list[Letter]) -> None:
        """Publish committed letters without making the caller wait; whatever fails is left to the relay."""
        if not letters:
            return
        if not self._bus.connected:
            self._left_at = time.monotonic()
            return
        task = asyncio.create_task(self._publish(letters))
        self._flight.add(task)
        task.add_done_callback(self._flight.discard)

    async def _publish(self, letters: list[Letter]) -> None:
        try:
            answered = self._answered if self._answered is not None else await self._look_for_losses()
        except UNREACHABLE:
            return
        results = await self._put(letters)
        failed = [result for result in results if result is not None]
        if failed:
            if not self._hurries:
                # Once: in an outage every writer would say the same.
                log.warning("outbox.left_to_relay", letters=len(failed), error=_named(failed[0]))
            self._left_at = time.monotonic()
        if answered == self._answered:
            self._published += [letter.id for letter, result in zip(letters, results, strict=True) if result is None]

    async def _put(self, letters: list[Letter]) -> list[BaseException | None]:
        """Publish all, side by side. For each: None, or why it did not get out."""
        return await asyncio.gather(
            *(self._bus.publish(one.subject, one.payload, one.message_id, one.headers) for one in letters),
            return_exceptions=True,
        )

    async def mark(self) -> bool:
        """Write down what was published. Late marks cost at most a repeat that the bus drops."""
        ids, self._published = self._published[:2000], self._published[2000:]
        answered = self._answered
        if ids:
            try:
                await self.database.execute("outbox_published", ids, answered)
            except BaseException:
                if answered == self._answered:
                    self._published = ids + self._published
                raise
        return bool(self._published)

    @property
    def _hurries(self) -> bool:
        """Whether writers have just left letters to the relay: somebody is waiting for them, or for what they bring about."""
        return time.monotonic() - self._left_at < HURRY_SECONDS

    async def relay(self) -> bool | float | None:
        """Answer what the bus has lost, then publish what waits. True when there may be more, else seconds until then."""
        if self._bus.connected:
            await self._look_for_losses()
            if await (self.sweep(older_than=1.0) if self._hurries else self.sweep()):
                return True
        return 1.0 if self._hurries else None

    async def sweep(self, older_than: float = 5.0, limit: int = 200) -> bool:
        """Publish what no writer got out, oldest first, `older_than` seconds; one round. True when there may be more.

        What got out is marked, whatever became of the rest; subjects that fail let the others pass until the next tick.
        """
        if self._answered is None:
            await self._look_for_losses()
        async with self.database.transaction() as tx:
            rows = await tx.fetch("outbox_sweep", older_than, limit, list(self._sour))
            letters = [Letter(r["id"], r["subject"], r["payload"], r["headers"], r["redrive"]) for r in rows]
            results = await self._put(letters)
            sent = [letter.id for letter, result in zip(letters, results, strict=True) if result is None]
            large = [one for one, result in zip(letters, results, strict=True) if isinstance(result, MaxPayloadError)]
            for letter in large:
                await self._bury(tx, letter)
            if sent or large:
                await tx.execute("outbox_published", [*sent, *(letter.id for letter in large)], self._answered)
        SWEPT.inc(len(sent))
        failed = {
            letter.subject: result
            for letter, result in zip(letters, results, strict=True)
            if result is not None and letter not in large
        }
        self._tell(failed, more=len(letters) == limit)
        return len(letters) == limit

    def _tell(self, failed: dict[str, BaseException], *, more: bool) -> None:
        """Remember what fails; say it once, and once that it is over."""
        if failed:
            trouble = _named(next(iter(failed.values())))
            if trouble != self._trouble:
                log.warning("outbox.publishing_fails", subjects=sorted(failed), error=trouble)
            self._trouble, self._sour, self._left_at = trouble, self._sour | set(failed), time.monotonic()
        elif not self._sour:
            if self._trouble:
                log.info("outbox.publishing_again")
            self._trouble = None
        if not more:
            self._sour = set()

    def problems(self) -> list[str]:
        """Why messages do not get out, in words; empty when they do."""
        return [f"publishing fails: {self._trouble}"] if self._trouble else []

    async def _look_for_losses(self) -> int:
        """Has the bus lost anything since we last asked? Then say it again: once, whoever of our replicas is first.

        Returns the last loss that is answered. Raises what the database raises.
        """
        rows = await self.database.fetch("outbox_losses")
        answered, losses = rows[0]["answered"], [row for row in rows if row["n"] is not None]
        if losses:
            since: dict[str, datetime | None] = {}
            number: dict[str, int] = {}
            for row in losses:
                subject, at = row["subject"], row["since"]
                known = since.get(subject, at)
                since[subject] = min(known, at) if known and at else None
                number[subject] = row["n"]
            if not await self._refill(answered, losses[-1]["n"], since, number):
                return await self._look_for_losses()
            answered = losses[-1]["n"]
        if answered != self._answered:
            # Marks of publishes that may have gone into the old stream.
            self._published = []
            self._answered = answered
        return answered

    async def _refill(
        self, answered: int, loss: int, since: dict[str, datetime | None], number: dict[str, int]
    ) -> bool:
        """False when another replica has done it."""
        async with self.database.transaction() as tx:
            if await tx.fetchval("outbox_answer", answered, loss) is None:
                return False
            await tx.execute("outbox_patience")
            letters = await tx.execute(
                "outbox_refill", list(since), list(number.values()), list(since.values()), timeout=600
            )
        REFILLED.inc(letters)
        log.warning("outbox.refilled", letters=letters, loss=loss)
        return True

    async def _bury(self, tx: Transaction, letter: Letter) -> None:
        """A message that no server takes would be tried for ever; kept as a dead letter, somebody can look at it."""
        reason = f"too large for the bus: {len(letter.payload)} bytes"
        await tx.execute(
            "dead_letter_keep",
            letter_id(str(letter.id), "outbox"),
            "outbox",
            letter.subject,
            letter.payload,
            letter.headers,
            reason,
        )
        log.error("outbox.dead_letter", subject=letter.subject, reason=reason)

    async def replay(self, ids: list[UUID]) -> int:
        """Say again what the bus would not take, each as a new message. Returns how many there were."""
        async with self.database.transaction() as tx:
            rows = await tx.fetch("dead_letters_say", ids)
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


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")


def _columns(letters: list[Letter]) -> tuple[list[UUID], list[str], list[bytes], list[dict[str, str]]]:
    return (
        [letter.id for letter in letters],
        [letter.subject for letter in letters],
        [letter.payload for letter in letters],
        [letter.headers for letter in letters],
    )
