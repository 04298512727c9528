"""Pure: everybody's sums again from what is stored of messages and events, to hold the folded ones against."""

from collections.abc import Iterable
from typing import NamedTuple
from uuid import UUID

from nurture_scoring import credits, occasions
from nurture_scoring.folding import Message
from nurture_scoring.formula import Kind, weight


class Occasion(NamedTuple):
    """A row of `external_events`; `at` in Unix seconds."""

    user_id: UUID
    event: str
    at: float


State = tuple[float, float]
"""R and N."""


def recompute(
    messages: Iterable[Message], occasions_seen: Iterable[Occasion]
) -> tuple[dict[tuple[UUID, Kind], State], dict[Kind, State]]:
    """States by person and kind, and means by kind. Of a message only its delivery and signals are believed."""
    states: dict[tuple[UUID, Kind], State] = {}
    means: dict[Kind, State] = {}
    goals: dict[UUID, list[float]] = {}

    def add(user_id: UUID, kind: Kind, r: float, n: float) -> None:
        had_r, had_n = states.get((user_id, kind), (0.0, 0.0))
        states[user_id, kind] = (had_r + r, had_n + n)
        had_r, had_n = means.get(kind, (0.0, 0.0))
        means[kind] = (had_r + r, had_n + n)

    for one in occasions_seen:
        if occasions.is_goal(one.event):
            goals.setdefault(one.user_id, []).append(one.at)
        else:
            kind, r, n = occasions.COUNTS[one.event]
            add(one.user_id, kind, r * weight(one.at), n * weight(one.at))
    people: dict[UUID, list[Message]] = {}
    for message in messages:
        if message.delivered_at is not None:
            people.setdefault(message.user_id, []).append(message)
    for user_id, theirs in people.items():
        line = [(message.delivered_at or 0.0, message.delivery_id) for message in theirs]
        first = occasions.owed(goals.get(user_id, ()), line)
        for message in theirs:
            goal_at = first.get(message.delivery_id)
            worth = credits.credit(message.signals, message.delivered_at, message.channel, goal_at)
            n = weight(message.delivered_at or 0.0)
            add(user_id, message.channel, worth * n, n)
    return states, means
