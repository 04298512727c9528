"""Pure: what people do elsewhere, and what it counts for.

Attendance and commitments have sums of their own. Any other event is a goal: it answers the message that the person had
last received within seven days, whatever its channel.
"""

from bisect import bisect_right
from collections.abc import Iterable
from uuid import UUID

from nurture_scoring.formula import Kind

COUNTS: dict[str, tuple[Kind, float, float]] = {
    "attended": ("attendance", 1.0, 1.0),
    "missed": ("attendance", 0.0, 1.0),
    "commitment_made": ("commitment", 0.0, 1.0),
    "commitment_kept": ("commitment", 1.0, 0.0),
}
"""What each known event adds: kind, R, N. A kept commitment is capped by those made when the score is read."""
REACH = 7 * 86_400.0
"""Seconds after a message within which a goal is owed to it."""
LONGEST_NAME = 100


def wrong_name(event: str) -> str | None:
    """Why this cannot be an event's name, in words; None when it can."""
    if not event.strip():
        return "event is empty"
    if len(event) > LONGEST_NAME:
        return f"event has more than {LONGEST_NAME} characters"
    return None if event.isprintable() else "event has characters that cannot be shown"


def is_goal(event: str) -> bool:
    """Whether an event of this name is owed to a message."""
    return event not in COUNTS


def owed(goals: Iterable[float], messages: Iterable[tuple[float, UUID]]) -> dict[UUID, float]:
    """The earliest goal of each message that led to one. `messages` are one person's, as (delivered at, id)."""
    line = sorted(messages)
    found: dict[UUID, float] = {}
    for goal in sorted(goals):
        place = bisect_right(line, goal, key=lambda message: message[0]) - 1
        if place >= 0 and goal - line[place][0] <= REACH:
            found.setdefault(line[place][1], goal)
    return found
