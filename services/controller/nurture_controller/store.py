"""Rows in and out: pages of people, enrolments and deliveries, each page a statement."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

import asyncpg
from nurture_chassis.database import Rows
from nurture_chassis.outbox import Saying
from nurture_chassis.trace import traceparent
from nurture_contracts.base import Channel
from nurture_contracts.commands import SendEmails, SendTelegrams
from nurture_contracts.ids import uuid7

from nurture_controller.measuring import PLANNED
from nurture_controller.people import Contact, Person
from nurture_controller.placing import DeliveryRow, Known, Placed
from nurture_controller.sequence import MessageKind

SCORES = ("overall", "email", "telegram")
_WANTS: dict[tuple[str, str], tuple[MessageKind, ...]] = {
    ("granted", "granted"): ("sequence", "announcement"),
    ("granted", "refused"): ("sequence",),
    ("refused", "granted"): ("announcement",),
    ("refused", "refused"): (),
}
"""By what counts for sequences, and what for announcements."""


async def people(rows: Rows, ids: Sequence[UUID], now: datetime) -> dict[UUID, Known]:
    """Everybody of `ids` who exists, with their scores as of `now`."""
    return {row["id"]: _known(row) for row in await rows.fetch("people", ids, now)}


def _known(row: asyncpg.Record) -> Known:
    contacts: dict[Channel, Contact] = {}
    channel: Channel
    for channel in ("email", "telegram"):
        if row[channel] is not None:
            contacts[channel] = Contact(
                channel=channel,
                address=row[channel],
                state=row[f"{channel}_state"],
                consent="refused" if row[f"{channel}_unsubscribed"] else "granted",
                wants=_WANTS[row[f"{channel}_consent"], row[f"{channel}_announcement_consent"]],
            )
    person = Person(
        id=row["id"],
        first_name=row["first_name"] or "",
        timezone=row["timezone"],
        locale=row["locale"] or "en",
        attributes=row["attributes"],
        preferred_channel=row["preferred_channel"],
        preferred_time=row["preferred_time"],
        scores={kind: row[f"{kind}_score"] for kind in SCORES if row[f"{kind}_score"] is not None},
    )
    return Known(person, contacts)


async def save_deliveries(
    tx: Saying,
    placed: Iterable[Placed],
    sequence_types: dict[UUID, str],
    now: datetime,
    page: int,
    traces: Mapping[UUID, str | None] = MappingProxyType({}),
) -> None:
    """Write planned deliveries with their contents and wake the channels, `page` ids a message.

    `sequence_types` is by enrolment, and so are `traces`; one that has none belongs to the current one.
    Set-based: two statements however many there are.
    """
    rows = [(one, one.delivery) for one in placed if one.delivery is not None]
    if not rows:
        return
    await tx.execute(
        "deliveries_plan",
        *columns(
            (
                *(d.id, one.id, one.user_id, sequence_types[one.id], d.decision["inputs"]["step"], d.channel),
                *(d.scheduled_at, now, d.failed_at, d.suppressed_at, d.expired_at, d.reason),
                *(d.variant, d.tier, d.fallback_of),
            )
            for one, d in rows
        ),
    )
    kept = {d.id: traces.get(one.id) or traceparent() for one, d in rows}
    await tx.execute(
        "contents_plan",
        *columns(
            (d.id, d.address, d.template, d.subject, d.body, d.params, d.decision, d.expires_at, kept[d.id])
            for _, d in rows
        ),
    )
    for _, d in rows:
        tx.count(PLANNED.labels(d.channel, _decision(d)))
    wake(tx, ((d.channel, sequence_types[one.id], d.id) for one, d in rows if d.to_send), page, kept)


def _decision(planned: DeliveryRow) -> str:
    if planned.to_send:
        return "send"
    return "suppressed" if planned.suppressed_at else "expired" if planned.expired_at else "failed"


def wake(
    tx: Saying,
    deliveries: Iterable[tuple[Channel, str, UUID]],
    page: int,
    traces: Mapping[UUID, str] = MappingProxyType({}),
) -> None:
    """Tell the channels of deliveries to send, given with channel and sequence type: `page` ids a message.

    A page has deliveries of one type, since a held type's pages wait.
    """
    wakes: dict[tuple[Channel, str], list[UUID]] = {}
    for channel, sequence_type, id in deliveries:
        wakes.setdefault((channel, sequence_type), []).append(id)
    for (channel, _), ids in wakes.items():
        message = SendEmails if channel == "email" else SendTelegrams
        for start in range(0, len(ids), page):
            items = ids[start : start + page]
            tx.say(message(page_id=uuid7(), items=items), about=[traces[id] for id in items if id in traces])


def columns(rows: Iterable[tuple[Any, ...]]) -> list[list[Any]]:
    """Rows as the arrays that `unnest` takes."""
    return [list(column) for column in zip(*rows, strict=True)]
