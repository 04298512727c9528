"""What to do with a person's next step: a pure function of facts. Every answer says why, also when nothing is sent."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple
from uuid import UUID

from msgspec import Struct
from nurture_contracts.base import Channel

from nurture_controller.choosing import assign, by_score, score_of, tier_of
from nurture_controller.people import Contact, Contacts, Person
from nurture_controller.sequence import MessageKind, Sequence, Step, Tier
from nurture_controller.timing import clock_time, due_at, known_zone

RefusalCode = Literal["unknown_sequence", "unknown_person", "already_running", "no_reachable_channel"]

REFUSAL_STATUS: dict[RefusalCode, int] = {
    "unknown_sequence": 422,
    "unknown_person": 404,
    "already_running": 409,
    "no_reachable_channel": 422,
}
"""The HTTP status that answers a refused start."""

BINDING = frozenset({"channel_unavailable", "no_address", "contact_bounced", "contact_suppressed", "contact_blocked"})
"""Obstacles that bind one channel and say nothing about the person's wish."""

LAST_CHANNELS: tuple[Channel, ...] = ("email", "telegram")
"""What `auto` tries after the person's preferred channel."""


class Reason(Struct, frozen=True):
    """One thing that led to a decision: a stable code, and a sentence for people."""

    code: str
    text: str


class DueEnrolment(Struct, frozen=True, kw_only=True):
    """A person's place in a sequence. `step` counts from 1; `next_at` is when it is due."""

    id: UUID
    user_id: UUID
    step: int
    next_at: datetime
    version: int = 0
    override_channel: Channel | None = None
    context: dict[str, Any] = {}


class _Decision(Struct, frozen=True, kw_only=True, tag_field="decision"):
    step: int
    reasons: tuple[Reason, ...]
    inputs: dict[str, Any]


class _Delivery(_Decision, frozen=True, kw_only=True):
    channel: Channel
    address: str
    scheduled_at: datetime
    expires_at: datetime
    template: str


class Send(_Delivery, frozen=True, kw_only=True, tag="send"):
    """Send the step to `address`, not after `expires_at`, in the words of a variant or of the person's tier."""

    variant: str | None = None
    tier: Tier | None = None


class Skip(_Delivery, frozen=True, kw_only=True, tag="skip"):
    """The step is not sent; the enrolment goes on. `channel` is the first that was considered."""

    code: str
    detail: str


class Expire(_Delivery, frozen=True, kw_only=True, tag="expire"):
    """The step is too late to be sent; the enrolment goes on."""

    code: str
    detail: str


class Fail(_Delivery, frozen=True, kw_only=True, tag="fail"):
    """The step cannot be made for this person. With code `unknown_person` the enrolment ends."""

    code: str
    detail: str


class Refused(_Decision, frozen=True, kw_only=True, tag="no_fallback"):
    """No fallback, and why."""


class Complete(_Decision, frozen=True, kw_only=True, tag="complete"):
    """There is no such step any more: the enrolment is over."""


class Wait(_Decision, frozen=True, kw_only=True, tag="wait"):
    """It is not time yet: ask again at `until`."""

    until: datetime


Decision = Send | Skip | Fail | Expire | Complete | Wait


class Refusal(Struct, frozen=True, kw_only=True):
    """Why a start is refused, with the HTTP status of the answer."""

    code: RefusalCode
    detail: str
    status: int


def plan(
    due: DueEnrolment,
    sequence: Sequence,
    person: Person | None,
    contacts: Contacts,
    now: datetime,
    available_channels: Collection[Channel] = ("email",),
) -> Decision:
    """What happens to a due enrolment at `now`. The same input gives the same decision."""
    step = sequence.step(due.step)
    inputs = inputs_of(due, sequence, step, person, contacts, now, available_channels)
    if step is None:
        text = f"Step {due.step} is beyond the last of {len(sequence.steps)}."
        return Complete(step=due.step, reasons=(Reason("no_more_steps", text),), inputs=inputs)
    if now < due.next_at:
        reason = Reason("not_due", "The step is not due yet.")
        return Wait(step=due.step, until=due.next_at, reasons=(reason,), inputs=inputs)
    lateness = sequence.lateness_of(step)
    open_to = _Open(contacts, available_channels, sequence.kind)
    channels, choice = _candidates(step, person, due.override_channel, open_to)
    found, reasons = _first_reachable(channels, open_to)
    frame: dict[str, Any] = {
        "step": due.step,
        "channel": found.channel if found else channels[0],
        "address": found.address if found else _address(contacts, channels[0]),
        "scheduled_at": due.next_at,
        "expires_at": due.next_at + lateness,
        "template": sequence.template_of(step),
        "inputs": inputs,
    }
    if person is None:
        gone = Reason("unknown_person", "The person is not known any more.")
        return Fail(**frame, code=gone.code, detail=gone.text, reasons=(gone,))
    doubts = _doubts(person)
    if now - due.next_at > lateness:
        late = Reason("too_late", f"The step is {_span(now - due.next_at)} late; it may be {_span(lateness)}.")
        return Expire(**frame, code=late.code, detail=late.text, reasons=(late, *doubts))
    if found is None:
        nowhere = Reason("no_reachable_channel", "No channel is left.")
        why = " ".join(reason.text for reason in reasons)
        return Skip(**frame, code=nowhere.code, detail=why, reasons=(choice, *reasons, nowhere, *doubts))
    words, why = words_for(step, sequence, person)
    return Send(**frame, **words, reasons=(choice, *reasons, REACHABLE[found.channel], *why, *doubts))


def words_for(step: Step, sequence: Sequence, person: Person) -> tuple[dict[str, Any], tuple[Reason, ...]]:
    if step.variants:
        variant = assign(step.variants, f"{sequence.type}:{step.name or step.body[:80]}", person.id)
        return {"variant": variant}, (Reason("variant", f"The person belongs to variant `{variant}`."),)
    tier = tier_of(person)
    if tier in step.wordings:
        text = f"An overall score of {score_of(person, 'overall'):.0f} gets the words for `{tier}`."
        return {"tier": tier}, (Reason("tier_wording", text),)
    return {}, ()


def failed(send: Send, code: str, detail: str) -> Fail:
    """The same decision after its words could not be made."""
    return Fail(
        step=send.step,
        channel=send.channel,
        address=send.address,
        scheduled_at=send.scheduled_at,
        expires_at=send.expires_at,
        template=send.template,
        inputs=send.inputs,
        reasons=(*send.reasons, Reason(code, detail)),
        code=code,
        detail=detail,
    )


def next_due(sequence: Sequence, step: int, planned_at: datetime, person: Person) -> datetime | None:
    """When the step after `step` is due if that was planned for `planned_at`; None after the last.

    With `step` 0 and the start's time, when the first step is due.
    """
    following = sequence.step(step + 1)
    return following and due_at(following, planned_at, person.timezone, person.preferred_time)


def first_refusal(
    *,
    sequence: Sequence | None,
    person: Person | None,
    contacts: Contacts,
    running: UUID | None = None,
    override_channel: Channel | None = None,
    available_channels: Collection[Channel] = ("email",),
) -> Refusal | None:
    """Why a start is refused, if it is. `running` is the person's active enrolment of that type."""
    if sequence is None:
        return _refusal("unknown_sequence", "There is no sequence of that type.")
    if person is None:
        return _refusal("unknown_person", "There is no such person.")
    if running is not None:
        return _refusal("already_running", f"The person is already in `{sequence.type}`: enrolment {running}.")
    open_to = _Open(contacts, available_channels, sequence.kind)
    channels, _ = _candidates(sequence.steps[0], person, override_channel, open_to)
    found, reasons = _first_reachable(channels, open_to)
    if found is None:
        return _refusal("no_reachable_channel", " ".join(reason.text for reason in reasons))
    return None


def _refusal(code: RefusalCode, detail: str) -> Refusal:
    return Refusal(code=code, detail=detail, status=REFUSAL_STATUS[code])


class _Open(NamedTuple):
    """What decides whether a channel may be used for a message of a kind."""

    contacts: Contacts
    available: Collection[Channel]
    kind: MessageKind

    def obstacle(self, channel: Channel) -> Reason | None:
        return obstacle(channel, self.contacts.get(channel), self.available, self.kind)


def _candidates(
    step: Step, person: Person | None, override: Channel | None, open_to: _Open
) -> tuple[tuple[Channel, ...], Reason]:
    asked = override or (None if step.channel == "auto" else step.channel)
    if asked:
        text = f"The start asked for {NAMES[asked]}." if override else f"The step is for {NAMES[asked]}."
        reason = Reason("override_channel" if override else "step_channel", text)
        hindrance = open_to.obstacle(asked)
        other = fallback_channel(step, asked)
        # A channel that cannot work is no refusal by the person: the step's fallback takes its place at once.
        if hindrance and hindrance.code in BINDING and other:
            return (asked, other), reason
        return (asked,), reason
    preferred = person.preferred_channel if person else None
    if preferred:
        order: tuple[Channel, ...] = (preferred, *(channel for channel in LAST_CHANNELS if channel != preferred))
        return order, Reason("preferred_channel", f"The person prefers {NAMES[preferred]}.")
    reachable: list[Channel] = [c for c in LAST_CHANNELS if open_to.obstacle(c) is None]
    ranked = by_score(person, reachable) if len(reachable) > 1 else ()
    if ranked and ranked[0] != LAST_CHANNELS[0]:
        scores = ", ".join(f"{NAMES[c]} {score_of(person, c):.0f}" for c in LAST_CHANNELS)
        return ranked, Reason("score_channel", f"The person responds best there: {scores}.")
    return LAST_CHANNELS, _NO_PREFERENCE


def fallback_channel(step: Step, used: Channel) -> Channel | None:
    """The channel that a step names for the case that `used` fails, if it names another."""
    if step.fallback == "auto":
        return next(channel for channel in LAST_CHANNELS if channel != used)
    return step.fallback if step.fallback not in ("none", used) else None


def _first_reachable(channels: tuple[Channel, ...], open_to: _Open) -> tuple[Contact | None, tuple[Reason, ...]]:
    passed: list[Reason] = []
    for channel in channels:
        hindrance = open_to.obstacle(channel)
        if hindrance is None:
            return open_to.contacts[channel], tuple(passed)
        passed.append(hindrance)
    return None, tuple(passed)


CLOSED = {
    "bounced": "mail to it came back",
    "complained": "the person reported a message as unwanted",
    "suppressed": "it is on the list of addresses that get no mail",
    "blocked": "the person blocked it, or it is gone",
}
"""What an address's state means, in words."""


def obstacle(
    channel: Channel, contact: Contact | None, available: Collection[Channel], kind: MessageKind
) -> Reason | None:
    """Why a channel cannot be used for messages of this kind, if it cannot."""
    name = NAMES[channel]
    if channel not in available:
        return Reason("channel_unavailable", f"{name} is not available here.")
    if contact is None or not contact.address:
        return Reason("no_address", f"There is no address for {name}.")
    if contact.consent != "granted":
        return Reason("consent_refused", f"The person refused {name}.")
    if kind not in contact.wants:
        return Reason("consent_refused", f"The person wants no {kind}s by {name}.")
    if contact.state != "ok":
        because = CLOSED.get(contact.state, contact.state)
        return Reason(f"contact_{contact.state}", f"The address for {name} is closed: {because}.")
    return None


def _address(contacts: Contacts, channel: Channel) -> str:
    contact = contacts.get(channel)
    return contact.address if contact else ""


def _doubts(person: Person) -> tuple[Reason, ...]:
    # Nearly everybody has a good zone and time, so the usual answer is one shared value.
    zone, time = known_zone(person.timezone), clock_time(person.preferred_time)
    if zone and time:
        return ()
    doubts: list[Reason] = []
    if not zone:
        doubts.append(Reason("unknown_timezone", f"`{person.timezone[:64]}` is no known time zone: UTC was used."))
    if not time:
        text = f"`{person.preferred_time[:64]}` is no known time of day: morning was used."
        doubts.append(Reason("unknown_preferred_time", text))
    return tuple(doubts)


def inputs_of(
    due: DueEnrolment,
    sequence: Sequence,
    step: Step | None,
    person: Person | None,
    contacts: Contacts,
    now: datetime,
    available: Collection[Channel],
) -> dict[str, Any]:
    # Addresses are not repeated here: the record outlives a person's wish to be forgotten.
    return {
        "now": now,
        "due_at": due.next_at,
        "sequence": sequence.type,
        "version": due.version,
        "step": due.step,
        "steps": len(sequence.steps),
        "step_channel": step.channel if step else None,
        "max_lateness": (step.max_lateness if step else None) or sequence.max_lateness,
        "override_channel": due.override_channel,
        "available_channels": sorted(available),
        "preferred_channel": person.preferred_channel if person else None,
        "preferred_time": person.preferred_time if person else None,
        "timezone": person.timezone if person else None,
        "scores": person.scores if person else {},
        "tier": tier_of(person),
        "kind": sequence.kind,
        "contacts": {c.channel: {"state": c.state, "consent": c.consent, "wants": c.wants} for c in contacts.values()},
    }


def _span(span: timedelta) -> str:
    minutes = int(span.total_seconds() // 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


NAMES: dict[Channel, str] = {"email": "Email", "telegram": "Telegram"}
REACHABLE: dict[Channel, Reason] = {
    channel: Reason("reachable", f"{name} works and the person agreed to it.") for channel, name in NAMES.items()
}
_NO_PREFERENCE = Reason("default_channel", "The person prefers no channel, so email comes first.")
