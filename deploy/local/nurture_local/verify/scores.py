"""Pure: what the log and the events of people's doings come to as scores, by the documented formula.

R and N are sums of `credit × 2^((t - L) / H)` and `2^((t - L) / H)` over messages, t their delivery, L 2026-01-01, H 30 days.
The credit is 1 when the message led to a goal within 7 days; else the best of its answers, weight × confidence, without
those that only a machine can have made: in a mail sooner than 7 s, or three links within 2 s.
"""

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID

from nurture_local.verify.history import Credit, Delivery, Event, Occasion

LANDMARK = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
HALF_LIFE = 30 * 86_400.0
WEIGHT = {"replied": 1.0, "pressed": 1.0, "clicked": 1.0, "opened": 0.2}
CONFIDENCE = {"human": 0.6, "unknown": 0.3, "machine": 0.0}
SURE = frozenset({"replied", "pressed"})
TOO_SOON = {"email": 7.0}
"""Nothing follows links in a chat before its reader does."""
BURST_LINKS = 3
BURST_SECONDS = 2.0
KEPT = 32
REACH = 7 * 86_400.0
OCCASIONS = {
    "attended": ("attendance", 1.0, 1.0),
    "missed": ("attendance", 0.0, 1.0),
    "commitment_made": ("commitment", 0.0, 1.0),
    "commitment_kept": ("commitment", 1.0, 0.0),
}
"""Kind, R and N of what is no goal."""
Signal = tuple[str, float, str, str | None]
Sums = tuple[float, float]


def weight(at: float) -> float:
    return 2.0 ** max(-1000.0, min(1000.0, (at - LANDMARK) / HALF_LIFE))


def heard(one: Delivery, events: Iterable[Event]) -> tuple[float | None, tuple[Signal, ...]]:
    """When a message was delivered and what came back for it, as far as scoring counts it. In Telegram, sent is delivered, and
    so it is where nobody reports a delivery."""
    delivered: list[float] = []
    signals: set[Signal] = set()
    for event in events:
        at = event.at.timestamp()
        if event.kind == "delivered" or event.final or (one.channel == "telegram" and event.kind == "sent"):
            delivered.append(at)
        elif event.kind in WEIGHT and not (event.kind == "opened" and event.provider_id):
            # A provider's own `opened` tells neither who nor what opened it.
            signals.add((event.kind, at, event.signal, event.link))
    return min(delivered, default=None), tuple(sorted(signals, key=_rank)[:KEPT])


def _worth(signal: Signal) -> float:
    kind, _, maker, _ = signal
    return WEIGHT[kind] * (1.0 if kind in SURE else CONFIDENCE[maker])


def _rank(signal: Signal) -> tuple[float, float, str, str, str]:
    kind, at, maker, link = signal
    return (-_worth(signal), at, kind, link or "", maker)


def credit(signals: Sequence[Signal], delivered_at: float | None, channel: str, goal_at: float | None) -> float:
    if delivered_at is None:
        return 0.0
    if goal_at is not None:
        return 1.0
    burst, read_from = _burst(signals), delivered_at + TOO_SOON.get(channel, -math.inf)
    return max(
        (_worth(one) for one in signals if one[0] in SURE or (one[1] >= read_from and one not in burst)), default=0.0
    )


def _burst(signals: Sequence[Signal]) -> set[Signal]:
    clicks = sorted((one for one in signals if one[0] == "clicked"), key=lambda one: one[1])
    found: set[Signal] = set()
    for last in clicks:
        near = [one for one in clicks if last[1] - BURST_SECONDS <= one[1] <= last[1]]
        if len({link for *_, link in near}) >= BURST_LINKS:
            found.update(near)
    return found


def goals_owed(credits: Iterable[Credit], occasions: Iterable[Occasion]) -> dict[UUID, float]:
    """The earliest goal that each message led to: of what its person did within 7 days, before the next message came."""
    lines: dict[UUID, list[tuple[float, UUID]]] = defaultdict(list)
    goals: dict[UUID, list[float]] = defaultdict(list)
    for one in occasions:
        if one.event not in OCCASIONS:
            goals[one.user_id].append(one.at)
    if not goals:
        return {}
    for message in credits:
        if message.delivered_at is not None and message.user_id in goals:
            lines[message.user_id].append((message.delivered_at, message.delivery_id))
    found: dict[UUID, float] = {}
    for user, times in goals.items():
        line = sorted(lines[user])
        for goal in sorted(times):
            place = bisect_right(line, goal, key=lambda message: message[0]) - 1
            if place >= 0 and goal - line[place][0] <= REACH:
                found.setdefault(line[place][1], goal)
    return found


def sums(
    credits: Iterable[Credit], occasions: Iterable[Occasion], owed: Mapping[UUID, float]
) -> tuple[dict[tuple[UUID, str], Sums], dict[str, Sums]]:
    """R and N by person and kind, and over everybody."""
    states: dict[tuple[UUID, str], Sums] = {}
    means: dict[str, Sums] = {}
    for user, kind, r, n in _terms(credits, occasions, owed):
        had = states.get((user, kind), (0.0, 0.0))
        states[user, kind] = (had[0] + r, had[1] + n)
        had = means.get(kind, (0.0, 0.0))
        means[kind] = (had[0] + r, had[1] + n)
    return states, means


def _terms(
    credits: Iterable[Credit], occasions: Iterable[Occasion], owed: Mapping[UUID, float]
) -> Iterator[tuple[UUID, str, float, float]]:
    for one in occasions:
        if one.event in OCCASIONS:
            kind, r, n = OCCASIONS[one.event]
            yield one.user_id, kind, r * weight(one.at), n * weight(one.at)
    for message in credits:
        if message.delivered_at is not None:
            n = weight(message.delivered_at)
            worth = credit(message.signals, message.delivered_at, message.channel, owed.get(message.delivery_id))
            yield message.user_id, message.channel, worth * n, n
