"""Messages, sums and events in and out of the database, a page a statement."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from nurture_chassis.codec import letter_id
from nurture_chassis.database import Rows, Transaction
from nurture_chassis.trace import HEADER, traceparent
from nurture_contracts.base import SCHEMA_VERSION
from nurture_contracts.commands import ExternalEvent
from nurture_contracts.events import Observation

from nurture_scoring import credits
from nurture_scoring.folding import Changes, Message, Sums
from nurture_scoring.formula import Kind
from nurture_scoring.occasions import COUNTS

_KNOWN = list(COUNTS)


class Held(NamedTuple):
    """Messages as stored, people who have goals, and the latest event known of each person."""

    messages: dict[UUID, Message]
    with_goals: set[UUID]
    latest: dict[UUID, float]


async def hold_messages(tx: Transaction, ids: Sequence[UUID]) -> Held:
    """Lock the people whom these messages went to, then read both. Ids that are no message of ours are left out."""
    owners = await tx.fetch("hold_owners", ids)
    held = Held({}, set(), {})
    if not owners:
        return held
    rows = await tx.fetch("read_messages", [row["id"] for row in owners], [row["user_id"] for row in owners])
    found = {row["delivery_id"]: row for row in rows}
    for id, user_id, channel in owners:
        row = found[id]
        held.messages[id] = _message(id, user_id, channel, row)
        if row["goals"]:
            held.with_goals.add(user_id)
        if row["updated_at"] is not None:
            held.latest[user_id] = row["updated_at"].timestamp()
    return held


def _message(id: UUID, user_id: UUID, channel: Kind, row: Any) -> Message:
    if row["credit"] is None:
        return Message(delivery_id=id, user_id=user_id, channel=channel)
    return Message(
        delivery_id=id,
        user_id=user_id,
        channel=channel,
        delivered_at=_seconds(row["delivered_at"]),
        goal_at=_seconds(row["goal_at"]),
        credit=row["credit"],
        signals=credits.read(row["signals"]),
    )


async def read_line(
    tx: Transaction, since: Mapping[UUID, float]
) -> tuple[dict[UUID, Message], dict[UUID, list[float]]]:
    """The messages and the goals of these people from `since` on."""
    people, times = list(since), [instant(at) for at in since.values()]
    messages = {
        row["delivery_id"]: _message(row["delivery_id"], row["user_id"], row["channel"], row)
        for row in await tx.fetch("read_line", people, times)
    }
    goals: dict[UUID, list[float]] = {}
    for user_id, at in await tx.fetch("read_goals", people, times, _KNOWN):
        goals.setdefault(user_id, []).append(at.timestamp())
    return messages, goals


async def save(tx: Transaction, changes: Changes, known: Mapping[UUID, float]) -> None:
    """Write what a page changed: the messages, then the sums kind by kind, in the same order in every page.

    `known` are the latest events that were known of people before; somebody of whom nothing else is new gets no row.
    """
    if changes.messages:
        await tx.execute("save_messages", *_columns(_row(message) for message in changes.messages))
    later = {user for user, at in changes.latest.items() if user not in known or at > known[user]}
    if unsaid := later.difference(*changes.sums.values()):
        changes.sums.setdefault("email", {}).update((user, Sums()) for user in unsaid)
    goals = dict(changes.goals)
    for kind, people in sorted(changes.sums.items()):
        rows = ((user, one.r, one.n, goals.pop(user, 0), instant(changes.latest[user])) for user, one in people.items())
        await tx.execute("add_sums", kind, *_columns(rows))


def _row(message: Message) -> tuple[Any, ...]:
    return (
        message.delivery_id,
        message.user_id,
        message.channel,
        instant(message.delivered_at) if message.delivered_at is not None else None,
        instant(message.goal_at) if message.goal_at is not None else None,
        message.credit,
        credits.stored(message.signals, message.delivered_at, message.channel),
    )


async def find_people(rows: Rows, items: Sequence[ExternalEvent]) -> list[UUID | None]:
    """Who did it, in order; None for nobody we know."""
    # PostgreSQL's text has no NUL, so nobody is called so.
    names = [None if item.external_id and "\0" in item.external_id else item.external_id for item in items]
    found = await rows.fetch("find_people", [item.user_id for item in items], names)
    return [row["user_id"] for row in found]


async def keep_events(tx: Transaction, events: Mapping[UUID, tuple[UUID, ExternalEvent]]) -> set[UUID]:
    """Lock the people, keep what is new of their events, by event id. Returns the ids that were new."""
    await tx.execute("hold_people", [user_id for user_id, _ in events.values()])
    # Sorted, so that two pages with the same ids cannot wait for each other in a circle.
    rows = ((id, user_id, item.event, item.at) for id, (user_id, item) in sorted(events.items()))
    return {row["event_id"] for row in await tx.fetch("keep_events", *_columns(rows))}


async def keep_letters(
    tx: Transaction, durable: str, refused: Sequence[tuple[ExternalEvent | Observation, str]], page: type[Any]
) -> None:
    """Set items aside with the reason, each as a page of its own that can be replayed."""
    letters = {letter_id(str(item.event_id), durable): (item, reason) for item, reason in refused}
    await tx.execute(
        "keep_letters",
        durable,
        page.subject,
        {HEADER: traceparent(), "Nurture-Schema": str(SCHEMA_VERSION)},
        list(letters),
        [msgspec.json.encode(page(items=[item])) for item, _ in letters.values()],
        [reason for _, reason in letters.values()],
    )


def _columns(rows: Iterable[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _seconds(at: datetime | None) -> float | None:
    return at.timestamp() if at is not None else None


def instant(at: float) -> datetime:
    """Unix seconds as an aware time."""
    return datetime.fromtimestamp(at, UTC)
