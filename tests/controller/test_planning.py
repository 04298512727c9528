"""Decisions: the same facts give the same answer, and every answer says why."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nurture_contracts.base import Channel
from nurture_controller.people import Contact, Person
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
    first_refusal,
    next_due,
    plan,
)
from nurture_controller.sequence import MessageStep, Sequence

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
ADA = Person(id=UUID(int=7), first_name="Ada", timezone="Europe/Berlin")
EMAIL = Contact(channel="email", address="ada@example.com")
TELEGRAM = Contact(channel="telegram", address="4711")
BOTH: tuple[Channel, ...] = ("email", "telegram")


def sequence(**step: Any) -> Sequence:
    first = MessageStep(**({"when": "now", "subject": "s", "body": "b"} | step))
    return Sequence(
        format=1, type="onboarding", title="O", steps=(first, MessageStep(delay="1d", subject="s", body="b"))
    )


def enrolment(**changes: Any) -> DueEnrolment:
    return DueEnrolment(**({"id": UUID(int=1), "user_id": ADA.id, "step": 1, "next_at": NOW, "version": 3} | changes))


def contacts(*known: Contact) -> dict[Channel, Contact]:
    return {contact.channel: contact for contact in known}


def codes(decision: Decision) -> list[str]:
    return [reason.code for reason in decision.reasons]


def test_a_due_step_is_sent() -> None:
    decision = plan(enrolment(), sequence(), ADA, contacts(EMAIL), NOW + timedelta(minutes=5))
    assert isinstance(decision, Send)
    assert (decision.step, decision.channel, decision.address) == (1, "email", "ada@example.com")
    assert (decision.scheduled_at, decision.expires_at) == (NOW, NOW + timedelta(hours=24))
    assert decision.template == "nurture_sequence"
    assert codes(decision) == ["default_channel", "reachable"]
    assert decision.inputs["sequence"] == "onboarding" and decision.inputs["version"] == 3
    assert "ada@example.com" not in msgspec.json.encode(decision.inputs).decode()


@pytest.mark.parametrize(
    ("override", "step_channel", "preferred", "chosen", "why"),
    [
        ("telegram", "email", "email", "telegram", "override_channel"),
        (None, "telegram", "email", "telegram", "step_channel"),
        (None, "auto", "telegram", "telegram", "preferred_channel"),
        (None, "auto", "email", "email", "preferred_channel"),
        (None, "auto", None, "email", "default_channel"),
    ],
)
def test_the_channel_comes_from_the_strongest_wish(
    override: Channel | None, step_channel: str, preferred: Channel | None, chosen: str, why: str
) -> None:
    person = msgspec.structs.replace(ADA, preferred_channel=preferred)
    due = enrolment(override_channel=override)
    decision = plan(due, sequence(channel=step_channel), person, contacts(EMAIL, TELEGRAM), NOW, BOTH)
    assert isinstance(decision, Send) and decision.channel == chosen and codes(decision)[0] == why


def test_auto_goes_on_to_the_next_channel_and_says_so() -> None:
    person = msgspec.structs.replace(ADA, preferred_channel="telegram")
    decision = plan(enrolment(), sequence(), person, contacts(EMAIL, TELEGRAM), NOW)
    assert isinstance(decision, Send) and decision.channel == "email"
    assert codes(decision) == ["preferred_channel", "channel_unavailable", "reachable"]
    without = plan(enrolment(), sequence(), ADA, contacts(TELEGRAM), NOW, BOTH)
    assert isinstance(without, Send) and without.channel == "telegram" and "no_address" in codes(without)


@pytest.mark.parametrize(
    ("contact", "code"),
    [
        (None, "no_address"),
        (Contact(channel="email", address=""), "no_address"),
        (Contact(channel="email", address="a@b", consent="refused"), "consent_refused"),
        (Contact(channel="email", address="a@b", state="bounced"), "contact_bounced"),
        (Contact(channel="email", address="a@b", state="complained"), "contact_complained"),
        (Contact(channel="email", address="a@b", state="suppressed"), "contact_suppressed"),
    ],
)
def test_somebody_out_of_reach_is_skipped_with_the_reason(contact: Contact | None, code: str) -> None:
    known = contacts(contact) if contact else {}
    decision = plan(enrolment(), sequence(channel="email"), ADA, known, NOW)
    assert isinstance(decision, Skip) and decision.code == "no_reachable_channel"
    assert codes(decision) == ["step_channel", code, "no_reachable_channel"] and decision.detail
    refusal = first_refusal(sequence=sequence(channel="email"), person=ADA, contacts=known)
    assert refusal is not None and (refusal.code, refusal.status) == ("no_reachable_channel", 422)


@pytest.mark.parametrize(
    ("type", "wants", "sends"),
    [
        ("onboarding", ("sequence",), True),
        ("onboarding", ("announcement",), False),
        ("announcement", ("announcement",), True),
        ("announcement", ("sequence",), False),
        ("announcements-2026", ("sequence",), False),
        ("announcement_spring", ("sequence",), False),
        ("announcer", ("sequence",), True),
        ("no-announcement", ("sequence",), True),
    ],
)
def test_each_kind_of_message_goes_to_those_who_want_it(type: str, wants: Any, sends: bool) -> None:
    of = msgspec.structs.replace(sequence(channel="email", fallback="telegram"), type=type)
    known = contacts(msgspec.structs.replace(EMAIL, wants=wants), TELEGRAM)
    decision = plan(enrolment(), of, ADA, known, NOW, BOTH)
    assert decision.inputs["contacts"]["email"]["wants"] == wants
    if sends:
        assert isinstance(decision, Send) and decision.channel == "email"
        return
    # Not wanting it there is a refusal, which is no reason to try the other channel.
    assert isinstance(decision, Skip) and codes(decision)[1] == "consent_refused"
    assert decision.detail == f"The person wants no {decision.inputs['kind']}s by Email."
    refusal = first_refusal(sequence=of, person=ADA, contacts=known, available_channels=BOTH)
    assert refusal is not None and refusal.detail == decision.detail
    # Where the channel is left open, another one on which it is wanted is taken.
    free = plan(enrolment(), msgspec.structs.replace(sequence(), type=type), ADA, known, NOW, BOTH)
    assert isinstance(free, Send) and free.channel == "telegram"


def test_an_asked_for_channel_is_never_replaced() -> None:
    decision = plan(enrolment(override_channel="telegram"), sequence(), ADA, contacts(EMAIL, TELEGRAM), NOW)
    assert isinstance(decision, Skip) and decision.channel == "telegram" and "channel_unavailable" in codes(decision)


def test_too_late_expires_and_just_in_time_does_not() -> None:
    kept = sequence(max_lateness="2h")
    assert isinstance(plan(enrolment(), kept, ADA, contacts(EMAIL), NOW + timedelta(hours=2)), Send)
    late = plan(enrolment(), kept, ADA, contacts(EMAIL), NOW + timedelta(hours=2, seconds=1))
    assert isinstance(late, Expire) and late.code == "too_late" and late.channel == "email"


def test_not_yet_waits_and_beyond_the_end_completes() -> None:
    early = plan(enrolment(next_at=NOW + timedelta(hours=1)), sequence(), ADA, contacts(EMAIL), NOW)
    assert isinstance(early, Wait) and early.until == NOW + timedelta(hours=1)
    assert isinstance(plan(enrolment(step=3), sequence(), ADA, contacts(EMAIL), NOW), Complete)


def test_a_person_who_is_gone_fails() -> None:
    decision = plan(enrolment(), sequence(), None, {}, NOW)
    assert isinstance(decision, Fail) and decision.code == "unknown_person"


def test_doubtful_settings_are_told() -> None:
    person = msgspec.structs.replace(ADA, timezone="Mars/Olympus", preferred_time="whenever")
    decision = plan(enrolment(), sequence(), person, contacts(EMAIL), NOW)
    assert isinstance(decision, Send) and codes(decision)[-2:] == ["unknown_timezone", "unknown_preferred_time"]


def test_words_that_cannot_be_made_turn_a_send_into_a_failure() -> None:
    decision = plan(enrolment(), sequence(), ADA, contacts(EMAIL), NOW)
    assert isinstance(decision, Send)
    after = failed(decision, "wording_failed", "`context.a` has no value and no default")
    assert (after.code, after.channel, after.scheduled_at) == ("wording_failed", "email", NOW)
    assert codes(after) == [*codes(decision), "wording_failed"]


def test_next_due_leads_through_the_sequence() -> None:
    assert next_due(sequence(), 0, NOW, ADA) == NOW
    assert next_due(sequence(), 1, NOW, ADA) == datetime(2026, 6, 2, 7, tzinfo=UTC)
    assert next_due(sequence(), 2, NOW, ADA) is None


def test_refusals_come_in_order_and_name_what_runs() -> None:
    fine: dict[str, Any] = {"sequence": sequence(), "person": ADA, "contacts": contacts(EMAIL)}
    assert first_refusal(**fine) is None
    running = first_refusal(**fine, running=UUID(int=9))
    assert running is not None and (running.code, running.status) == ("already_running", 409)
    assert str(UUID(int=9)) in running.detail
    nobody = first_refusal(**fine | {"person": None}, running=UUID(int=9))
    assert nobody is not None and (nobody.code, nobody.status) == ("unknown_person", 404)
    nothing = first_refusal(**fine | {"sequence": None, "person": None})
    assert nothing is not None and (nothing.code, nothing.status) == ("unknown_sequence", 422)


CHANNEL = st.sampled_from(["email", "telegram"])
CONTACT = st.builds(
    Contact,
    channel=CHANNEL,
    address=st.sampled_from(["", "somewhere"]),
    state=st.sampled_from(["ok", "bounced", "complained", "suppressed", "blocked"]),
    consent=st.sampled_from(["granted", "refused"]),
)
PERSON = st.none() | st.builds(
    Person,
    id=st.just(ADA.id),
    first_name=st.text(max_size=5),
    timezone=st.sampled_from(["UTC", "Asia/Kathmandu", "?"]),
    preferred_channel=st.none() | CHANNEL,
    preferred_time=st.sampled_from(["morning", "22:15", "?"]),
)


@given(
    step=st.integers(1, 3),
    hours=st.integers(-2, 40),
    override=st.none() | CHANNEL,
    channel=st.sampled_from(["auto", "email", "telegram"]),
    person=PERSON,
    known=st.lists(CONTACT, max_size=2),
    available=st.sampled_from([("email",), ("email", "telegram"), ()]),
)
def test_plan_is_pure_and_never_sends_where_it_may_not(
    step: int,
    hours: int,
    override: Any,
    channel: str,
    person: Person | None,
    known: list[Contact],
    available: tuple[Channel, ...],
) -> None:
    due = enrolment(step=step, override_channel=override)
    reach, of = contacts(*known), sequence(channel=channel)
    now = NOW + timedelta(hours=hours)
    before = msgspec.json.encode((due, person, reach, of))
    decision = plan(due, of, person, reach, now, available)
    assert decision == plan(due, of, person, dict(reach), now, available)
    assert msgspec.json.encode((due, person, reach, of)) == before
    assert decision.reasons and decision.inputs["now"] == now
    msgspec.json.encode(decision)
    if isinstance(decision, Send):
        contact = reach[decision.channel]
        assert decision.channel in available and (contact.state, contact.consent) == ("ok", "granted")
        assert decision.address == contact.address != ""
        assert decision.scheduled_at <= now <= decision.expires_at
        assert override in (None, decision.channel)
