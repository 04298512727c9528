"""Channel by score, words by tier, arms of a test, and fallbacks: pure rules."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nurture_controller.choosing import NEUTRAL, assign, by_score, tier_of
from nurture_controller.fallback import NEVER, Failed, plan_fallback
from nurture_controller.people import Contact, Person
from nurture_controller.planning import DueEnrolment, Refused, Send, Skip, plan
from nurture_controller.sequence import MessageStep, Sequence, Variant, Words

NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)
BOTH = ("email", "telegram")
EMAIL = Contact(channel="email", address="a@example.test")
CHAT = Contact(channel="telegram", address="123456")
REACH = {"email": EMAIL, "telegram": CHAT}


def sequence(**step: object) -> Sequence:
    return Sequence(
        format=1,
        type="t",
        title="T",
        steps=(MessageStep(when="now", subject="Hi", body="Hello", **step),),  # type: ignore[arg-type]
    )


def due(**more: object) -> DueEnrolment:
    return DueEnrolment(id=UUID(int=1), user_id=UUID(int=2), step=1, next_at=NOW, **more)  # type: ignore[arg-type]


def person(**scores: float) -> Person:
    return Person(id=UUID(int=2), first_name="Ada", scores=scores)


def sent(decision: object) -> Send:
    assert isinstance(decision, Send), decision
    return decision


def codes(decision: Send | Skip | Refused) -> list[str]:
    return [reason.code for reason in decision.reasons]


def test_a_clearly_better_channel_wins_and_the_record_says_why() -> None:
    decision = sent(plan(due(), sequence(), person(email=10, telegram=60), REACH, NOW, BOTH))
    assert decision.channel == "telegram"
    assert "score_channel" in codes(decision)
    assert decision.inputs["scores"] == {"email": 10, "telegram": 60}


@pytest.mark.parametrize(
    ("step", "more", "who", "wanted"),
    [
        ({"channel": "email"}, {}, person(telegram=90), "email"),
        ({}, {"override_channel": "telegram"}, person(email=90), "telegram"),
        ({}, {}, Person(id=UUID(int=2), preferred_channel="email", scores={"telegram": 90.0}), "email"),
        ({}, {}, person(), "email"),
        ({}, {}, person(email=20, telegram=21), "email"),
    ],
)
def test_override_step_preference_and_score_decide_in_this_order(
    step: dict, more: dict, who: Person, wanted: str
) -> None:
    assert sent(plan(due(**more), sequence(**step), who, REACH, NOW, BOTH)).channel == wanted


def test_an_unreachable_channel_is_never_chosen_for_its_score() -> None:
    blocked = {"email": EMAIL, "telegram": Contact(channel="telegram", address="1", state="blocked")}
    assert sent(plan(due(), sequence(), person(email=1, telegram=99), blocked, NOW, BOTH)).channel == "email"


def test_a_step_bound_to_a_dead_channel_takes_its_fallback_at_once() -> None:
    decision = sent(
        plan(due(), sequence(channel="email", fallback="telegram"), person(), {"telegram": CHAT}, NOW, BOTH)
    )
    assert decision.channel == "telegram"


def test_a_refusal_is_no_reason_to_try_the_other_channel() -> None:
    refused = {"email": Contact(channel="email", address="a", consent="refused"), "telegram": CHAT}
    decision = plan(due(), sequence(channel="email", fallback="telegram"), person(), refused, NOW, BOTH)
    assert isinstance(decision, Skip)


@pytest.mark.parametrize(
    ("overall", "tier"), [(0, "low"), (19.9, "low"), (20, "medium"), (49.9, "medium"), (50, "high"), (100, "high")]
)
def test_tiers(overall: float, tier: str) -> None:
    assert tier_of(person(overall=overall)) == tier
    assert tier_of(person()) == tier_of(person(overall=NEUTRAL))


def test_words_follow_the_tier_and_what_is_left_out_is_the_steps_own() -> None:
    made = sequence(wordings={"low": Words(body="We miss you")})
    decision = sent(plan(due(), made, person(overall=3), REACH, NOW, BOTH))
    assert decision.tier == "low"
    assert made.steps[0].words(decision.variant, decision.tier) == ("Hi", "We miss you")
    assert sent(plan(due(), made, person(overall=90), REACH, NOW, BOTH)).tier is None


ARMS = st.lists(
    st.tuples(st.text(min_size=1, max_size=6), st.integers(1, 50)), min_size=2, max_size=5, unique_by=lambda arm: arm[0]
)


@given(ARMS, st.uuids(), st.text(max_size=10))
def test_a_person_keeps_their_arm(arms: list[tuple[str, int]], user: UUID, salt: str) -> None:
    variants = [Variant(name=name, weight=weight) for name, weight in arms]
    assert assign(variants, salt, user) == assign(list(reversed(variants)), salt, user)


@given(ARMS, st.uuids(), st.integers(1, 50))
def test_a_heavier_arm_only_gains_people(arms: list[tuple[str, int]], user: UUID, more: int) -> None:
    variants = [Variant(name=name, weight=weight) for name, weight in arms]
    heavier = [Variant(name=arms[0][0], weight=arms[0][1] + more), *variants[1:]]
    before, after = assign(variants, "s", user), assign(heavier, "s", user)
    assert after in (before, arms[0][0])


def test_people_are_split_by_weight() -> None:
    variants = [Variant(name="a", weight=3), Variant(name="b", weight=1)]
    share = sum(assign(variants, "s", uuid4()) == "a" for _ in range(20_000)) / 20_000
    assert abs(share - 0.75) < 4 * (0.75 * 0.25 / 20_000) ** 0.5 + 1e-9


@given(st.floats(0, 100), st.floats(0, 100))
def test_ranking_keeps_all_channels_and_email_first_unless_beaten(email: float, telegram: float) -> None:
    ranked = by_score(person(email=email, telegram=telegram), BOTH)
    assert set(ranked) == set(BOTH)
    assert (ranked[0] == "telegram") == (telegram - email >= 2.0)


def failure(**more: object) -> Failed:
    facts: dict = {
        "delivery_id": UUID(int=9), "channel": "email", "why": "hard_bounce", "scheduled_at": NOW, "evidence": False,
        "is_fallback": False, "current": True, "running": True,
    }  # fmt: skip
    return Failed(**{**facts, **more})


def judge(
    fail: Failed, made: Sequence | None = None, contacts: dict | None = None, at: datetime = NOW
) -> Send | Refused:
    made, contacts = made or sequence(fallback="auto"), REACH if contacts is None else contacts
    return plan_fallback(fail, due(), made, person(), contacts, at, BOTH)


def test_a_bounce_goes_to_telegram_and_a_block_to_email() -> None:
    assert sent(judge(failure())).channel == "telegram"
    assert sent(judge(failure(channel="telegram", why="blocked"))).channel == "email"


@pytest.mark.parametrize("why", sorted(NEVER))
def test_wishes_and_doubts_never_lead_to_the_other_channel(why: str) -> None:
    assert codes(judge(failure(why=why))) == ["not_definitive"]


def test_a_refusal_at_the_claim_is_told_by_the_switch_that_it_was() -> None:
    news = Sequence(format=1, type="announcement", title="T", steps=sequence(fallback="auto").steps)
    for made, contact, said in (
        (
            news,
            Contact(channel="email", address="a", wants=("sequence",)),
            "The person wants no announcements by Email.",
        ),
        (
            None,
            Contact(channel="email", address="a", wants=("announcement",)),
            "The person wants no sequences by Email.",
        ),
        (news, Contact(channel="email", address="a", consent="refused"), "The person refused Email."),
        (news, EMAIL, "`refused` is no failure"),
    ):
        verdict = judge(failure(why="refused"), made, {"email": contact, "telegram": CHAT})
        assert codes(verdict) == ["not_definitive"] and verdict.reasons[0].text.startswith(said)


@pytest.mark.parametrize("why", ["address_changed", "chat_changed"])
def test_an_address_that_is_not_the_persons_any_more_is_no_wish(why: str) -> None:
    assert sent(judge(failure(why=why))).channel == "telegram"


def test_a_fallback_is_for_what_is_wanted_there() -> None:
    chat = Contact(channel="telegram", address="1", wants=("announcement",))
    verdict = judge(failure(), contacts={"email": EMAIL, "telegram": chat})
    assert (
        codes(verdict) == ["consent_refused"]
        and verdict.reasons[0].text == "The person wants no sequences by Telegram."
    )


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"evidence": True}, "evidence_of_delivery"),
        ({"is_fallback": True}, "was_fallback"),
        ({"running": False}, "enrolment_over"),
        ({"current": False}, "moved_on"),
    ],
)
def test_every_no_says_why(more: dict, code: str) -> None:
    decision = judge(failure(**more))
    assert isinstance(decision, Refused)
    assert codes(decision) == [code]


def test_no_other_channel_a_closed_window_and_an_unreachable_person() -> None:
    assert codes(judge(failure(), sequence())) == ["no_fallback"]
    assert codes(judge(failure(), at=NOW + timedelta(hours=25))) == ["window_closed"]
    assert (
        codes(judge(failure(), sequence(fallback="auto", fallback_window="2d"), at=NOW + timedelta(hours=25)))[0]
        == "fallback"
    )
    assert codes(judge(failure(), contacts={"email": EMAIL})) == ["no_address"]
