"""Whether a failed delivery is sent again on the other channel: a pure function, and every no says why."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from msgspec import Struct
from nurture_contracts.base import Channel

from nurture_controller.people import Contacts, Person
from nurture_controller.planning import (
    NAMES,
    REACHABLE,
    DueEnrolment,
    Reason,
    Refused,
    Send,
    fallback_channel,
    inputs_of,
    obstacle,
    words_for,
)
from nurture_controller.sequence import MessageKind, Sequence

NEVER = frozenset(
    {
        "complained",
        "unsubscribed",
        "refused",
        "cancelled",
        "unknown",
        "expired",
        "soft_bounce",
        "unknown_bounce",
    }
)
"""Ends after which another channel is never tried: a wish of the person, or no certainty that nothing arrived."""


class Failed(Struct, frozen=True, kw_only=True):
    """A delivery that definitively did not arrive, with the facts that decide about its fallback."""

    delivery_id: UUID
    channel: Channel
    why: str
    scheduled_at: datetime
    evidence: bool
    is_fallback: bool
    current: bool
    running: bool


def plan_fallback(
    failure: Failed,
    due: DueEnrolment,
    sequence: Sequence,
    person: Person | None,
    contacts: Contacts,
    now: datetime,
    available_channels: Collection[Channel],
) -> Send | Refused:
    """Whether a failed delivery is sent again on the step's other channel; otherwise why not. Pure, like `plan`."""
    step = sequence.step(due.step)
    inputs = inputs_of(due, sequence, step, person, contacts, now, available_channels)
    inputs |= {"failed_channel": failure.channel, "failure": failure.why, "failed_delivery": failure.delivery_id}
    other = fallback_channel(step, failure.channel) if step else None
    contact = contacts.get(other) if other else None
    hindrance = obstacle(other, contact, available_channels, sequence.kind) if other else None
    checks: tuple[tuple[bool, str, str], ...] = (
        (failure.why in NEVER, "not_definitive", _never(failure, contacts, available_channels, sequence.kind)),
        (
            failure.evidence,
            "evidence_of_delivery",
            "The message arrived after all: it was delivered, opened, followed or complained about.",
        ),
        (failure.is_fallback, "was_fallback", "It was a fallback itself; there is one a step."),
        (not failure.running, "enrolment_over", "The enrolment was cancelled or has failed."),
        (not failure.current, "moved_on", "The enrolment has gone on to a later step."),
        (step is None or other is None, "no_fallback", "The step names no other channel."),
        (
            step is not None and now - failure.scheduled_at > sequence.window_of(step),
            "window_closed",
            "It came too late.",
        ),
        (hindrance is not None, hindrance.code if hindrance else "", hindrance.text if hindrance else ""),
    )
    for holds, code, text in checks:
        if holds:
            return Refused(step=due.step, reasons=(Reason(code, text),), inputs=inputs)
    assert step is not None and other is not None and contact is not None and person is not None
    words, why = words_for(step, sequence, person)
    text = f"{NAMES[failure.channel]} failed ({failure.why}), so {NAMES[other]} takes over."
    return Send(
        step=due.step,
        channel=other,
        address=contact.address,
        scheduled_at=now,
        expires_at=now + sequence.lateness_of(step),
        template=sequence.template_of(step),
        reasons=(Reason("fallback", text), REACHABLE[other], *why),
        inputs=inputs,
        **words,
    )


def _never(failure: Failed, contacts: Contacts, available: Collection[Channel], kind: MessageKind) -> str:
    text = f"`{failure.why}` is no failure that another channel may mend."
    # The channels say only that the person refused; which of their words it was is known here.
    wish = (
        obstacle(failure.channel, contacts.get(failure.channel), available, kind) if failure.why == "refused" else None
    )
    return f"{wish.text} {text}" if wish and wish.code == "consent_refused" else text
