"""Makes streams and consumers match the contracts' table. Only the controller calls this, under its lease."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import nats.js.errors
import structlog
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, DiscardPolicy, RetentionPolicy, StreamConfig
from nurture_contracts.topology import CONSUMERS, STREAMS, Consumer, Stream

from nurture_chassis.bus import Bus

log = structlog.get_logger()


class Floor(NamedTuple):
    """How far a durable had acked, and where its stream ended."""

    durable: str
    stream: str
    floor: int


def _stream_config(stream: Stream, replicas: int) -> StreamConfig:
    return StreamConfig(
        name=stream.name,
        subjects=list(stream.subjects),
        retention=RetentionPolicy.LIMITS,
        max_age=stream.max_age,
        duplicate_window=stream.duplicate_window,
        discard=DiscardPolicy.OLD,
        num_replicas=replicas,
    )


def _consumer_config(consumer: Consumer, start_after: int | None) -> ConsumerConfig:
    start: dict[str, Any] = {"deliver_policy": DeliverPolicy.ALL}
    if start_after is not None:
        start = {"deliver_policy": DeliverPolicy.BY_START_SEQUENCE, "opt_start_seq": start_after + 1}
    return ConsumerConfig(
        durable_name=consumer.durable,
        filter_subject=consumer.message.subject,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=consumer.ack_wait,
        max_ack_pending=consumer.max_ack_pending,
        max_deliver=-1,
        **start,
    )


async def ensure(bus: Bus, replicas: int, floors: Mapping[str, int]) -> list[Floor]:
    """Create what is missing, mend what differs, and return where every consumer stands.

    `floors` are the last healthy positions: a consumer that vanished starts again after its own, so that it neither
    misses nor replays the whole stream; one that is ahead of its stream (a rewound store) starts from the beginning.
    """
    js = bus.jetstream
    for stream in STREAMS:
        await _ensure_stream(js, stream, replicas)
    standing: list[Floor] = []
    for stream in STREAMS:
        last = (await js.stream_info(stream.name)).state.last_seq
        known = {info.name: info for info in await js.consumers_info(stream.name)}
        for consumer in CONSUMERS:
            if consumer.stream != stream.name:
                continue
            info = known.get(consumer.durable)
            if info is not None and info.delivered.stream_seq > last:
                log.error("topology.rewound", durable=consumer.durable, delivered=info.delivered.stream_seq, last=last)
                await js.delete_consumer(stream.name, consumer.durable)
                info = None
            if info is None:
                after = floors.get(consumer.durable)
                after = after if after is not None and after <= last else None
                info = await js.add_consumer(stream.name, config=_consumer_config(consumer, after))
                log.info("topology.consumer_made", durable=consumer.durable, after=after)
            elif _differs(info.config, consumer):
                wanted = _consumer_config(consumer, None)
                wanted.deliver_policy, wanted.opt_start_seq = info.config.deliver_policy, info.config.opt_start_seq
                await js.add_consumer(stream.name, config=wanted)
                log.warning("topology.consumer_mended", durable=consumer.durable)
            standing.append(Floor(consumer.durable, stream.name, info.ack_floor.stream_seq if info.ack_floor else 0))
    return standing


def _differs(config: ConsumerConfig, wanted: Consumer) -> bool:
    return (config.filter_subject, config.ack_wait, config.max_ack_pending, config.max_deliver) != (
        wanted.message.subject,
        wanted.ack_wait,
        wanted.max_ack_pending,
        -1,
    )


async def _ensure_stream(js: Any, stream: Stream, replicas: int) -> None:
    wanted = _stream_config(stream, replicas)
    try:
        found = (await js.stream_info(stream.name)).config
    except nats.js.errors.NotFoundError:
        await js.add_stream(wanted)
        log.info("topology.stream_made", stream=stream.name)
        return
    same = (found.subjects, found.max_age, found.duplicate_window, found.num_replicas) == (
        wanted.subjects,
        wanted.max_age,
        wanted.duplicate_window,
        replicas,
    )
    if not same:
        await js.update_stream(wanted)
        log.warning("topology.stream_mended", stream=stream.name)
