"""Pure: a decision about a due step, carried out as rows to write. Production plans this way for one person or a thousand."""

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from nurture_contracts.base import Channel

from nurture_controller.one_message import OneMessage
from nurture_controller.people import Contacts, Person
from nurture_controller.planning import (
    Complete,
    Decision,
    DueEnrolment,
    Expire,
    Fail,
    Refused,
    Send,
    Skip,
    Wait,
    failed,
    next_due,
    plan,
)
from nurture_controller.sequence import Button, Published
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
    variant: str | None
    tier: str | None
    fallback_of: UUID | None = None

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


class Desk(NamedTuple):
    """What planning a page needs beside its people: words, addresses of pages, the channels that can send."""

    wordings: Wordings
    dashboard_url: Callable[[UUID], str]
    telegram_url: str
    available: Collection[Channel]


def place(
    due: DueEnrolment, published: Published, known: Known | None, now: datetime, desk: Desk, delivery_id: UUID
) -> Placed:
    """Decide and word one step. The next step counts from now, so that a long standstill never ends in a burst."""
    person, contacts = known or (None, {})
    decision = plan(due, published.sequence, person, contacts, now, desk.available)
    if isinstance(decision, Wait):
        return Placed(due.id, due.user_id, due.step, decision.until, "active", None, None, None)
    if isinstance(decision, Complete):
        return Placed(due.id, due.user_id, due.step, None, "completed", now, "no_more_steps", None)
    delivery = worded(decision, due, published, known, now, desk, delivery_id)
    if person is None:
        return Placed(due.id, due.user_id, due.step, None, "failed", now, "unknown_person", delivery)
    next_at = next_due(published.sequence, due.step, now, person)
    ended = (None, None) if next_at else (now, "completed")
    return Placed(due.id, due.user_id, due.step + 1, next_at, "active" if next_at else "completed", *ended, delivery)


def worded(
    decision: Send | Skip | Expire | Fail,
    due: DueEnrolment,
    published: Published,
    known: Known | None,
    now: datetime,
    desk: Desk,
    delivery_id: UUID,
    fallback_of: UUID | None = None,
) -> DeliveryRow:
    """A decision as a delivery with its frozen words; words that cannot be made fail this person's step only."""
    subject = body = invitation = ""
    person = known.person if known else None
    dashboard = desk.dashboard_url(due.user_id)
    variant, tier = (decision.variant, decision.tier) if isinstance(decision, Send) else (None, None)
    buttons: list[Button] = []
    frozen: dict[str, Any] = {}
    if isinstance(decision, Send) and known is not None and person is not None:
        step = published.sequence.step(due.step)
        buttons = list(step.buttons) if step else []
        if step and step.on_ambiguous == "retry" and decision.channel == "telegram":
            frozen["on_ambiguous"] = step.on_ambiguous
        invitation = "" if "telegram" in known.contacts else desk.telegram_url
        try:
            subject, body = desk.wordings.render(
                published.id, published.sequence, due.step, person, due.context, dashboard,
                telegram_url=invitation, variant=variant, tier=tier,
            )  # fmt: skip
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
            "variant": variant,
            "tier": tier,
            "buttons": buttons,
            **frozen,
            # What the caller of a single message wrote beside it comes back with the delivery.
            **({"metadata": due.context} if isinstance(published.sequence, OneMessage) else {}),
            **({"telegram_url": invitation, "user_id": due.user_id, "invited": now} if invitation else {}),
        },
        decision=record(decision),
        expires_at=decision.expires_at,
        variant=variant,
        tier=tier,
        fallback_of=fallback_of,
    )


def record(decision: Decision | Refused) -> dict[str, Any]:
    """A decision as it is kept: without the address, since the record outlives a person's wish to be forgotten."""
    record: dict[str, Any] = {
        "decision": decision.__struct_config__.tag,
        "reasons": decision.reasons,
        "inputs": decision.inputs,
    }
    if isinstance(decision, Send | Skip | Expire | Fail):
        record["channel"] = decision.channel
    return record
