"""Load on a bus of the real topology: it remembers what was acknowledged, and looks for it again later."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import NamedTuple

import nats
import nats.errors
import nats.js.errors
from msgspec import json
from nats.aio.client import Client
from nurture_chassis import topology
from nurture_chassis.bus import Bus
from nurture_chassis.database import Database
from nurture_chassis.queries import Queries
from nurture_chassis.settings import Secret, ServiceSettings
from nurture_contracts.base import Message
from nurture_contracts.commands import SendEmails
from nurture_contracts.ids import uuid7
from nurture_contracts.topology import CONSUMERS, STREAMS, Consumer

PUBLISHERS = 16
AWAY = (nats.errors.Error, nats.js.errors.Error, OSError, TimeoutError)
"""What a bus that is away, or between two leaders, looks like to a client."""
_PAUSE = 0.05


class Letter(NamedTuple):
    """A message as it is on the bus; the id is its Nats-Msg-Id."""

    id: str
    subject: str
    body: bytes


class Place(NamedTuple):
    """Where the bus said that it keeps a message."""

    stream: str
    seq: int


class BusLoad:
    """`acked` is what the bus promised to keep, `doubtful` what it may or may not have, `refused` what it said no to.

    `reasons` are the error codes of its refusals.
    """

    def __init__(self) -> None:
        self.acked: dict[str, Place] = {}
        self.letters: dict[str, Letter] = {}
        self.doubtful: set[str] = set()
        self.refused: set[str] = set()
        self.reasons: Counter[int | None] = Counter()
        self.over = asyncio.Event()
        """Ends everybody who works; a cancellation would not, since nats-py swallows it here and there."""
        self._news = asyncio.Event()

    async def until(self, acked: int) -> None:
        """Wait until so many are acknowledged."""
        while len(self.acked) < acked:
            self._news.clear()
            await self._news.wait()

    async def publish(self, client: Client) -> None:
        """Publish pages from many tasks until it is over."""
        async with asyncio.TaskGroup() as group:
            for number in range(PUBLISHERS):
                group.create_task(self._publish(client, number))

    async def _publish(self, client: Client, number: int) -> None:
        while not self.over.is_set():
            await self.say(client, _letter(number))

    async def consume(self, client: Client) -> None:
        """Fetch and ack from every durable until it is over, as the services would."""
        async with asyncio.TaskGroup() as group:
            for consumer in CONSUMERS:
                group.create_task(self._consume(client, consumer))

    async def _consume(self, client: Client, consumer: Consumer) -> None:
        subscription = await client.jetstream().pull_subscribe_bind(consumer.durable, stream=consumer.stream)
        while not self.over.is_set():
            with contextlib.suppress(*AWAY):
                for message in await subscription.fetch(64, timeout=0.5):
                    await message.ack()

    async def say(self, client: Client, letter: Letter) -> bool:
        """Publish one letter and note how that ended. True when the bus knew it already."""
        self.letters[letter.id] = letter
        try:
            ack = await client.jetstream().publish(
                letter.subject, letter.body, timeout=2, headers={"Nats-Msg-Id": letter.id}
            )
        except nats.js.errors.APIError as error:
            self.refused.add(letter.id)
            self.reasons[error.err_code] += 1
        except AWAY:
            self.doubtful.add(letter.id)
        else:
            self.acked[letter.id] = Place(ack.stream, ack.seq)
            self.doubtful.discard(letter.id)
            self.refused.discard(letter.id)
            self._news.set()
            return bool(ack.duplicate)
        await asyncio.sleep(_PAUSE)
        return False

    async def repeat(self, client: Client, ids: set[str]) -> int:
        """Publish these once more, as a relay would that does not know. Returns how many the bus knew already."""
        return sum(await asyncio.gather(*(self.say(client, self.letters[id]) for id in ids)))

    async def lost(self, client: Client) -> set[str]:
        """Ids of acknowledged messages that are not where the bus said."""
        js, ways = client.jetstream(), asyncio.Semaphore(64)

        async def kept(id: str, place: Place) -> bool:
            async with ways:
                try:
                    found = await js.get_msg(place.stream, place.seq)
                except nats.js.errors.NotFoundError:
                    return False
            return (found.headers or {}).get("Nats-Msg-Id") == id

        results = await asyncio.gather(*(kept(id, place) for id, place in self.acked.items()))
        return {id for id, is_kept in zip(self.acked, results, strict=True) if not is_kept}


async def held(client: Client) -> int:
    """How many messages the streams hold together."""
    return sum([(await client.jetstream().stream_info(stream.name)).state.messages for stream in STREAMS])


def _letter(number: int) -> Letter:
    # Every other task speaks on the other stream.
    message: Message = SendEmails(page_id=uuid7(), items=[uuid7() for _ in range(20)])
    subject = message.subject if number % 2 else "nurture.evt.email.settled"
    return Letter(str(uuid7()), subject, json.encode(message))


async def declare(url: str, replicas: int = 1) -> None:
    """Make the contracts' streams and consumers, by the very code that the controller runs."""
    settings = ServiceSettings(database_url=Secret(""), nats_url=url, secret_key=Secret(""))
    bus = Bus(url, "test", Database(settings, "controller", Queries("", "public")))
    await bus.connect()
    try:
        await bus.broker.start()
        await topology.ensure(bus, replicas)
    finally:
        await bus.broker.stop()


@contextlib.asynccontextmanager
async def connected(*urls: str) -> AsyncIterator[Client]:
    """A client that comes back by itself, to whichever of the servers is there."""

    async def quiet(_: Exception) -> None:
        """Losing the server is what these tests are about."""

    client = await nats.connect(
        list(urls), name="load", connect_timeout=1, max_reconnect_attempts=-1, reconnect_time_wait=0.2,
        ping_interval=1, max_outstanding_pings=2, error_cb=quiet,
    )  # fmt: skip
    try:
        yield client
    finally:
        with contextlib.suppress(OSError):
            await client.close()
        # A close that fails in flushing to a server that is gone leaves the socket open.
        if (writer := getattr(client._transport, "_io_writer", None)) is not None:
            writer.transport.abort()
