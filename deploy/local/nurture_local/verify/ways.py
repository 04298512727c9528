"""Pure: whether something may still be on its way from one room to another."""

from datetime import timedelta

from msgspec import Struct

from nurture_local.verify.history import Snapshot

JUST = timedelta(seconds=2)
"""What was published this shortly before the bus was looked at may have been missed by that look."""


class Ways(Struct):
    """Asked about a subject and the durable that hears it. Answers are kept, since thousands ask the same."""

    history: Snapshot
    known: dict[tuple[str, str, str], str | None] = {}

    def under_way(self, room: str, subject: str, durable: str) -> str | None:
        """Why a message of `subject` said by `room` may not have been heard by `durable` yet; None when all have been."""
        key = (room, subject, durable)
        if key not in self.known:
            self.known[key] = self._look(*key)
        return self.known[key]

    def _look(self, room: str, subject: str, durable: str) -> str | None:
        bus = self.history.bus
        if bus is None:
            return "the bus was not looked at, so it may be on its way"
        consumer = next((one for one in bus.consumers if one.durable == durable), None)
        if consumer is None:
            return f"the consumer {durable} is missing until the bus is mended"
        if consumer.pending + consumer.ack_pending > 0:
            return f"{durable} has {consumer.pending + consumer.ack_pending} messages before it"
        if room in self.history.refilling:
            return f"the bus has lost messages that {room} has not said again yet"
        for letter in self.history.outbox:
            fresh = letter.published_at is None or letter.published_at > bus.read_at - JUST
            if fresh and letter.room == room and letter.subject == subject:
                return f"{room}'s outbox has just said or is about to say it"
        return None
