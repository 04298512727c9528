"""How the bus stands: its streams and consumers as the server tells them, and how they differ from the contracts."""

import asyncio
from collections.abc import Iterable
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from nurture_contracts.topology import CONSUMERS, STREAMS, Consumer, Stream

from nurture_local.addresses import bus_servers

_PATIENCE = 5.0
_NANO = 1_000_000_000


class BusSilent(Exception):
    """The bus does not answer, or not as a JetStream server does."""


class StreamConfig(Struct, frozen=True):
    """Ages in nanoseconds, as the protocol has them."""

    name: str
    subjects: list[str] = []
    retention: str = "limits"
    max_age: int = 0
    duplicate_window: int = 0


class Held(Struct, frozen=True):
    """What a stream holds."""

    messages: int = 0
    bytes: int = 0
    first_seq: int = 0
    last_seq: int = 0
    consumer_count: int = 0


class ConsumerConfig(Struct, frozen=True):
    """`ack_wait` in nanoseconds."""

    filter_subject: str = ""
    ack_policy: str = "none"
    ack_wait: int = 0
    max_ack_pending: int = 0
    max_deliver: int = -1


class Position(Struct, frozen=True):
    """The last message of its stream that a consumer was given."""

    stream_seq: int = 0


class ConsumerState(Struct, frozen=True, rename={"durable": "name", "stream": "stream_name"}):
    """One durable: messages not delivered yet, delivered but not acked, and of these delivered more than once."""

    stream: str
    durable: str
    config: ConsumerConfig
    num_pending: int = 0
    num_ack_pending: int = 0
    num_redelivered: int = 0
    delivered: Position = Position()

    @property
    def backlog(self) -> int:
        """Messages that its service has not finished."""
        return self.num_pending + self.num_ack_pending


class StreamState(Struct, frozen=True):
    """A stream as the server tells it."""

    config: StreamConfig
    state: Held
    created: datetime | None = None


class BusState(Struct, frozen=True):
    """All streams of the server and all their consumers."""

    streams: list[StreamState]
    consumers: list[ConsumerState]


class _Streams(Struct, frozen=True):
    total: int = 0
    streams: list[StreamState] | None = None
    error: dict[str, Any] | None = None


class _Consumers(Struct, frozen=True):
    total: int = 0
    consumers: list[ConsumerState] | None = None
    error: dict[str, Any] | None = None


async def look(url: str) -> BusState:
    """Ask a server for everything it holds, by `$JS.API`. Raises BusSilent."""
    import nats
    from nats.errors import Error, NoRespondersError

    try:
        async with asyncio.timeout(_PATIENCE):
            connection = await nats.connect(bus_servers(url), allow_reconnect=False, connect_timeout=3, error_cb=_quiet)
            try:
                streams = await _all(connection, "$JS.API.STREAM.LIST", _Streams)
                consumers: list[ConsumerState] = []
                for stream in streams:
                    consumers += await _all(connection, f"$JS.API.CONSUMER.LIST.{stream.config.name}", _Consumers)
            finally:
                await connection.close()
    except NoRespondersError:
        raise BusSilent("the NATS server runs without JetStream") from None
    except (OSError, Error, TimeoutError):
        raise BusSilent("the bus does not answer") from None
    except msgspec.MsgspecError as error:
        raise BusSilent(f"the bus answers in a form that is not known here: {error}") from None
    return BusState(streams, sorted(consumers, key=lambda one: (one.stream, one.durable)))


A = TypeVar("A", _Streams, _Consumers)


async def _all(connection: Any, subject: str, kind: type[A]) -> list[Any]:
    """Every row of a paged answer."""
    rows: list[Any] = []
    while True:
        asked = msgspec.json.encode({"offset": len(rows)})
        answer = msgspec.json.decode((await connection.request(subject, asked, timeout=3)).data, type=kind)
        if answer.error:
            raise BusSilent(f"the bus refuses {subject}: {answer.error.get('description', 'no reason was given')}")
        page: list[Any] = (answer.streams if isinstance(answer, _Streams) else answer.consumers) or []
        rows += page
        if not page or len(rows) >= answer.total:
            return rows


async def _quiet(_: Exception) -> None:
    """nats-py would log what the caller reports itself."""


def stream_faults(state: BusState, wanted: Iterable[Stream] = STREAMS) -> list[str]:
    """Streams that are missing or differ from the contracts, in words."""
    found = {one.config.name: one.config for one in state.streams}
    faults: list[str] = []
    for stream in wanted:
        config = found.get(stream.name)
        if config is None:
            faults.append(f"{stream.name} is missing")
            continue
        faults += _differences(
            stream.name,
            ("subjects", config.subjects, list(stream.subjects)),
            ("retention", config.retention, "limits"),
            ("max_age", f"{config.max_age / _NANO:g} s", f"{stream.max_age:g} s"),
            ("duplicate_window", f"{config.duplicate_window / _NANO:g} s", f"{stream.duplicate_window:g} s"),
        )
    return faults


def consumer_faults(state: BusState, wanted: Iterable[Consumer] = CONSUMERS) -> list[str]:
    """Consumers that are missing or differ from the contracts, in words."""
    found = {(one.stream, one.durable): one.config for one in state.consumers}
    faults: list[str] = []
    for consumer in wanted:
        config = found.get((consumer.stream, consumer.durable))
        if config is None:
            faults.append(f"{consumer.durable} is missing")
            continue
        faults += _differences(
            consumer.durable,
            ("filter_subject", config.filter_subject, consumer.message.subject),
            ("ack_policy", config.ack_policy, "explicit"),
            ("ack_wait", f"{config.ack_wait / _NANO:g} s", f"{consumer.ack_wait:g} s"),
            ("max_ack_pending", config.max_ack_pending, consumer.max_ack_pending),
            ("max_deliver", config.max_deliver, -1),
        )
    return faults


def _differences(name: str, *compared: tuple[str, Any, Any]) -> list[str]:
    return [f"{name}: {what} is {found}, not {wanted}" for what, found, wanted in compared if found != wanted]
