"""The one owner of the bus: keeps streams and consumers as the contracts say, sees what the bus has lost, has it said again."""

import asyncio
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec
import structlog
from msgspec import Struct
from nurture_chassis import topology
from nurture_chassis.bus import Bus
from nurture_chassis.database import Database
from nurture_chassis.lease import Lease
from nurture_chassis.topology import FoundConsumer, FoundStream
from nurture_chassis.wholeness import Holding, Sample, Standing, harm, must_look
from nurture_contracts.topology import STREAMS, Consumer, Stream
from prometheus_client import Counter, Gauge

log = structlog.get_logger()
LOSSES = Counter("nurture_bus_losses", "Streams found wiped, rewound or damaged", ["stream"])
PENDING = Gauge(
    "nurture_consumer_pending_messages", "Messages in its stream that a consumer has not been handed yet", ["durable"]
)
ACK_PENDING = Gauge(
    "nurture_consumer_ack_pending_messages", "Messages that a consumer was handed and has not ended", ["durable"]
)
STREAM = Gauge("nurture_stream_messages", "Messages that a stream holds", ["stream"])
KEEPER = Gauge(
    "nurture_topology_keeper",
    "1 at the one controller that looks after the bus; it alone tells of streams and consumers",
)
SECONDS = 5.0
MARGIN = timedelta(seconds=60)
"""Consumers start, and outboxes are published again, from so much earlier: two machines' clocks differ."""
_CONFIRM = 1.0
_STALE = timedelta(seconds=60)


class Place(Struct, frozen=True):
    """How far a consumer had come. All that was published before `consumed_at` (the database's clock) was heard, all
    messages up to `consumed_to` (NATS' clock). `created` tells a consumer from another of its name."""

    floor: int
    created: datetime | None = None
    consumed_at: datetime | None = None
    consumed_to: datetime | None = None
    seen_at: datetime | None = None


class Noted(Struct, frozen=True):
    """The last state in which the bus was found whole, by stream and by durable. `now` by the database's clock."""

    now: datetime
    streams: dict[str, Holding]
    consumers: dict[str, Place]


class Look(NamedTuple):
    """A stream, or None when there is none, and its consumers by durable."""

    found: FoundStream | None
    consumers: dict[str, FoundConsumer]


class Keeper:
    """Holds the lease on the topology; looks every 5 s, and at once when NATS is back."""

    def __init__(self, database: Database, bus: Bus, replicas: int) -> None:
        self._database = database
        self._bus = bus
        self._replicas = replicas
        self._samples: dict[str, Sample] = {}
        self.lease = Lease(database, "topology", SECONDS * 3)
        for stream in STREAMS:
            LOSSES.labels(stream.name)

    async def tick(self) -> None:
        """Look at every stream; trouble with one keeps no other from being looked after."""
        if not await self.lease.hold():
            self._samples.clear()
            _tell_nothing()
            return
        KEEPER.set(1)
        noted = msgspec.convert(dict(await self._database.fetchrow("topology_noted") or {}), Noted)
        troubles: list[Exception] = []
        for stream in STREAMS:
            try:
                await self._keep(stream, noted)
            except Exception as trouble:
                troubles.append(trouble)
        if troubles:
            raise troubles[0]

    async def _keep(self, stream: Stream, noted: Noted) -> None:
        look = await self._look(stream)
        reason = await self._harm(stream, noted, look)
        if reason:
            # A server that is starting, or a new leader, may tell of an earlier state for a moment.
            await asyncio.sleep(_CONFIRM if self._replicas == 1 else 4 * _CONFIRM)
            look = await self._look(stream)
            reason = await self._harm(stream, noted, look)
            if not await self.lease.hold():
                return
        if look.found is None:
            await topology.make_stream(self._bus, stream, self._replicas)
        else:
            await topology.mend_stream(self._bus, stream, self._replicas, look.found.config)
        made = look.found is None
        for consumer in topology.of(stream.name):
            seen, place = look.consumers.get(consumer.durable), noted.consumers.get(consumer.durable)
            if reason:
                await self._restart(consumer, seen, place if _goes_on(look.found, stream, noted) else None)
                made = True
            else:
                made |= await self._complete(consumer, seen, place, look.found)
        await self._note(stream, noted, await self._look(stream) if made else look, reason)

    async def _look(self, stream: Stream) -> Look:
        # Consumers first: what they have heard counts only in a stream that is found whole after they were asked.
        consumers = await topology.find_consumers(self._bus, stream.name)
        return Look(await topology.find_stream(self._bus, stream.name), consumers)

    async def _harm(self, stream: Stream, noted: Noted, look: Look) -> str | None:
        """Why messages may be lost, or None."""
        before = noted.streams.get(stream.name)
        if before is None:
            return None
        if look.found is None:
            return "it is gone"
        found, there = look.found, None
        if must_look(before, found.holding, stream.max_age, found.now):
            there = await topology.message_time(self._bus, stream.name, before.last_seq)
        standings = [one.standing for one in look.consumers.values()]
        return harm(before, found.holding, there, standings, stream.max_age, found.now)

    async def _restart(self, consumer: Consumer, seen: FoundConsumer | None, place: Place | None) -> None:
        """Begin before what was heard for certain: what came in since may bear sequence numbers that were used before."""
        if seen:
            await topology.drop_consumer(self._bus, consumer)
        since = place.consumed_to - MARGIN if place and place.consumed_to else None
        await topology.make_consumer(self._bus, consumer, since=since)

    async def _complete(
        self, consumer: Consumer, seen: FoundConsumer | None, place: Place | None, found: FoundStream | None
    ) -> bool:
        """In a stream that is whole, a consumer that vanished, or was made by somebody else, goes on where it was."""
        ours = seen and (place is None or place.created in (None, seen.standing.created))
        if seen and ours and await topology.mend_consumer(self._bus, consumer, seen):
            return False
        if seen:
            await topology.drop_consumer(self._bus, consumer)
        after = place.floor if place and found and place.floor <= found.holding.last_seq else None
        await topology.make_consumer(self._bus, consumer, after=after)
        self._samples.pop(consumer.durable, None)
        return True

    async def _note(self, stream: Stream, noted: Noted, look: Look, reason: str | None) -> None:
        if look.found is None:
            return
        holding = look.found.holding
        _tell(stream, holding, [one.standing for one in look.consumers.values()])
        if reason:
            for durable in look.consumers:
                self._samples.pop(durable, None)
        sample = Sample(noted.now, holding.last_seq, holding.last_at)
        places = {
            durable: self._place(one.standing, noted.consumers.get(durable), sample)
            for durable, one in look.consumers.items()
        }
        if not reason and not _moved(noted, stream.name, holding, places):
            return
        since = _since(stream, noted)
        async with self._database.transaction() as tx:
            if reason:
                await tx.execute("bus_losses_lock")
                await tx.execute("bus_lost", stream.name, reason, list(since), list(since.values()))
            await tx.execute("topology_note_stream", stream.name, *msgspec.structs.astuple(holding))
            await tx.execute(
                "topology_note_consumers",
                list(places),
                [stream.name] * len(places),
                [place.floor for place in places.values()],
                [place.created for place in places.values()],
                [place.consumed_at for place in places.values()],
                [place.consumed_to for place in places.values()],
            )
        if reason:
            LOSSES.labels(stream.name).inc()
            earliest = "ever" if None in since.values() else str(min(filter(None, since.values())))
            log.error("bus.lost", stream=stream.name, reason=reason, said_again_since=earliest)

    def _place(self, standing: Standing, before: Place | None, sample: Sample) -> Place:
        """Where a consumer is now. Once it has passed the end that a sample saw, it has heard all that was in it."""
        waiting = self._samples.setdefault(standing.durable, sample)
        consumed = (before.consumed_at, before.consumed_to) if before else (None, None)
        if waiting is not sample and standing.heard(waiting.last_seq):
            self._samples[standing.durable] = sample
            consumed = (waiting.at, waiting.last_at)
        return Place(standing.floor, standing.created, *consumed)


def _tell(stream: Stream, holding: Holding, standings: list[Standing]) -> None:
    STREAM.labels(stream.name).set(max(0, holding.last_seq - holding.first_seq + 1 - holding.vanished))
    for one in standings:
        PENDING.labels(one.durable).set(one.pending)
        ACK_PENDING.labels(one.durable).set(one.ack_pending)


def _tell_nothing() -> None:
    """Somebody else keeps the bus: what was known here is no longer told."""
    KEEPER.set(0)
    for gauge in (STREAM, PENDING, ACK_PENDING):
        gauge.clear()


def _goes_on(found: FoundStream | None, stream: Stream, noted: Noted) -> bool:
    """Whether what stands there is the noted stream, rewound, rather than a new one."""
    return found is not None and found.holding.created == noted.streams[stream.name].created


def _since(stream: Stream, noted: Noted) -> dict[str, datetime | None]:
    """By subject: from when on messages may be lost. None: nobody knows that any was heard."""
    since: dict[str, datetime | None] = {}
    for consumer in topology.of(stream.name):
        place, subject = noted.consumers.get(consumer.durable), consumer.message.subject
        at = place.consumed_at - MARGIN if place and place.consumed_at else None
        earlier = since.get(subject, at)
        since[subject] = min(at, earlier) if at and earlier else None
    return since


def _moved(noted: Noted, stream: str, holding: Holding, places: dict[str, Place]) -> bool:
    """Whether a note is worth writing: something moved, or the note is a minute old."""
    if noted.streams.get(stream) != holding:
        return True
    for durable, place in places.items():
        before = noted.consumers.get(durable)
        if before is None or before.seen_at is None or noted.now - before.seen_at > _STALE:
            return True
        if (before.floor, before.created, before.consumed_to) != (place.floor, place.created, place.consumed_to):
            return True
    return False
