"""C6, C7 and C11: rows against their log, scores against their formula, every count against every other."""

import random
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from nurture_controller import folding
from nurture_local.verify import checks
from nurture_local.verify.analytics import recounted
from nurture_local.verify.fold import fold
from nurture_local.verify.history import Counted, DeadLetter, Delivery, Event, Occasion, Snapshot
from nurture_local.verify.log import EventLog
from nurture_local.verify.scores import credit, sums
from nurture_scoring import credits as theirs
from nurture_scoring import recompute
from nurture_scoring.folding import Message

from tests.local.made_history import CALM, T0, Broken, at, good, one_of, planted

# The facts


def fact_lost(history: Snapshot) -> tuple[Snapshot, UUID]:
    one = one_of(history, "email", "clicked")
    return replace(history, deliveries={**history.deliveries, one.id: replace(one, delivered_at=None)}), one.id


def fact_later(history: Snapshot) -> tuple[Snapshot, UUID]:
    one = one_of(history, "email", "clicked")
    return replace(history, deliveries={**history.deliveries, one.id: replace(one, delivered_at=at(4))}), one.id


def fact_made_up(history: Snapshot) -> tuple[Snapshot, UUID]:
    one = one_of(history, "email", "delivered")
    return replace(history, deliveries={**history.deliveries, one.id: replace(one, opened_at=at(9))}), one.id


def status_wrong(history: Snapshot) -> tuple[Snapshot, UUID]:
    one = one_of(history, "email", "clicked")
    return replace(history, deliveries={**history.deliveries, one.id: replace(one, status="delivered")}), one.id


def attempts_wrong(history: Snapshot) -> tuple[Snapshot, UUID]:
    one = one_of(history, "email", "clicked")
    return replace(history, deliveries={**history.deliveries, one.id: replace(one, attempts=3)}), one.id


def log_of_nobody(history: Snapshot) -> tuple[Snapshot, UUID]:
    id = uuid4()
    return replace(history, events=[*history.events, replace(history.events[0], event_id=uuid4(), delivery_id=id)]), id


def settlement_not_logged(history: Snapshot) -> tuple[Snapshot, UUID]:
    """A late answer: Telegram took it after all, and the controller never heard."""
    one = one_of(history, "telegram", "unknown")
    claim = replace(history.telegram_claims[one.id], outcome="accepted", provider_id="1:2")
    return replace(history, telegram_claims={**history.telegram_claims, one.id: claim}), one.id


# The scores


def credit_lost(history: Snapshot) -> tuple[Snapshot, UUID]:
    one = one_of(history, "telegram", "clicked")
    kept = [credit for credit in history.scores.credits if credit.delivery_id != one.id]
    return replace(history, scores=replace(history.scores, credits=kept)), one.id


def answer_lost(history: Snapshot) -> tuple[Snapshot, UUID]:
    one = one_of(history, "telegram", "clicked")
    kept = [replace(c, signals=()) if c.delivery_id == one.id else c for c in history.scores.credits]
    return replace(history, scores=replace(history.scores, credits=kept)), one.id


def credit_wrong(history: Snapshot) -> tuple[Snapshot, UUID]:
    one = one_of(history, "telegram", "clicked")
    kept = [replace(c, credit=0.5) if c.delivery_id == one.id else c for c in history.scores.credits]
    return replace(history, scores=replace(history.scores, credits=kept)), one.id


def goal_not_credited(history: Snapshot) -> tuple[Snapshot, UUID]:
    one = one_of(history, "telegram", "clicked")
    goal = Occasion(user_id=one.user_id, event="bought", at=at(500).timestamp())
    # The last message before it is what it is owed to.
    owed = max((c for c in history.scores.credits if c.user_id == one.user_id), key=lambda c: c.delivered_at or 0)
    return replace(history, scores=replace(history.scores, occasions=[goal])), owed.delivery_id


def counted_twice(history: Snapshot) -> tuple[Snapshot, UUID]:
    """An answer that was folded twice: no inbox."""
    one = one_of(history, "telegram", "clicked")
    r, n = history.scores.states[one.user_id, "telegram"]
    states = {**history.scores.states, (one.user_id, "telegram"): (r * 2, n)}
    return replace(history, scores=replace(history.scores, states=states)), one.user_id


def mean_wrong(history: Snapshot) -> tuple[Snapshot, str]:
    r, n = history.scores.means["email"]
    return replace(
        history, scores=replace(history.scores, means={**history.scores.means, "email": (r, n + 1)})
    ), "everybody"


def not_in_the_stream(history: Snapshot) -> tuple[Snapshot, UUID]:
    assert history.bus is not None and history.bus.messages is not None
    letter = history.outbox[0]
    kept = [message for message in history.bus.messages if message.msg_id != str(letter.id)]
    return replace(history, bus=replace(history.bus, messages=kept)), letter.id


@pytest.mark.parametrize(
    ("break_it", "why"),
    [
        (fact_lost, "delivered_at is nothing"),
        (fact_later, "delivered_at is"),
        (fact_made_up, "the log says nothing"),
        (status_wrong, "status is delivered, and the log says clicked"),
        (attempts_wrong, "attempts is 3"),
        (log_of_nobody, "nobody planned"),
        (settlement_not_logged, "ended accepted, and the log has no word"),
        (credit_lost, "scoring has it delivered at None"),
        (answer_lost, "with 0 answers"),
        (credit_wrong, "its answers are worth 1"),
        (goal_not_credited, "with a goal at None"),
        (counted_twice, "telegram R and N are"),
        (mean_wrong, "email R and N are"),
        (not_in_the_stream, "COMMANDS does not have it"),
    ],
)
def test_c6_finds(break_it: Broken, why: str) -> None:
    planted(break_it, checks.c6_projections, why)


def test_c6_does_not_cry_while_rooms_have_not_heard_everything() -> None:
    for durable, break_it in (
        ("controller-telegram-settled", settlement_not_logged),
        ("scoring-telegram-observed", answer_lost),
    ):
        history, id = break_it(good().snapshot())
        assert history.bus is not None
        consumers = [replace(one, pending=3) if one.durable == durable else one for one in history.bus.consumers]
        verdict = checks.c6_projections(replace(history, bus=replace(history.bus, consumers=consumers)))
        assert str(id) in {one.id for one in verdict.open}
        assert all("worth" in bad.why or "R and N" in bad.why for bad in verdict.bad)


def test_c6_leaves_out_what_scoring_refused_and_says_so_in_a_dead_letter() -> None:
    history, id = credit_lost(good().snapshot())
    letter = DeadLetter(
        room="scoring", id=uuid4(), durable="scoring-email-observed", reason="at is more than a day ahead of now", at=at(5),
        payload=f'{{"items":[{{"delivery_id":"{id}"}}]}}'.encode(),
    )  # fmt: skip
    verdict = checks.c6_projections(replace(history, dead_letters=[letter]))
    assert str(id) not in {bad.id for bad in verdict.bad}


def test_c6_takes_a_stream_that_was_made_anew() -> None:
    history, _ = not_in_the_stream(good().snapshot())
    assert history.bus is not None
    streams = [replace(one, created_at=at(900)) for one in history.bus.streams]
    assert checks.c6_projections(replace(history, bus=replace(history.bus, streams=streams))).ok
    assert checks.c6_projections(history, streams=False).ok


# Order

KINDS = ("sent", "delivered", "opened", "clicked", "pressed", "replied", "bounced", "complained", "failed", "suppressed",
         "cancelled", "expired", "unknown", "delayed", "unsubscribed")  # fmt: skip
EVENTS = st.lists(
    st.builds(
        lambda kind, seconds, maker, reason, provider: Event(
            event_id=uuid4(), delivery_id=UUID(int=1), kind=kind, at=at(seconds), received_at=at(seconds + 1), signal=maker,
            reason=reason, provider_id=provider,
        ),
        st.sampled_from(KINDS), st.integers(0, 50), st.sampled_from(["human", "unknown", "machine"]),
        st.sampled_from([None, "a", "b"]), st.sampled_from([None, "p", "q"]),
    ),
    max_size=12,
)  # fmt: skip


def a_delivery(channel: str = "email") -> Delivery:
    return Delivery(
        id=UUID(int=1), enrolment_id=UUID(int=2), user_id=UUID(int=3), sequence_type="s", step=1, channel=channel,
        scheduled_at=T0, created_at=T0, expires_at=T0, address="a",
    )  # fmt: skip


@CALM
@given(EVENTS, st.randoms(use_true_random=False))
def test_the_fold_does_not_care_about_order_and_repetition(events: list[Event], mixer: random.Random) -> None:
    mixed = events * 3
    mixer.shuffle(mixed)
    assert fold(a_delivery(), mixed) == fold(a_delivery(), events)


@CALM
@given(EVENTS)
def test_the_fold_is_the_controllers(events: list[Event]) -> None:
    """The checker has its own; what the controller would write is what it expects."""
    rows = [
        {"delivery_id": e.delivery_id, "kind": e.kind, "at": e.at, "provider_id": e.provider_id,
         "detail": {"reason": e.reason} if e.reason else {}}
        for e in events
    ]  # fmt: skip
    own = fold(a_delivery(), events)
    told = folding.facts(rows)
    if not told:
        assert (own.facts, own.status) == ({}, "pending")
        return
    (one,) = told
    wanted = {kind: getattr(one, f"{kind}_at") for kind in one.known}
    assert (own.facts, own.reason, own.provider_id, own.status) == (wanted, one.reason, one.provider_id, one.status)


SIGNALS = st.lists(
    st.tuples(
        st.sampled_from(["opened", "clicked", "pressed", "replied"]), st.integers(0, 60).map(float),
        st.sampled_from(["human", "unknown", "machine"]), st.sampled_from([None, "a", "b", "c"]),
    ),
    max_size=10, unique=True,
)  # fmt: skip


@CALM
@given(
    SIGNALS, st.one_of(st.none(), st.integers(0, 30).map(float)), st.one_of(st.none(), st.just(40.0)),
    st.sampled_from(["email", "telegram"]),
)  # fmt: skip
def test_credits_are_scorings(signals: list, delivered: float | None, goal: float | None, channel: Any) -> None:
    room = [theirs.Signal(kind=kind, at=at_, signal=maker, link=link) for kind, at_, maker, link in signals]
    assert credit(signals, delivered, channel, goal) == theirs.credit(room, delivered, channel, goal)


@settings(CALM, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40), SIGNALS), max_size=8), st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["attended", "missed", "commitment_kept", "bought"]), st.integers(0, 60)),
    max_size=6))  # fmt: skip
def test_sums_are_scorings(messages: list, occasions: list) -> None:
    from nurture_local.verify import history as h
    from nurture_local.verify.scores import goals_owed

    day = 86_400.0
    people = [UUID(int=one + 1) for one in range(3)]
    rows, room = [], []
    for number, (who, days, signals) in enumerate(messages):
        id, delivered = UUID(int=100 + number), T0.timestamp() + days * day / 4
        rows.append(h.Credit(delivery_id=id, user_id=people[who], channel="email", delivered_at=delivered, goal_at=None,
                             credit=0.0, signals=tuple(signals)))  # fmt: skip
        answers = tuple(theirs.Signal(kind=k, at=t, signal=m, link=link) for k, t, m, link in signals)
        room.append(
            Message(delivery_id=id, user_id=people[who], channel="email", delivered_at=delivered, signals=answers)
        )
    done = [
        Occasion(user_id=people[who], event=event, at=T0.timestamp() + days * day / 4) for who, event, days in occasions
    ]
    states, means = sums(rows, done, goals_owed(rows, done))
    wanted, everybody = recompute.recompute(room, [recompute.Occasion(one.user_id, one.event, one.at) for one in done])
    for own, other in ((states, wanted), (means, everybody)):
        assert own.keys() == other.keys()
        for key, value in own.items():
            assert value == pytest.approx(other[key])


def test_c7_finds_two_histories_that_differ() -> None:
    history = good().snapshot()
    assert checks.c7_order(history, seed=7, other=good().snapshot()).ok
    for break_it in (fact_later, counted_twice):
        other, id = break_it(good().snapshot())
        assert str(id) in {bad.id for bad in checks.c7_order(history, other=other).bad}


def test_c7_finds_a_row_that_only_one_order_explains() -> None:
    planted(fact_later, checks.c7_order, "in another order")
    planted(mean_wrong, checks.c7_order, "in another order")


# Counts


def view_wrong(history: Snapshot) -> tuple[Snapshot, str]:
    return replace(history, counts={**history.counts, "clicked": 1}), "clicked"


def ledger_short(history: Snapshot) -> tuple[Snapshot, str]:
    assert history.ledger is not None
    return replace(history, ledger=history.ledger[1:]), "email"


def counter_moved_twice(history: Snapshot) -> tuple[Snapshot, str]:
    """A report that came again moved a counter again."""
    key = Counted(T0.date(), "onboarding", 1, None, "email")
    counters = history.analytics[key]
    return replace(
        history, analytics={**history.analytics, key: {**counters, "clicked": 2}}
    ), "2026-01-01 onboarding/1 email clicked"


def never_counted(history: Snapshot) -> tuple[Snapshot, str]:
    counted = {key: counters for key, counters in history.analytics.items() if key.channel == "email"}
    return replace(history, analytics=counted), "2026-01-01 onboarding/1 telegram fallback_saves"


def counted_elsewhere(history: Snapshot) -> tuple[Snapshot, str]:
    """The delivery belonged to an arm of a test, and its counters do not."""
    one = one_of(history, "telegram", "unknown")
    deliveries = {**history.deliveries, one.id: replace(one, variant="b")}
    return replace(history, deliveries=deliveries), "2026-01-01 onboarding/1/b telegram unknown"


@pytest.mark.parametrize(
    ("break_it", "why"),
    [
        (view_wrong, "the view delivery_counts has 1"),
        (ledger_short, "the ledger has 1"),
        (counter_moved_twice, "it is counted 2 times, and the log says 1"),
    ],
)
def test_c11_finds(break_it: Broken, why: str) -> None:
    planted(break_it, checks.c11_counts, why)


@pytest.mark.parametrize(
    ("break_it", "why"),
    [
        (counter_moved_twice, "it is counted 2 times, and the log says 1"),
        (never_counted, "it is counted 0 times, and the log says 1"),
        (counted_elsewhere, "it is counted 0 times, and the log says 1"),
    ],
)
def test_c11_of_the_counters_finds(break_it: Broken, why: str) -> None:
    planted(break_it, checks.c11_analytics, why)


def test_counters_are_those_of_the_log_in_any_order_and_number() -> None:
    history = good().snapshot()
    mixed = [*history.events, *history.events]
    random.Random(3).shuffle(mixed)
    assert recounted(replace(history, events=mixed)) == history.analytics


def test_c11_holds_the_rest_summary_against_the_rows() -> None:
    history = good().snapshot()
    assert checks.c11_counts(history, rest=dict(history.counts)).ok
    assert [bad.id for bad in checks.c11_counts(history, rest={**history.counts, "failed": 9}).bad] == ["failed"]


# The log


@settings(CALM, max_examples=30)
@given(EVENTS)
def test_a_log_in_columns_tells_what_was_put_in(events: list[Event]) -> None:
    log = EventLog()
    for event in [
        *events,
        *(replace(event, delivery_id=None, at=event.at + timedelta(microseconds=1)) for event in events),
    ]:
        log.append(event)
    assert list(log)[: len(events)] == events
    assert [one.delivery_id for one in log[len(events) :]] == [None] * len(events)
    assert log[-1:] == (
        [replace(events[-1], delivery_id=None, at=events[-1].at + timedelta(microseconds=1))] if events else []
    )
