"""JetStream as far as the product leans on it: at least once, in any order, ids dropped for ten minutes, and it may lose everything."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from nurture_contracts.base import Message
from nurture_contracts.topology import BY_DURABLE, MESSAGES

from tests.simulation.chance import Chance
from tests.simulation.virtual_time import VirtualLoop

WINDOW = 600.0
_BY_SUBJECT = {message.subject: message for message in MESSAGES}
Handler = Callable[[Any], Awaitable[None]]


class Stored(msgspec.Struct, eq=False):
    """A message of a stream."""

    subject: str
    payload: bytes
    id: str
    at: datetime

    @property
    def message(self) -> Message:
        return msgspec.json.decode(self.payload, type=_BY_SUBJECT[self.subject])


class Pending(msgspec.Struct, eq=False):
    """A message that a consumer has not acked. `again_at`: when it is delivered, seconds of the loop."""

    stored: Stored
    again_at: float
    deliveries: int = 0


class SimulatedBus:
    """Both streams and all consumers."""

    def __init__(self, loop: VirtualLoop, chance: Chance) -> None:
        self._loop = loop
        self._chance = chance
        self._known: dict[str, float] = {}
        self.pending: dict[str, list[Pending]] = {}
        self.lost: list[tuple[datetime, list[str]]] = []
        """Wipes that nobody has written down yet: when all before was heard for certain, and the subjects."""
        self._listeners: dict[str, list[asyncio.Event]] = {}

    def listener(self, durable: str) -> asyncio.Event:
        """Set when something may be delivered to this consumer."""
        woken = asyncio.Event()
        self.pending.setdefault(durable, [])
        self._listeners.setdefault(durable, []).append(woken)
        return woken

    def _wake(self, durable: str) -> None:
        for woken in self._listeners[durable]:
            woken.set()

    def put(self, subject: str, payload: bytes, id: str) -> None:
        """Store a message, unless its id is known."""
        now = self._loop.time()
        if now - self._known.get(id, -WINDOW) < WINDOW:
            return
        self._known[id] = now
        stored = Stored(subject, payload, id, self._loop.now)
        for durable, waiting in self.pending.items():
            if BY_DURABLE[durable].message.subject == subject:
                late = self._chance.bus_late and self._chance.random.expovariate(1 / self._chance.bus_late)
                waiting.append(Pending(stored, now + late))
                self._wake(durable)

    def next(self, durable: str) -> Pending | None:
        """Any message that may be delivered now: order is nobody's right."""
        ready = [one for one in self.pending[durable] if one.again_at <= self._loop.time()]
        if not ready:
            return None
        one = self._chance.random.choice(ready)
        one.deliveries += 1
        one.again_at = self._loop.time() + BY_DURABLE[durable].ack_wait
        return one

    def ack(self, durable: str, one: Pending) -> None:
        if one in self.pending[durable]:
            self.pending[durable].remove(one)

    def nak(self, one: Pending, delay: float) -> None:
        one.again_at = self._loop.time() + delay

    def next_at(self, durable: str) -> float | None:
        """When something may be delivered."""
        return min((one.again_at for one in self.pending[durable]), default=None)

    @property
    def quiet(self) -> bool:
        return not any(self.pending.values()) and not self.lost

    def wipe(self) -> None:
        """Streams, consumers and known ids are gone. The keeper learns of it a little later."""
        unheard = [one.stored.at for waiting in self.pending.values() for one in waiting]
        since = min([*unheard, self._loop.now]) - timedelta(seconds=60)
        self.lost.append((since, sorted({BY_DURABLE[durable].message.subject for durable in self.pending})))
        self._known.clear()
        for waiting in self.pending.values():
            waiting.clear()


class ProcessBus:
    """The bus as one process sees it: the product's outbox publishes here."""

    def __init__(
        self, bus: SimulatedBus, cross: Callable[[str], Awaitable[None]], lose_reply: Callable[[str], Awaitable[None]]
    ) -> None:
        self._bus = bus
        self._cross = cross
        self._lose_reply = lose_reply
        self.connected = True

    async def publish(self, subject: str, payload: bytes, id: str, headers: dict[str, str]) -> None:
        await self._cross("publish")
        self._bus.put(subject, payload, id)
        await self._lose_reply("publish")


def letter(id: UUID, message: Message) -> tuple[str, bytes, str]:
    """A message as a bus client from outside would put it."""
    return message.subject, msgspec.json.encode(message), str(id)
