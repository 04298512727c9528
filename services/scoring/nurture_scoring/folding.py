"""Pure: what a page of events changes in messages, people's sums and the means."""

from collections.abc import Iterable, Mapping
from uuid import UUID

from msgspec import Struct, structs

from nurture_scoring import credits, occasions
from nurture_scoring.credits import Signal
from nurture_scoring.formula import Kind, weight


class Message(Struct, frozen=True, kw_only=True):
    """A message and what came back for it. Times in Unix seconds; `delivered_at` is its first delivery."""

    delivery_id: UUID
    user_id: UUID
    channel: Kind
    delivered_at: float | None = None
    goal_at: float | None = None
    credit: float = 0.0
    signals: tuple[Signal, ...] = ()


class News(Struct):
    """What a page says of one message."""

    delivered_at: float | None = None
    signals: list[Signal] = []
    latest: float = float("-inf")

    def deliver(self, at: float) -> None:
        self.delivered_at = at if self.delivered_at is None else min(at, self.delivered_at)
        self.latest = max(self.latest, at)

    def answer(self, signal: Signal) -> None:
        self.signals.append(signal)
        self.latest = max(self.latest, signal.at)


class Sums(Struct):
    """What is added to one person's R and N of one kind."""

    r: float = 0.0
    n: float = 0.0


class Changes(Struct):
    """Rows to write: messages, additions by kind and person, new goals by person, the latest event of each person."""

    messages: list[Message] = []
    sums: dict[Kind, dict[UUID, Sums]] = {}
    goals: dict[UUID, int] = {}
    latest: dict[UUID, float] = {}

    def add(self, kind: Kind, user_id: UUID, r: float, n: float) -> None:
        sums = self.sums.setdefault(kind, {}).setdefault(user_id, Sums())
        sums.r += r
        sums.n += n

    def see(self, user_id: UUID, at: float) -> None:
        self.latest[user_id] = max(at, self.latest.get(user_id, at))


def told(message: Message, news: News) -> Message:
    """The message after the news."""
    delivered = message.delivered_at
    if news.delivered_at is not None and (delivered is None or news.delivered_at < delivered):
        delivered = news.delivered_at
    signals = credits.keep((*message.signals, *news.signals)) if news.signals else message.signals
    return _valued(structs.replace(message, delivered_at=delivered, signals=signals))


def _valued(message: Message) -> Message:
    worth = credits.credit(message.signals, message.delivered_at, message.channel, message.goal_at)
    return message if worth == message.credit else structs.replace(message, credit=worth)


def since_when(pairs: Iterable[tuple[Message, Message]], goals: Mapping[UUID, float]) -> dict[UUID, float]:
    """From when on a person's goals may be owed to other messages than before.

    `pairs` are messages (before, after), `goals` the earliest new goal of each person."""
    first = dict(goals)
    for before, after in pairs:
        if after.delivered_at is not None and after.delivered_at != before.delivered_at:
            first[after.user_id] = min(after.delivered_at, first.get(after.user_id, after.delivered_at))
    # A second more: what is on the edge is decided by `owed`, not by how a float was rounded.
    return {user: at - occasions.REACH - 1.0 for user, at in first.items()}


def owe(
    messages: Iterable[Message], goals: Mapping[UUID, Iterable[float]], since: Mapping[UUID, float]
) -> dict[UUID, Message]:
    """The messages from `since` on, each goal on the one that led to it. Both have to be complete from then on."""
    lines: dict[UUID, list[Message]] = {}
    for message in messages:
        start = since.get(message.user_id)
        if start is not None and message.delivered_at is not None and message.delivered_at >= start:
            lines.setdefault(message.user_id, []).append(message)
    found: dict[UUID, Message] = {}
    for user_id, line in lines.items():
        first = occasions.owed(goals.get(user_id, ()), [(one.delivered_at or 0.0, one.delivery_id) for one in line])
        found |= {one.delivery_id: _valued(structs.replace(one, goal_at=first.get(one.delivery_id))) for one in line}
    return found


def settle(changes: Changes, pairs: Iterable[tuple[Message | None, Message]]) -> Changes:
    """Add what (before, after) of each message comes to; a message that is as before adds nothing."""
    for before, after in pairs:
        if before == after:
            continue
        changes.messages.append(after)
        r, n = _terms(after)
        if before is not None:
            had_r, had_n = _terms(before)
            r, n = r - had_r, n - had_n
        if r or n:
            changes.add(after.channel, after.user_id, r, n)
    return changes


def _terms(message: Message) -> tuple[float, float]:
    if message.delivered_at is None:
        return 0.0, 0.0
    n = weight(message.delivered_at)
    return message.credit * n, n
