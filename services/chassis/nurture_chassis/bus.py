"""NATS JetStream through FastStream: durable pull subscribers, one page a message, acked after their transaction."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast
from uuid import UUID

import nats.errors
import structlog
from fast_depends.msgspec.serializer import MsgSpecSerializer
from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, PullSub
from nurture_contracts.base import Message
from nurture_contracts.topology import BY_DURABLE, Consumer
from prometheus_client import Counter

from nurture_chassis.codec import BadItem, PageCodec
from nurture_chassis.database import Database
from nurture_chassis.guard import PING, Pull, let_go, notice_silence
from nurture_chassis.settling import Desk, Refused, expect

__all__ = ["Bus", "Refused"]

log = structlog.get_logger()
SAID = Counter("nurture_messages_said", "Messages published, by subject", ["subject"])

M = TypeVar("M", bound=Message)
Handler = Callable[[M], Awaitable[None]]
PAGES_IN_FLIGHT = 4
PULL_SECONDS = 10.0
"""Life of a pull at the server: for so long it may send a message to a peer that is gone, which then waits to be due again."""
PUBLISH_SECONDS = 5.0


class NotConnected(ConnectionError):
    """There is no connection to NATS at the moment."""


class Bus:
    """One connection to NATS and the subscribers of one service. It declares nothing: the controller owns the topology.

    `nats_url` may name several servers of a cluster, separated by commas.
    """

    def __init__(self, nats_url: str, service: str, database: Database) -> None:
        self.service = service
        self.desk = Desk(database)
        self._streams: dict[str, JStream] = {}
        self._handlers: dict[str, tuple[PageCodec, Handler[Any]]] = {}
        self._pulls: list[Pull] = []
        self._closing = False
        self.durables: list[Consumer] = []
        self.on_reconnect: list[Callable[[], None]] = []
        self.lost = asyncio.Event()
        """Set when the connection has closed for good: the process should end and be started again."""
        # Answers come to an inbox of this service's own, so that a server can keep all others from reading them.
        self._inbox = f"_INBOX.{service}"
        servers = [server.strip() for server in nats_url.split(",") if server.strip()]
        self.broker = NatsBroker(
            servers,
            name=f"nurture-{service}",
            inbox_prefix=self._inbox,
            # What the AsyncAPI document shows, to everybody who can reach it.
            specification_url=[_without_user(server) for server in servers],
            serializer=MsgSpecSerializer(),
            ack_policy=AckPolicy.MANUAL,
            max_reconnect_attempts=-1,
            reconnect_time_wait=1,
            connect_timeout=3,
            drain_timeout=3,
            ping_interval=PING,
            max_outstanding_pings=2,
            disconnected_cb=self._disconnected,
            reconnected_cb=self._reconnected,
            closed_cb=self._closed,
            error_cb=self._complained,
            graceful_timeout=15,
            logger=None,
        )

    def _stream(self, name: str) -> JStream:
        return self._streams.setdefault(name, JStream(name, declare=False))

    def hear(self, durable: str, handler: Handler[Any]) -> None:
        """Handle the messages of a durable consumer of the topology: ack after return, nak with delay after an exception."""
        consumer = BY_DURABLE[durable]
        self.durables.append(consumer)
        expect(durable)

        codec = PageCodec(consumer.message)
        self._handlers[durable] = codec, handler

        # Nothing but the body: each further parameter would be resolved in a task group and a thread.
        async def page(body: Any) -> None:
            await handler(body)

        page.__annotations__["body"] = consumer.message
        page.__name__ = handler.__name__
        page.__doc__ = handler.__doc__
        self.broker.subscriber(
            consumer.message.subject,
            stream=self._stream(consumer.stream),
            durable=durable,
            pull_sub=PullSub(batch_size=PAGES_IN_FLIGHT, timeout=PULL_SECONDS),
            codec=cast(Any, codec),
            title=durable,
        )(page)

    async def take(self, durable: str, payload: bytes) -> tuple[int, list[BadItem]]:
        """Handle a message that did not come by the bus. Returns how many of its items were handled (a message that is no
        page: 1), and those that cannot be read. Raises Refused, msgspec.MsgspecError, and
        what the handler raises."""
        if durable not in self._handlers:
            raise Refused(f"this version has no {durable}")
        codec, handler = self._handlers[durable]
        message, bad = codec.read(payload)
        items = len(getattr(message, "items", (message,)))
        if items or not bad:
            await handler(message)
        return items, bad

    def overhear(self, message: type[M], handler: Handler[M]) -> None:
        """Hear a message on every replica, as it passes: no durability, no ack."""

        async def passing(body: Any) -> None:
            await handler(body)

        passing.__annotations__["body"] = message
        self.broker.subscriber(
            message.subject, codec=cast(Any, PageCodec(message)), title=f"{self.service}-overhears", no_reply=True
        )(passing)

    async def publish(self, subject: str, payload: bytes, id: UUID | str, headers: dict[str, str]) -> None:
        """Publish to JetStream and wait for its ack. Raises when it does not come within 5 s, and at once while there
        is no connection: a message that nats-py kept back for later would arrive long after its caller gave up."""
        if not self.connected:
            raise NotConnected
        stream = "COMMANDS" if subject.startswith("nurture.cmd.") else "EVENTS"
        # nats-py's own time-out begins once the message is written, which a dead peer's full socket never lets happen.
        async with asyncio.timeout(PUBLISH_SECONDS + 1):
            await self.broker.publish(
                payload, subject, stream=stream, headers={**headers, "Nats-Msg-Id": str(id)}, timeout=PUBLISH_SECONDS
            )
        SAID.labels(subject).inc()

    async def connect(self) -> None:
        """Wait for the server; it may be started after us."""
        self.broker.add_middleware(self.desk.middleware())
        connection = await self.broker.connect()
        let_go(connection)
        self._notice_silence()
        # Before FastStream makes its first pull. Its own way would also create a durable that is missing.
        self.jetstream.pull_subscribe = self._pull

    async def start(self) -> None:
        """Subscribe, once the topology's owner has made every consumer that we hear."""
        for consumer in self.durables:
            await self._await_consumer(consumer)
        await self.broker.start()

    async def _pull(self, subject: str, *, durable: str, stream: str, config: Any = None, **more: Any) -> Any:
        more["inbox_prefix"] = f"{self._inbox}.".encode()
        subscription = await self.jetstream.pull_subscribe_bind(durable=durable, stream=stream, **more)
        self._pulls.append(Pull(durable, subscription, self.lost))
        return subscription

    async def stop(self) -> None:
        self._closing = True
        await self.broker.stop()

    async def _await_consumer(self, consumer: Consumer) -> None:
        wait, said = 0.05, False
        while not await self.exists(consumer):
            if not said:
                log.info("bus.waiting_for_topology", durable=consumer.durable)
                said = True
            await asyncio.sleep(wait)
            wait = min(wait * 1.5, 1.0)

    async def exists(self, consumer: Consumer) -> bool:
        """Whether the server knows this durable."""
        try:
            await self.jetstream.consumer_info(consumer.stream, consumer.durable, timeout=2)
        except (nats.errors.Error, TimeoutError):
            return False
        return True

    @property
    def jetstream(self) -> Any:
        """nats-py's JetStream manager, for the topology's owner and for checks; services publish through their outbox."""
        return self.broker.config.broker_config.connection_state.stream

    @property
    def connected(self) -> bool:
        state = self.broker.config.broker_config.connection_state
        try:
            return state.connection.is_connected
        except Exception:  # there is none yet, or no longer
            return False

    def problems(self) -> list[str]:
        """Why this bus is not ready, in words; empty when it is."""
        if not self.connected:
            return ["NATS is not connected", *self.desk.problems()]
        silent = [problem for pull in self._pulls if (problem := pull.problem())]
        return [*silent, *self.desk.problems()]

    async def _disconnected(self) -> None:
        if not self._closing:
            log.warning("bus.disconnected")

    async def _reconnected(self) -> None:
        log.info("bus.reconnected")
        self._notice_silence()
        for pull in self._pulls:
            pull.wake()
        for wake in self.on_reconnect:
            wake()

    async def _closed(self) -> None:
        if not self._closing:
            log.error("bus.closed")
            self.lost.set()

    async def _complained(self, error: Exception) -> None:
        # Whoever said or asked what its user may not gets no answer, and would only know of a time-out.
        if "permissions violation" in str(error).lower():
            log.error("bus.not_permitted", error=str(error))

    def _notice_silence(self) -> None:
        connection: Any = self.broker.config.broker_config.connection_state.connection
        writer = getattr(connection._transport, "_io_writer", None)
        if writer is not None and (sock := writer.get_extra_info("socket")) is not None:
            notice_silence(sock.fileno())


def _without_user(server: str) -> str:
    head, slashes, rest = server.rpartition("://")
    return head + slashes + rest.rpartition("@")[2]
