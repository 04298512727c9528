"""C1 and C2 on a good history, and on the same history with one thing planted that must be found."""

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from nurture_local.verify import checks
from nurture_local.verify.history import Command, Enrolment, Request, Snapshot, StartJob

from tests.local.made_history import CALM, Broken, at, good, one_of, planted, second_effect, with_claim


@pytest.mark.parametrize("blind", ["nothing", "ledger", "bus", "both"])
def test_a_good_history_is_good_whatever_could_be_seen(blind: str) -> None:
    history = good().snapshot()
    history = replace(
        history,
        ledger=None if blind in ("ledger", "both") else history.ledger,
        bus=None if blind in ("bus", "both") else history.bus,
    )
    for check in (
        checks.c1_duplicates, checks.c2_loss, checks.c3_truth, checks.c4_phantoms, checks.c5_window, checks.c6_projections,
        checks.c7_order, checks.c8_liveness, checks.c9_suppression, checks.c10_schedule, checks.c11_counts, checks.c12_bus,
    ):  # fmt: skip
        verdict = check(history)
        assert verdict.bad == [] and verdict.open == [], verdict.line


def second_effect_without_a_name(history: Snapshot) -> tuple[Snapshot, UUID]:
    """A chat message without any link of ours names no delivery; the provider's id ties the first to one."""
    one = one_of(history, "telegram", "clicked")
    assert history.ledger is not None
    ledger = [
        replace(effect, delivery_id=None) if effect.delivery_id == one.id else effect for effect in history.ledger
    ]
    (effect,) = [effect for effect in ledger if effect.delivery_id is None]
    return replace(history, ledger=[*ledger, replace(effect, seq=99, provider_id="another")]), one.id


def key_with_two_moments(history: Snapshot) -> tuple[Snapshot, str]:
    assert history.ledger is not None
    first = next(effect for effect in history.ledger if effect.key)
    other = next(effect for effect in history.ledger if effect.key and effect.key != first.key)
    ledger = [replace(effect, key=first.key) if effect is other else effect for effect in history.ledger]
    ledger = [
        replace(effect, real_at=effect.real_at + 1) if effect.key and effect.seq == other.seq else effect
        for effect in ledger
    ]
    return replace(history, ledger=ledger), str(first.key)


def two_claims(history: Snapshot) -> tuple[Snapshot, UUID]:
    one = one_of(history, "email", "clicked")
    (claim,) = [claim for claim in history.claims if one.id in claim.members]
    again = replace(claim, id=uuid4(), state="open", lease_until=at(1060), results={}, settled_at=None)
    return replace(history, claims=[*history.claims, again]), one.id


def two_provider_ids(history: Snapshot) -> tuple[Snapshot, UUID]:
    one = one_of(history, "email", "clicked")
    webhook = replace(history.events[0], event_id=uuid4(), delivery_id=one.id, provider_id="em_other", kind="delivered")
    return replace(history, events=[*history.events, webhook]), one.id


def second_plan(history: Snapshot) -> tuple[Snapshot, UUID]:
    one = one_of(history, "email", "clicked")
    again = replace(one, id=uuid4())
    return replace(history, deliveries={**history.deliveries, again.id: again}), again.id


def second_channel(history: Snapshot) -> tuple[Snapshot, UUID]:
    one = one_of(history, "email", "clicked")
    again = replace(one, id=uuid4(), channel="telegram")
    return replace(history, deliveries={**history.deliveries, again.id: again}), again.id


def second_round(history: Snapshot) -> tuple[Snapshot, UUID]:
    one = one_of(history, "email", "unknown")
    again = replace(one, id=uuid4(), round=1)
    return replace(history, deliveries={**history.deliveries, again.id: again}), again.id


def fallback_without_failure(history: Snapshot) -> tuple[Snapshot, UUID]:
    one = one_of(history, "email", "unknown")
    again = replace(one, id=uuid4(), channel="telegram", fallback_of=one.id)
    return replace(history, deliveries={**history.deliveries, again.id: again}), again.id


@pytest.mark.parametrize(
    ("break_it", "why"),
    [
        (second_effect, "2 effects in the ledger"),
        (second_effect_without_a_name, "2 effects in the ledger"),
        (key_with_two_moments, "took effect 2 times"),
        (two_claims, "may have arrived by 2 claims"),
        (two_provider_ids, "2 provider ids"),
        (second_plan, "a second delivery of step 1"),
        (second_channel, "this is no fallback"),
        (second_round, "no operator asked"),
        (fallback_without_failure, "never failed"),
    ],
)
def test_c1_finds(break_it: Broken, why: str) -> None:
    planted(break_it, checks.c1_duplicates, why)


def test_c1_lists_what_a_step_allows() -> None:
    history, id = second_effect(good().snapshot())
    assert isinstance(id, UUID)
    history.deliveries[id].on_ambiguous = "retry"
    verdict = checks.c1_duplicates(history)
    assert (verdict.bad, [one.id for one in verdict.listed]) == ([], [str(id)])


def test_c1_takes_an_operators_round() -> None:
    history, id = second_round(good().snapshot())
    assert isinstance(id, UUID)
    history.deliveries[id].by_operator = True
    assert checks.c1_duplicates(history).ok


def test_c1_knows_that_a_settled_claim_without_a_word_sent_nothing() -> None:
    """A refused half: the members come again under a new key, and that is no second sending."""
    history = good().snapshot()
    one = one_of(history, "email", "clicked")
    (claim,) = [claim for claim in history.claims if one.id in claim.members]
    earlier = replace(claim, id=uuid4(), results={}, may_have_arrived=False, created_at=at(0.2))
    assert checks.c1_duplicates(replace(history, claims=[earlier, *history.claims])).ok


@CALM
@given(st.lists(st.integers(min_value=1, max_value=3), min_size=1, max_size=8))
def test_c1_finds_exactly_those_with_more_than_one_effect(times: list[int]) -> None:
    made = good()
    wanted = set()
    for number in times:
        user, email, _ = made.person()
        one = made.email(made.start(user), email)
        for _ in range(number - 1):
            made.taken(one, 30, f"again-{len(made.effects)}")
        wanted |= {str(one.id)} if number > 1 else set()
    assert {bad.id for bad in checks.c1_duplicates(made.snapshot()).bad} == wanted


def lost_command(history: Snapshot) -> tuple[Snapshot, UUID]:
    id = next(iter(history.commands))
    answers = {key: answer for key, answer in history.answers.items() if key != id}
    command = replace(history.commands[id], state="accepted", status=None, settled_at=None)
    enrolments = {key: one for key, one in history.enrolments.items() if one.command_id != id}
    deliveries = {key: one for key, one in history.deliveries.items() if one.enrolment_id in enrolments}
    return replace(
        history, commands={**history.commands, id: command}, answers=answers, enrolments=enrolments, deliveries=deliveries
    ), id  # fmt: skip


def lost_enrolment(history: Snapshot) -> tuple[Snapshot, UUID]:
    command = next(iter(history.commands.values()))
    enrolments = {key: one for key, one in history.enrolments.items() if one.command_id != command.id}
    return replace(history, enrolments=enrolments), command.id


def told_otherwise(history: Snapshot) -> tuple[Snapshot, UUID]:
    id = next(iter(history.commands))
    return replace(history, commands={**history.commands, id: replace(history.commands[id], status=409)}), id


def missing_step(history: Snapshot) -> tuple[Snapshot, UUID]:
    one = next(iter(history.enrolments.values()))
    return replace(history, enrolments={**history.enrolments, one.id: replace(one, step=3)}), one.id


def never_taken_over(history: Snapshot) -> tuple[Snapshot, UUID]:
    """The wake-up was acked and no page was written."""
    one = one_of(history, "email", "unknown")
    pages = [page for page in history.pages if one.id not in page.members]
    claims = [claim for claim in history.claims if one.id not in claim.members]
    return _pending(replace(history, pages=pages, claims=claims), one.id), one.id


def page_without_claim(history: Snapshot) -> tuple[Snapshot, UUID]:
    one = one_of(history, "email", "unknown")
    return _pending(replace(history, claims=[c for c in history.claims if one.id not in c.members]), one.id), one.id


def page_without_claim_in_telegram(history: Snapshot) -> tuple[Snapshot, UUID]:
    one = one_of(history, "telegram", "unknown")
    claims = {id: claim for id, claim in history.telegram_claims.items() if id != one.id}
    return _pending(replace(history, telegram_claims=claims), one.id), one.id


def claim_without_a_word(history: Snapshot) -> tuple[Snapshot, UUID]:
    one = one_of(history, "email", "unknown")
    return _pending(with_claim(history, one.id, results={}), one.id), one.id


def settlement_never_heard(history: Snapshot) -> tuple[Snapshot, UUID]:
    one = one_of(history, "telegram", "unknown")
    return _pending(history, one.id), one.id


def _pending(history: Snapshot, id: UUID) -> Snapshot:
    events = [event for event in history.events if event.delivery_id != id]
    blank = replace(history.deliveries[id], unknown_at=None, failure_reason=None, attempts=0, status="pending")
    return replace(history, deliveries={**history.deliveries, id: blank}, events=events)


def request_never_planned(history: Snapshot) -> tuple[Snapshot, UUID]:
    one = Request(id=uuid4(), sequence_type="reminder", requested_at=at(0), next_at=None, cancelled_at=None)
    return replace(history, requests=[one]), one.id


@pytest.mark.parametrize(
    ("break_it", "why"),
    [
        (request_never_planned, "its delivery is not there"),
        (lost_command, "nothing is on its way"),
        (lost_enrolment, "there are 0 enrolments"),
        (told_otherwise, "the caller was told 409"),
        (missing_step, "no delivery of step 2"),
        (never_taken_over, "email does not know it: and nothing is on its way"),
        (page_without_claim, "no claim has it"),
        (page_without_claim_in_telegram, "it has no claim"),
        (claim_without_a_word, "settled without a word"),
        (settlement_never_heard, "the controller has not heard: and nothing is on its way"),
    ],
)
def test_c2_finds(break_it: Broken, why: str) -> None:
    planted(break_it, checks.c2_loss, why)


@pytest.mark.parametrize(
    ("durable", "break_it"),
    [
        ("email-send", never_taken_over),
        ("controller-telegram-settled", settlement_never_heard),
        ("controller-start", lost_command),
    ],
)
def test_c2_does_not_cry_while_a_message_is_on_its_way(durable: str, break_it: Broken) -> None:
    history, id = break_it(good().snapshot())
    assert history.bus is not None
    consumers = [replace(one, ack_pending=1) if one.durable == durable else one for one in history.bus.consumers]
    verdict = checks.c2_loss(replace(history, bus=replace(history.bus, consumers=consumers)))
    assert (verdict.bad, [one.id for one in verdict.open]) == ([], [str(id)])
    assert checks.c2_loss(replace(history, bus=None)).ok
    assert [bad.id for bad in checks.c2_loss(replace(history, bus=None), quiet=True).bad] == [str(id)]


def test_c2_does_not_cry_while_an_outbox_has_not_spoken() -> None:
    history, id = never_taken_over(good().snapshot())
    outbox = [
        replace(letter, published_at=None) if letter.subject.endswith("send_emails") else letter
        for letter in history.outbox
    ]
    verdict = checks.c2_loss(replace(history, outbox=outbox))
    assert (verdict.bad, [one.id for one in verdict.open]) == ([], [str(id)])


def test_c2_does_not_cry_while_a_room_has_not_said_again_what_the_bus_lost() -> None:
    history, id = never_taken_over(good().snapshot())
    verdict = checks.c2_loss(replace(history, refilling=frozenset({"controller"})))
    assert (verdict.bad, [one.id for one in verdict.open]) == ([], [str(id)])
    assert not checks.c2_loss(replace(history, refilling=frozenset({"email"}))).ok


@pytest.mark.parametrize("state", ["open", "waiting page", "sending"])
def test_c2_lists_what_waits_in_a_channel_as_open(state: str) -> None:
    history = good().snapshot()
    one = one_of(history, "telegram" if state == "sending" else "email", "unknown")
    history = _pending(history, one.id)
    if state == "open":
        history = with_claim(history, one.id, state="open", results={}, settled_at=None)
    elif state == "waiting page":
        claims = [claim for claim in history.claims if one.id not in claim.members]
        pages = [replace(page, claim_id=None) if one.id in page.members else page for page in history.pages]
        history = replace(history, claims=claims, pages=pages)
    else:
        claim = replace(history.telegram_claims[one.id], state="sending", outcome=None, lease_until=at(1060))
        history = replace(history, telegram_claims={**history.telegram_claims, one.id: claim})
    verdict = checks.c2_loss(history)
    assert (verdict.bad, [item.id for item in verdict.open]) == ([], [str(one.id)])
    assert not checks.c2_loss(history, quiet=True).ok


def test_c2_believes_the_client_that_saw_its_command_accepted() -> None:
    id = uuid4()
    assert [bad.id for bad in checks.c2_loss(good().snapshot(), accepted=[id]).bad] == [str(id)]


def test_c2_of_a_job_that_is_not_done() -> None:
    history = good().snapshot()
    command = Command(id=uuid4(), kind="trigger", state="accepted", created_at=at(900), expires_at=at(10**6))
    job = StartJob(command_id=command.id, people=100, cursor=10, started=0, running=0, done=False)
    history = replace(history, commands={**history.commands, command.id: command}, jobs={command.id: job})
    verdict = checks.c2_loss(history)
    assert verdict.ok and "10 of 100 people" in verdict.open[0].why
    miscounted = replace(history, jobs={command.id: replace(job, started=7)})
    assert "7 people started, and there are 0" in checks.c2_loss(miscounted).bad[0].why


def test_c2_takes_a_message_that_was_asked_for_in_sql() -> None:
    """Its enrolment is its own command, and its one step may have any number."""
    made = good()
    user, email, _ = made.person()
    asked, step = made.id(), 3
    made.enrolments[asked] = Enrolment(
        id=asked,
        command_id=asked,
        user_id=user,
        sequence_type="reminder",
        step=step + 1,
        state="completed",
        started_at=at(0),
    )
    one = made.email(made.enrolments[asked], email)
    one.step = step
    history = made.snapshot()
    cancelled = Request(id=uuid4(), sequence_type="r", requested_at=at(0), next_at=None, cancelled_at=at(1))
    assert checks.c2_loss(replace(history, requests=[cancelled])).ok
    without = {id: delivery for id, delivery in history.deliveries.items() if id != one.id}
    assert str(asked) in {bad.id for bad in checks.c2_loss(replace(history, deliveries=without)).bad}
