from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from nurture_email.attempts import (
    BACKOFF_CAP,
    KEY_LIFETIME,
    WITHHELD,
    Claim,
    Limits,
    Result,
    Retry,
    Settle,
    backoff,
    before_call,
    decide,
)
from nurture_email.verdicts import MemberVerdict, Verdict

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
LIMITS = Limits(max_attempts=3)
ENDS = (
    ("accepted", None), ("rejected", None), ("not_sent", None), ("not_sent", "park"), ("ambiguous", None),
    ("ambiguous", "conflict"), ("ambiguous", "concurrent"),
)  # fmt: skip


def ids(count: int) -> list[UUID]:
    return [UUID(int=number + 1) for number in range(count)]


@st.composite
def claims(draw: st.DrawFn) -> Claim:
    members = ids(draw(st.integers(1, 8)))
    arrived = draw(st.booleans())
    fallen = draw(st.sets(st.sampled_from(members), max_size=len(members) - 1))
    late = draw(st.sets(st.sampled_from(members))) if arrived else set()
    return Claim(
        id=UUID(int=draw(st.integers(0, 2**128 - 1))),
        members=members,
        attempt=draw(st.integers(1, 40)),
        fence=1,
        refusals=draw(st.integers(0, 5)),
        first_call_at=BEGAN,
        may_have_arrived=arrived,
        results={m: Result(outcome="suppressed", reason="refused", late=m in late) for m in members if m in fallen},
    )


@st.composite
def verdicts(draw: st.DrawFn, count: int) -> Verdict:
    kind, then = draw(st.sampled_from(ENDS))
    members = []
    if kind == "accepted":
        kinds = draw(
            st.lists(st.sampled_from(("accepted", "rejected", "not_sent", "unknown")), min_size=count, max_size=count)
        )
        members = [MemberVerdict(kind=k, provider_id="p" if k == "accepted" else None) for k in kinds]
    return Verdict(
        kind=kind, then=then, reason="why", retry_after=draw(st.none() | st.floats(0, 7200)), members=members
    )


AGES = st.floats(0, 30 * 3600).map(lambda seconds: BEGAN + timedelta(seconds=seconds))


@given(claims(), st.data(), AGES)
def test_nobody_is_lost_and_nobody_counted_twice(claim: Claim, data: st.DataObject, now: datetime) -> None:
    sent = claim.remaining
    following = decide(claim, sent, data.draw(verdicts(len(sent))), now, LIMITS)
    if isinstance(following, Settle):
        again = [member for followup in following.followups for member in followup.members]
        assert sorted([*following.results, *again]) == sorted(claim.members)
        assert not any(result.late for result in following.results.values())


@given(claims(), st.data(), AGES)
def test_a_new_key_is_only_for_members_that_were_not_sent(claim: Claim, data: st.DataObject, now: datetime) -> None:
    sent = claim.remaining
    verdict = data.draw(verdicts(len(sent)))
    following = decide(claim, sent, verdict, now, LIMITS)
    if isinstance(following, Settle) and following.followups:
        if verdict.kind == "accepted":
            not_sent = {member for member, ended in zip(sent, verdict.members, strict=True) if ended.kind == "not_sent"}
            assert {member for followup in following.followups for member in followup.members} <= not_sent
        else:
            assert verdict.kind == "rejected" and not claim.may_have_arrived


@given(claims(), st.data(), AGES)
def test_what_may_have_arrived_never_counts_as_failed(claim: Claim, data: st.DataObject, now: datetime) -> None:
    sent = claim.remaining
    verdict = data.draw(verdicts(len(sent)))
    following = decide(claim, sent, verdict, now, LIMITS)
    doubtful = claim.may_have_arrived or verdict.kind == "ambiguous"
    if isinstance(following, Settle) and doubtful and verdict.kind != "accepted":
        assert {following.results[member].outcome for member in sent} == {"unknown"}
    if isinstance(following, Retry):
        assert following.may_have_arrived or not claim.may_have_arrived
        assert not (following.restart and following.may_have_arrived)


@given(claims(), st.data(), AGES)
def test_no_retry_after_the_key_is_forgotten(claim: Claim, data: st.DataObject, now: datetime) -> None:
    sent = claim.remaining
    following = decide(claim, sent, data.draw(verdicts(len(sent))), now, LIMITS)
    if isinstance(following, Retry) and not following.restart:
        assert now + timedelta(seconds=following.wait) < claim.first_call_at + KEY_LIFETIME


@given(claims(), AGES)
def test_before_the_call(claim: Claim, now: datetime) -> None:
    fresh = {member: result for member, result in claim.results.items() if not result.late}
    step = before_call(claim, fresh, now)
    if now >= BEGAN + KEY_LIFETIME:
        assert isinstance(step, Settle) and not step.followups
    elif fresh and claim.attempt > 1 and not claim.may_have_arrived:
        assert isinstance(step, Settle) and step.followups[0].members == claim.remaining
    else:
        assert step == "call"


@given(st.uuids(), st.integers(1, 10_000))
def test_back_off_grows_to_its_cap_and_is_the_same_every_time(claim_id: UUID, attempt: int) -> None:
    wait = backoff(claim_id, attempt)
    assert 1.0 <= wait <= BACKOFF_CAP
    assert wait == backoff(claim_id, attempt)
    assert attempt < 9 or wait >= BACKOFF_CAP / 2


def claim_of(count: int, **changes: object) -> Claim:
    values = {"id": UUID(int=7), "members": ids(count), "attempt": 1, "fence": 1, "first_call_at": BEGAN, **changes}
    return Claim(**values)  # type: ignore[arg-type]


def refusal(kind: str, then: str | None = None) -> Verdict:
    return Verdict(kind=kind, then=then, reason="why")  # type: ignore[arg-type]


def test_a_refused_batch_is_halved_until_the_bad_one_stands_alone() -> None:
    bad, queue, calls, good = ids(100)[37], [claim_of(100)], 0, 0
    rejected: list[UUID] = []
    while queue:
        claim = queue.pop()
        calls += 1
        if bad not in claim.members:
            good += len(claim.members)
            continue
        following = decide(claim, claim.members, refusal("rejected"), BEGAN, LIMITS)
        assert isinstance(following, Settle)
        rejected += following.results
        queue += [claim_of(1, members=followup.members) for followup in following.followups]
    assert rejected == [bad] and good == 99 and calls < 20


def test_a_conflict_is_unknown_also_for_those_withheld_since() -> None:
    first, second = ids(2)
    claim = claim_of(
        2, attempt=2, may_have_arrived=True, results={first: Result(outcome="suppressed", reason="refused", late=True)}
    )
    following = decide(claim, [second], refusal("ambiguous", "conflict"), BEGAN, LIMITS)
    assert isinstance(following, Settle)
    assert following.results[first] == Result(outcome="unknown", reason=WITHHELD)
    assert following.results[second].outcome == "unknown"


def test_a_reduced_request_that_is_accepted_shows_that_the_larger_one_was_not() -> None:
    first, second = ids(2)
    claim = claim_of(
        2, attempt=2, may_have_arrived=True, results={first: Result(outcome="suppressed", reason="refused", late=True)}
    )
    accepted = Verdict(kind="accepted", members=[MemberVerdict(kind="accepted", provider_id="p")])
    following = decide(claim, [second], accepted, BEGAN, LIMITS)
    assert isinstance(following, Settle)
    assert following.results == {
        first: Result(outcome="suppressed", reason="refused"),
        second: Result(outcome="accepted", provider_id="p"),
    }


def test_an_account_refusal_waits_without_using_up_the_time_to_try() -> None:
    now = BEGAN + KEY_LIFETIME
    following = decide(claim_of(2), ids(2), refusal("not_sent", "park"), now, LIMITS)
    assert isinstance(following, Retry) and following.restart and not following.may_have_arrived
    following = decide(claim_of(2, may_have_arrived=True), ids(2), refusal("not_sent", "park"), now, LIMITS)
    assert isinstance(following, Settle) and {r.outcome for r in following.results.values()} == {"unknown"}


def test_members_refused_for_now_are_tried_a_bounded_number_of_times() -> None:
    verdict = Verdict(kind="accepted", members=[MemberVerdict(kind="not_sent", reason="application_error")])
    following = decide(claim_of(1, refusals=1), ids(1), verdict, BEGAN, LIMITS)
    assert isinstance(following, Settle) and following.followups[0].refusals == 2
    following = decide(claim_of(1, refusals=2), ids(1), verdict, BEGAN, LIMITS)
    assert isinstance(following, Settle) and following.results == {
        ids(1)[0]: Result(outcome="rejected", reason="application_error")
    }


def test_all_withheld_after_an_attempt_are_unknown() -> None:
    (only,) = ids(1)
    claim = claim_of(1, attempt=2, may_have_arrived=True, results={only: Result(outcome="suppressed", late=True)})
    step = before_call(claim, claim.results, BEGAN)
    assert isinstance(step, Settle) and step.results[only].outcome == "unknown"
