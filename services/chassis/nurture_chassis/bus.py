"""NATS JetStream through FastStream: durable pull subscribers, one page a message, acked after their transaction."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast
from uuid import UUID

import msgspec
import nats.errors
import structlog
from fast_depends.msgspec.serializer import MsgSpecSerializer
from faststream import AckPolicy, BaseMiddleware
from faststream.nats import JStream, NatsBroker, NatsMessage, PullSub
from nurture_contracts.base import Message
from nurture_contracts.topology import BY_DURABLE, Consumer
from prometheus_client import Counter

from nurture_chassis.codec import PageCodec, letter_id
from nurture_chassis.database import Database
from nurture_chassis.guard import guard
from nurture_chassis.trace import HEADER, follow

log = structlog.get_logger()
HEARD = Counter("nurture_messages_heard", "Messages handled, by consumer and how it ended", ["durable", "ended"])
SAID = Counter("nurture_messages_said", "Messages published, by subject", ["subject"])

M = TypeVar("M", bound=Message)
Handler = Callable[[M], Awaitable[None]]
PAGES_IN_FLIGHT = 4
PULL_SECONDS = 20.0
_ENDINGS = (msgspec.MsgspecError, UnicodeDecodeError)


class Refused(Exception):
    """A message that can be read but not obeyed; it becomes a dead letter with this text as its reason."""


class Bus:
    """One connection to NATS and the subscribers of one service. It declares nothing: the controller owns the topology."""

    def __init__(self, nats_url: str, service: str, database: Database) -> None:
        self.service = service
        self._database = database
        self._streams: dict[str, JStream] = {}
        self._failing: set[str] = set()
        self.durables: list[Consumer] = []
        self.lost = asyncio.Event()
        self.broker = NatsBroker(
            nats_url,
            name=f"nurture-{service}",
            serializer=MsgSpecSerializer(),
            ack_policy=AckPolicy.MANUAL,
            max_reconnect_attempts=-1,
            reconnect_time_wait=1,
            graceful_timeout=15,
            logger=None,
        )

    def _stream(self, name: str) -> JStream:
        return self._streams.setdefault(name, JStream(name, declare=False))

    def hear(self, durable: str, handler: Handler[Any]) -> None:
        """Handle the messages of a durable consumer of the topology: ack after return, nak with delay after an exception."""
        consumer = BY_DURABLE[durable]
        self.durables.append(consumer)

        async def page(body: Any, msg: NatsMessage) -> None:
            bad = getattr(msg.raw_message, "bad_items", ())
            for item in bad:
                await self._keep(msg, durable, item.payload, item.reason, item.index)
            await handler(body)

        page.__annotations__["body"] = consumer.message
        page.__name__ = handler.__name__
        page.__doc__ = handler.__doc__
        self.broker.subscriber(
            consumer.message.subject,
            stream=self._stream(consumer.stream),
            durable=durable,
            pull_sub=PullSub(batch_size=PAGES_IN_FLIGHT, timeout=PULL_SECONDS),
            codec=cast(Any, PageCodec(consumer.message)),
            title=durable,
        )(page)

    def overhear(self, message: type[M], handler: Handler[M]) -> None:
        """Hear a message on every replica, as it passes: no durability, no ack."""

        async def passing(body: Any) -> None:
            await handler(body)

        passing.__annotations__["body"] = message
        self.broker.subscriber(
            message.subject, codec=cast(Any, PageCodec(message)), title=f"{self.service}-overhears", no_reply=True
        )(passing)

    async def publish(self, subject: str, payload: bytes, id: UUID | str, headers: dict[str, str]) -> None:
        """Publish to JetStream and wait for its ack. Raises when it does not come within 5 s."""
        stream = "COMMANDS" if subject.startswith("nurture.cmd.") else "EVENTS"
        await self.broker.publish(
            payload, subject, stream=stream, headers={**headers, "Nats-Msg-Id": str(id)}, timeout=5.0
        )
        SAID.labels(subject).inc()

    async def connect(self) -> None:
        """Wait for the server; it may be started after us."""
        self.broker.add_middleware(self._settling())
        await self.broker.connect()

    async def start(self) -> None:
        """Subscribe, once the topology's owner has made every consumer that we hear."""
        for consumer in self.durables:
            await self._await_consumer(consumer)
        await self.broker.start()
        guard(self.broker, self.lost)

    async def stop(self) -> None:
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

    def problems(self) -> list[str]:
        """Why this bus is not ready, in words; empty when it is."""
        problems = [f"handler of {durable} is failing" for durable in sorted(self._failing)]
        connection = self.broker.config.broker_config.connection_state
        try:
            connected = connection.connection.is_connected
        except Exception:
            connected = False
        return problems if connected else [*problems, "NATS is not connected"]

    async def _keep(self, msg: Any, durable: str, payload: bytes, reason: str, index: int = -1) -> None:
        identity = msg.headers.get("Nats-Msg-Id") or f"{msg.raw_message.metadata.sequence.stream}"
        await self._database.execute(
            "dead_letter_keep",
            letter_id(identity, durable, index),
            durable,
            msg.raw_message.subject,
            payload,
            {key: value for key, value in msg.headers.items() if key.startswith(("Nurture-", HEADER))},
            reason,
        )
        log.error("bus.dead_letter", durable=durable, reason=reason, item=index if index >= 0 else None)

    def _settling(self) -> type[BaseMiddleware]:
        bus = self

        class Settling(BaseMiddleware):
            """Ack, dead letter or nak: the one place where a delivery from JetStream ends."""

            async def consume_scope(self, call_next: Any, msg: Any) -> Any:
                follow(msg.headers.get(HEADER))
                if not msg.raw_message.reply.startswith("$JS.ACK."):
                    return await call_next(msg)
                durable = msg.raw_message.metadata.consumer
                try:
                    await call_next(msg)
                except (Refused, *_ENDINGS) as error:
                    await bus._keep(msg, durable, msg.body, str(error))
                    await msg.ack()
                    HEARD.labels(durable, "dead_letter").inc()
                except Exception as error:
                    delivered = msg.raw_message.metadata.num_delivered or 1
                    bus._failing.add(durable)
                    HEARD.labels(durable, "retried").inc()
                    log.warning(
                        "bus.retry", durable=durable, delivered=delivered, error=type(error).__name__, exc_info=True
                    )
                    await msg.nack(delay=min(30.0, 0.25 * 2 ** min(delivered, 7)))
                else:
                    bus._failing.discard(durable)
                    await msg.ack()
                    HEARD.labels(durable, "done").inc()
                return None

        return Settling
