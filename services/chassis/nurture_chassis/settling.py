"""How a delivery from JetStream ends: acked, kept as a dead letter, or given back to come again later."""

import contextlib
import time
from collections.abc import Mapping
from typing import Any

import asyncpg
import msgspec
import nats.errors
import structlog
from faststream import BaseMiddleware
from nurture_contracts.base import SCHEMA_VERSION
from prometheus_client import Counter, Histogram

from nurture_chassis.codec import letter_id
from nurture_chassis.database import UNREACHABLE, Database
from nurture_chassis.trace import HEADER, Span, of_headers, span

log = structlog.get_logger()
HEARD = Counter("nurture_messages_heard", "Messages handled, by consumer and how it ended", ["durable", "ended"])
DEAD = Counter(
    "nurture_dead_letters_kept", "Messages, or items of a page, that were set aside, by consumer", ["durable"]
)
SECONDS = Histogram(
    "nurture_message_seconds",
    "How long handling a message took, however it ended",
    ["durable"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
SCHEMA = "Nurture-Schema"
GIVE_UP = 12
"""Deliveries after which an error that cannot pass by itself makes a dead letter: about four minutes."""
GRACE = 15.0
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError)
LASTING = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)
"""What the same message meets each time: a fault of ours or of its content, never of the database's or the bus's health."""


def expect(durable: str) -> None:
    """Begin its counters at nought: an increase is seen only of what has begun."""
    for ended in ("done", "dead_letter", "retried"):
        HEARD.labels(durable, ended)
    DEAD.labels(durable)
    SECONDS.labels(durable)


class Refused(Exception):
    """A message that can be read but not obeyed; it becomes a dead letter with this text as its reason."""


class Desk:
    """The one place where deliveries end, and what is known of handlers that fail."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._failing: dict[str, float] = {}

    def problems(self) -> list[str]:
        """Handlers that failed last, in words. A message that was given back comes again, here or at another replica:
        when it is overdue here, somebody else has ended it, or the consumer's own trouble tells."""
        now = time.monotonic()
        self._failing = {durable: until for durable, until in self._failing.items() if until > now}
        return [f"handler of {durable} is failing" for durable in sorted(self._failing)]

    async def _set_aside(self, msg: Any, durable: str) -> None:
        """Keep the items of a page that cannot be read; the others go on."""
        # FastStream decodes a message once and hands the handler what was read here.
        await msg.decode()
        for item in getattr(msg.raw_message, "bad_items", ()):
            await self._keep(msg, durable, item.payload, item.reason, item.index)

    async def settle(self, call_next: Any, msg: Any) -> None:
        durable = msg.raw_message.metadata.consumer
        subject, identity = msg.raw_message.subject, msg.headers.get("Nats-Msg-Id") or ""
        with (
            SECONDS.labels(durable).time(),
            span(
                f"process {subject}",
                "consumer",
                of_headers(msg.headers),
                messaging__system="nats",
                messaging__operation__type="process",
                messaging__destination__name=subject,
                messaging__consumer__group__name=durable,
                messaging__message__id=identity,
            ) as work,
        ):
            began = time.perf_counter()
            if await self._settle(call_next, msg, durable, work):
                seconds = round(time.perf_counter() - began, 4)
                log.info("bus.handled", durable=durable, message_id=identity, seconds=seconds)

    async def _settle(self, call_next: Any, msg: Any, durable: str, work: Span) -> bool:
        """Whether it is done."""
        try:
            try:
                check_schema(msg.headers)
                await self._set_aside(msg, durable)
                await call_next(msg)
            except (Refused, *UNREADABLE) as error:
                work.fail("dead letter")
                await self._bury(msg, durable, str(error))
                return False
            except LASTING as error:
                if (msg.raw_message.metadata.num_delivered or 1) < GIVE_UP:
                    raise
                log.exception("bus.given_up", durable=durable)
                work.fail("dead letter")
                await self._bury(msg, durable, f"given up after {GIVE_UP} tries: {type(error).__name__}")
                return False
        except Exception as error:
            work.fail(type(error).__name__)
            await self._give_back(msg, durable, error)
            return False
        else:
            self._failing.pop(durable, None)
            with contextlib.suppress(nats.errors.Error):  # it comes again, and is recognised
                await msg.ack()
            HEARD.labels(durable, "done").inc()
            return True

    async def _bury(self, msg: Any, durable: str, reason: str) -> None:
        await self._keep(msg, durable, msg.body, reason)
        with contextlib.suppress(nats.errors.Error):
            await msg.ack()
        HEARD.labels(durable, "dead_letter").inc()

    async def _give_back(self, msg: Any, durable: str, error: Exception) -> None:
        delivered = msg.raw_message.metadata.num_delivered or 1
        delay = min(30.0, 0.25 * 2 ** min(delivered, 7))
        self._failing[durable] = time.monotonic() + delay + GRACE
        HEARD.labels(durable, "retried").inc()
        # A database that is away says nothing new with each message's traceback.
        log.warning(
            "bus.retry",
            durable=durable,
            delivered=delivered,
            error=type(error).__name__,
            exc_info=not isinstance(error, UNREACHABLE),
        )
        with contextlib.suppress(nats.errors.Error):  # then it comes again when its time to be acked is over
            await msg.nack(delay=delay)

    async def _keep(self, msg: Any, durable: str, payload: bytes, reason: str, index: int = -1) -> None:
        # A message that was said again for a loss bears the loss's number behind its id, and is the same message.
        identity = (msg.headers.get("Nats-Msg-Id") or "").partition(".")[0]
        await self._database.execute(
            "dead_letter_keep",
            letter_id(identity or f"{msg.raw_message.metadata.sequence.stream}", durable, index),
            durable,
            msg.raw_message.subject,
            payload,
            {key: value for key, value in msg.headers.items() if key.startswith(("Nurture-", HEADER))},
            reason,
        )
        DEAD.labels(durable).inc()
        log.error("bus.dead_letter", durable=durable, reason=reason, item=index if index >= 0 else None)

    def middleware(self) -> type[BaseMiddleware]:
        """For the broker: deliveries from JetStream are settled here, everything else passes."""
        desk = self

        class Settling(BaseMiddleware):
            async def consume_scope(self, call_next: Any, msg: Any) -> Any:
                if not (msg.raw_message.reply or "").startswith("$JS.ACK."):
                    with span(f"overhear {msg.raw_message.subject}", "consumer", of_headers(msg.headers)):
                        return await call_next(msg)
                await desk.settle(call_next, msg)
                return None

        return Settling


def check_schema(headers: Mapping[str, str]) -> None:
    """A reader must not guess at a newer schema; a client that sends none speaks the present one. Raises Refused."""
    version = headers.get(SCHEMA)
    if version is None:
        return
    if not version.isdecimal():
        raise Refused(f"the header {SCHEMA} is not a number")
    if int(version) > SCHEMA_VERSION:
        raise Refused(
            f"written in schema {version}, this service reads up to {SCHEMA_VERSION}: upgrade it, then replay this letter"
        )
