"""Streams and consumers as the contracts' table has them: looking, making, mending. Only their owner calls this."""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import nats.js.errors
import structlog
from msgspec import Struct
from nurture_contracts.topology import CONSUMERS, STREAMS, Consumer, Stream

from nurture_chassis.bus import Bus
from nurture_chassis.wholeness import Holding, Standing

log = structlog.get_logger()
_NANO = 1_000_000_000
_PATIENCE = 5.0
Config = dict[str, Any]


class _State(Struct, frozen=True):
    messages: int
    first_seq: int
    first_ts: datetime
    last_seq: int
    last_ts: datetime
    num_deleted: int = 0


class _StreamInfo(Struct, frozen=True):
    config: Config
    created: datetime
    state: _State
    ts: datetime | None = None


class _Place(Struct, frozen=True):
    stream_seq: int = 0


class _ConsumerInfo(Struct, frozen=True):
    name: str
    created: datetime
    config: Config
    delivered: _Place
    ack_floor: _Place
    num_pending: int = 0
    num_ack_pending: int = 0


class FoundStream(Struct, frozen=True):
    """A stream as the server tells it, at `now` of the server's clock."""

    holding: Holding
    now: datetime
    config: Config


class FoundConsumer(Struct, frozen=True):
    """A consumer as the server tells it."""

    standing: Standing
    config: Config


async def _ask(bus: Bus, subject: str, body: Config | None = None) -> Config:
    js = bus.jetstream
    return await js._api_request(f"{js._prefix}.{subject}", json.dumps(body or {}).encode(), timeout=_PATIENCE)


def _none_if_zero(at: datetime) -> datetime | None:
    return at if at.year > 1 else None


async def find_stream(bus: Bus, name: str) -> FoundStream | None:
    """None when the server says that there is none; every other trouble raises."""
    try:
        info = msgspec.convert(await _ask(bus, f"STREAM.INFO.{name}"), _StreamInfo)
    except nats.js.errors.NotFoundError:
        return None
    state = info.state
    holding = Holding(
        created=info.created,
        first_seq=state.first_seq,
        first_at=_none_if_zero(state.first_ts) if state.messages else None,
        last_seq=state.last_seq,
        last_at=_none_if_zero(state.last_ts),
        vanished=state.num_deleted,
    )
    return FoundStream(holding, info.ts or datetime.now(UTC), info.config)


async def find_consumers(bus: Bus, stream: str) -> dict[str, FoundConsumer]:
    """By durable, those of the contracts. One that a list leaves out, as a cluster may, is asked for by name."""
    found: dict[str, FoundConsumer] = {}
    try:
        seen = 0
        while True:
            answer = await _ask(bus, f"CONSUMER.LIST.{stream}", {"offset": seen})
            page = answer.get("consumers") or []
            for row in page:
                one = _found(row)
                found[one.standing.durable] = one
            seen += len(page)
            if not page or seen >= answer.get("total", 0):
                break
    except nats.js.errors.NotFoundError:
        return {}
    for consumer in of(stream):
        if consumer.durable not in found and (one := await _find_consumer(bus, consumer)):
            found[consumer.durable] = one
    return {consumer.durable: found[consumer.durable] for consumer in of(stream) if consumer.durable in found}


async def _find_consumer(bus: Bus, consumer: Consumer) -> FoundConsumer | None:
    try:
        return _found(await _ask(bus, f"CONSUMER.INFO.{consumer.stream}.{consumer.durable}"))
    except nats.js.errors.NotFoundError:
        return None


def _found(row: Config) -> FoundConsumer:
    info = msgspec.convert(row, _ConsumerInfo)
    standing = Standing(
        durable=info.name,
        created=info.created,
        delivered=info.delivered.stream_seq,
        floor=info.ack_floor.stream_seq,
        pending=info.num_pending,
        ack_pending=info.num_ack_pending,
    )
    return FoundConsumer(standing, info.config)


async def message_time(bus: Bus, stream: str, seq: int) -> datetime | None:
    """When the message with this sequence number was stored; None when there is none."""
    try:
        answer = await _ask(bus, f"STREAM.MSG.GET.{stream}", {"seq": seq})
    except nats.js.errors.NotFoundError:
        return None
    return msgspec.convert(answer["message"]["time"], datetime)


def of(stream: str) -> list[Consumer]:
    """The consumers of a stream."""
    return [consumer for consumer in CONSUMERS if consumer.stream == stream]


def _stream_config(stream: Stream, replicas: int) -> Config:
    return {
        "name": stream.name,
        "subjects": list(stream.subjects),
        "retention": "limits",
        "storage": "file",
        "discard": "old",
        "max_age": int(stream.max_age * _NANO),
        "duplicate_window": int(stream.duplicate_window * _NANO),
        "num_replicas": replicas,
    }


def _consumer_config(consumer: Consumer) -> Config:
    return {
        "durable_name": consumer.durable,
        "filter_subject": consumer.message.subject,
        "ack_policy": "explicit",
        "ack_wait": int(consumer.ack_wait * _NANO),
        "max_ack_pending": consumer.max_ack_pending,
        "max_deliver": -1,
    }


async def make_stream(bus: Bus, stream: Stream, replicas: int) -> None:
    await _ask(bus, f"STREAM.CREATE.{stream.name}", _stream_config(stream, replicas))
    log.info("topology.stream_made", stream=stream.name, replicas=replicas)


async def mend_stream(bus: Bus, stream: Stream, replicas: int, found: Config) -> None:
    """Put back what differs, and keep what an operator has set beside (limits, compression, placement)."""
    differs = _differences(found, _stream_config(stream, replicas))
    if differs:
        await _ask(bus, f"STREAM.UPDATE.{stream.name}", {**found, **differs})
        log.warning("topology.stream_mended", stream=stream.name, changed=sorted(differs))


async def make_consumer(
    bus: Bus, consumer: Consumer, *, after: int | None = None, since: datetime | None = None
) -> None:
    """Make a durable that starts after a sequence number, since a time (NATS' clock), or at the stream's beginning."""
    start: Config = {"deliver_policy": "all"}
    if after is not None:
        start = {"deliver_policy": "by_start_sequence", "opt_start_seq": after + 1}
    elif since is not None:
        start = {"deliver_policy": "by_start_time", "opt_start_time": since.isoformat()}
    await _put_consumer(bus, consumer, {**_consumer_config(consumer), **start})
    log.info("topology.consumer_made", durable=consumer.durable, after=after, since=since and since.isoformat())


async def mend_consumer(bus: Bus, consumer: Consumer, found: FoundConsumer) -> bool:
    """Put back what differs; False when the server cannot change it in place, so that it has to be made anew."""
    differs = _differences(found.config, _consumer_config(consumer))
    if not differs:
        return True
    if "ack_policy" in differs:
        return False
    await _put_consumer(bus, consumer, {**found.config, **differs})
    log.warning("topology.consumer_mended", durable=consumer.durable, changed=sorted(differs))
    return True


async def _put_consumer(bus: Bus, consumer: Consumer, config: Config) -> None:
    subject = f"CONSUMER.DURABLE.CREATE.{consumer.stream}.{consumer.durable}"
    await _ask(bus, subject, {"stream_name": consumer.stream, "config": config})


async def drop_consumer(bus: Bus, consumer: Consumer) -> None:
    try:
        await _ask(bus, f"CONSUMER.DELETE.{consumer.stream}.{consumer.durable}")
    except nats.js.errors.NotFoundError:
        return


def _differences(found: Config, wanted: Config) -> Config:
    return {name: value for name, value in wanted.items() if found.get(name) != value}


async def ensure(bus: Bus, replicas: int = 1) -> None:
    """Make whatever is missing, from the beginning: a bus for whoever runs services without the topology's owner."""
    for stream in STREAMS:
        if await find_stream(bus, stream.name) is None:
            await make_stream(bus, stream, replicas)
        found = await find_consumers(bus, stream.name)
        for consumer in of(stream.name):
            if consumer.durable not in found:
                await make_consumer(bus, consumer)
