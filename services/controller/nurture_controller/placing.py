"""Pure: a decision about a due step, carried out as rows to write. Production plans this way for one person or a thousand."""

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from nurture_contracts.base import Channel

from nurture_controller.library import Published
from nurture_controller.people import Contacts, Person
from nurture_controller.planning import (
    Complete,
    Decision,
    DueEnrolment,
    Expire,
    Fail,
    Send,
    Skip,
    Wait,
    failed,
    next_due,
    plan,
)
from nurture_controller.wording import WordingFailed, Wordings


class Known(NamedTuple):
    """A person with what reaches them."""

    person: Person
    contacts: Contacts


class DeliveryRow(NamedTuple):
    """A planned delivery with its frozen content. One of the three times is set when nothing will be sent."""

    id: UUID
    channel: Channel
    scheduled_at: datetime
    failed_at: datetime | None
    suppressed_at: datetime | None
    expired_at: datetime | None
    reason: str | None
    address: str
    template: str
    subject: str
    body: str
    params: dict[str, Any]
    decision: dict[str, Any]
    expires_at: datetime

    @property
    def to_send(self) -> bool:
        return self.failed_at is None and self.suppressed_at is None and self.expired_at is None


class Placed(NamedTuple):
    """Where an enrolment stands after its decision, and the delivery that came of it."""

    id: UUID
    user_id: UUID
    step: int
    next_at: datetime | None
    state: str
    ended_at: datetime | None
    ended_reason: str | None
    delivery: DeliveryRow | None


def place(
    due: DueEnrolment,
    published: Published,
    known: Known | None,
    now: datetime,
    wordings: Wordings,
    dashboard_url: Callable[[UUID], str],
    delivery_id: UUID,
    available: Collection[Channel],
) -> Placed:
    """Decide and word one step. The next step counts from now, so that a long standstill never ends in a burst."""
    person, contacts = known or (None, {})
    decision = plan(due, published.sequence, person, contacts, now, available)
    if isinstance(decision, Wait):
        return Placed(due.id, due.user_id, due.step, decision.until, "active", None, None, None)
    if isinstance(decision, Complete):
        return Placed(due.id, due.user_id, due.step, None, "completed", now, "no_more_steps", None)
    delivery = _worded(decision, due, published, person, now, wordings, dashboard_url(due.user_id), delivery_id)
    if person is None:
        return Placed(due.id, due.user_id, due.step, None, "failed", now, "unknown_person", delivery)
    next_at = next_due(published.sequence, due.step, now, person)
    ended = (None, None) if next_at else (now, "completed")
    return Placed(due.id, due.user_id, due.step + 1, next_at, "active" if next_at else "completed", *ended, delivery)


def _worded(
    decision: Send | Skip | Expire | Fail,
    due: DueEnrolment,
    published: Published,
    person: Person | None,
    now: datetime,
    wordings: Wordings,
    dashboard: str,
    delivery_id: UUID,
) -> DeliveryRow:
    subject = body = ""
    if isinstance(decision, Send) and person is not None:
        try:
            subject, body = wordings.render(published.id, published.sequence, due.step, person, due.context, dashboard)
        except WordingFailed as why:
            decision = failed(decision, "wording_failed", why.detail)
    return DeliveryRow(
        id=delivery_id,
        channel=decision.channel,
        scheduled_at=decision.scheduled_at,
        failed_at=now if isinstance(decision, Fail) else None,
        suppressed_at=now if isinstance(decision, Skip) else None,
        expired_at=now if isinstance(decision, Expire) else None,
        reason=None if isinstance(decision, Send) else decision.code,
        address=decision.address,
        template=decision.template,
        subject=subject,
        body=body,
        params={
            "user_name": person.first_name if person else "",
            "dashboard_url": dashboard,
            "sequence_type": published.sequence.type,
            "sequence_version": published.version,
            "step": due.step,
            "variant": None,
        },
        decision=_record(decision),
        expires_at=decision.expires_at,
    )


def _record(decision: Decision) -> dict[str, Any]:
    # Without the address: the record is kept when a person is forgotten.
    record: dict[str, Any] = {
        "decision": decision.__struct_config__.tag,
        "reasons": decision.reasons,
        "inputs": decision.inputs,
    }
    if isinstance(decision, Send | Skip | Expire | Fail):
        record["channel"] = decision.channel
    return record
