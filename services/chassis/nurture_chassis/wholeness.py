"""Pure: whether a stream is still the one that was noted, and up to when its consumers had heard everything.

The noted state is the last one that was found whole. Times of messages are those of the NATS server, `Sample.at` is the
database's.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from msgspec import Struct

SLACK = timedelta(minutes=1)
"""A message this close to its end of life is not missed."""


class Holding(Struct, frozen=True, kw_only=True):
    """What a stream holds. `vanished` counts sequence numbers between first and last that have no message."""

    created: datetime
    first_seq: int
    first_at: datetime | None
    last_seq: int
    last_at: datetime | None
    vanished: int


class Standing(Struct, frozen=True, kw_only=True):
    """How far a consumer has come: the last sequence handed out, and that up to which all is acked."""

    durable: str
    created: datetime
    delivered: int
    floor: int
    pending: int
    ack_pending: int

    def heard(self, last_seq: int) -> bool:
        """Whether it is done with everything of its subject up to that sequence number."""
        return (self.pending == 0 and self.ack_pending == 0) or self.floor >= last_seq


class Sample(Struct, frozen=True):
    """Where a stream ended at a moment: what was published before `at` has at most this sequence number."""

    at: datetime
    last_seq: int
    last_at: datetime | None


def must_look(noted: Holding, found: Holding, max_age: float, now: datetime) -> bool:
    """Whether the message at the noted end has to be asked for: the stream went on since, and must still hold it."""
    return (found.last_seq, found.last_at) != (noted.last_seq, noted.last_at) and _lives(noted.last_at, max_age, now)


def harm(
    noted: Holding, found: Holding, there: datetime | None, standings: Iterable[Standing], max_age: float, now: datetime
) -> str | None:
    """Why this is not the noted stream gone on, in words; None when it is.

    `there` is the time of the message that now stands at the noted end (None: there is none), asked for when
    `must_look`; `max_age` is the stream's, in seconds; `now` is the server's clock.
    """
    if found.created != noted.created:
        return f"it was made again at {found.created:%Y-%m-%d %H:%M:%S}"
    if found.last_seq < noted.last_seq:
        return f"it ended at {noted.last_seq}, now at {found.last_seq}"
    for standing in standings:
        if standing.delivered > found.last_seq:
            return f"{standing.durable} has heard {standing.delivered}, the stream ends at {found.last_seq}"
    if must_look(noted, found, max_age, now) and there != noted.last_at:
        return f"message {noted.last_seq} is {'gone' if there is None else 'another'}"
    if found.first_seq > noted.first_seq and _lives(noted.first_at, max_age, now):
        return f"messages from {noted.first_seq} are gone before their age"
    if found.vanished > noted.vanished:
        return f"{found.vanished - noted.vanished} messages vanished from its middle"
    return None


def _lives(at: datetime | None, max_age: float, now: datetime) -> bool:
    return at is not None and now < at + timedelta(seconds=max_age) - SLACK
