"""Signals of one message, goals of one person: pure, order-free, reversible."""

import json
from datetime import UTC, datetime
from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st
from nurture_contracts.events import Observation
from nurture_scoring import credits, occasions
from nurture_scoring.credits import Signal
from nurture_scoring.folding import Changes, Message, News, settle, told
from nurture_scoring.formula import LANDMARK, weight

T = LANDMARK + 1e6


def click(after: float, link: str = "a", signal: str = "human") -> Signal:
    return Signal(kind="clicked", at=T + after, signal=signal, link=link)  # type: ignore[arg-type]


def opened(after: float, signal: str = "human") -> Signal:
    return Signal(kind="opened", at=T + after, signal=signal)  # type: ignore[arg-type]


def credit(*signals: Signal) -> float:
    return credits.credit(credits.keep(signals), T, "email")


signals = st.builds(
    Signal,
    kind=st.sampled_from(["opened", "clicked", "pressed", "replied"]),
    at=st.floats(T - 10, T + 30),
    signal=st.sampled_from(["human", "machine", "unknown"]),
    link=st.none() | st.sampled_from("abcd"),
)


def test_weight_times_confidence() -> None:
    assert credit() == 0
    assert credit(opened(60)) == 0.2 * 0.6
    assert credit(opened(60, "unknown")) == 0.2 * 0.3
    assert credit(click(60)) == 0.6
    assert credit(click(60, signal="unknown")) == 0.3
    assert credit(click(60, signal="machine")) == 0
    for kind in ("pressed", "replied"):
        assert credit(Signal(kind=kind, at=T + 1)) == 1
    assert credit(opened(60), click(90), opened(120)) == 0.6


def test_what_comes_within_seven_seconds_is_a_scanner() -> None:
    assert credit(click(6.9), opened(-3)) == 0
    assert credit(click(7)) == 0.6


def test_in_a_chat_people_tap_at_once() -> None:
    for early in (6.9, 0.5, -0.5):
        assert credits.credit((click(early),), T, "telegram") == 0.6
        assert credits.credit((click(early, signal="unknown"),), T, "telegram") == 0.3
    assert credits.credit((click(1, signal="machine"),), T, "telegram") == 0
    assert credits.credit((click(1), click(1.5, "b"), click(2, "c")), T, "telegram") == 0, (
        "nobody taps three links at once"
    )


def test_the_third_link_of_a_burst_takes_the_first_two_back() -> None:
    assert credit(click(60), click(61, "b")) == 0.6
    assert credit(click(60), click(61, "b"), click(61.9, "c")) == 0
    assert credit(click(60), click(61, "b"), click(62.1, "c")) == 0.6
    assert credit(click(60), click(60.5), click(61)) == 0.6
    assert credit(click(60), click(61, "b"), click(61.9, "c"), click(300)) == 0.6


def test_a_providers_own_open_counts_nothing() -> None:
    item = Observation(event_id=uuid4(), kind="opened", at=datetime.now(UTC), delivery_id=uuid4())
    assert credits.of_observation(item) is not None
    for more in ({"provider_id": "p"}, {"kind": "bounced"}, {"kind": "delivered"}):
        fields = {name: getattr(item, name) for name in item.__struct_fields__} | more
        assert credits.of_observation(Observation(**fields)) is None


def test_before_delivery_nothing_after_a_goal_everything() -> None:
    assert credits.credit((click(60),), None, "email") == 0
    assert credits.credit((), T, "email", T + 5) == 1


@given(st.lists(signals, max_size=50), st.randoms(use_true_random=False), st.integers(1, 4))
def test_order_repetition_and_paging_change_nothing(found: list[Signal], random, pages: int) -> None:
    whole = credits.keep(found)
    shuffled = found * 2
    random.shuffle(shuffled)
    kept: tuple[Signal, ...] = ()
    size = max(1, len(shuffled) // pages)
    for start in range(0, len(shuffled), size):
        kept = credits.keep((*kept, *shuffled[start : start + size]))
    assert kept == whole
    assert len(kept) <= credits.KEPT
    assert 0 <= credits.credit(kept, T, "email") <= 1


@given(st.lists(signals, max_size=20))
def test_what_is_stored_is_what_is_read(found: list[Signal]) -> None:
    kept = credits.keep(found)
    text = credits.stored(kept, T, "email")
    assert credits.read(text) == kept
    assert max((row["credit"] for row in json.loads(text)), default=0) == credits.credit(kept, T, "email")


@given(st.lists(signals, max_size=8), st.lists(st.floats(T - 5, T + 5), min_size=1, max_size=3), st.randoms())
def test_a_message_folds_to_the_same_sums_in_any_order(found: list[Signal], delivered: list[float], random) -> None:
    steps: list[float | Signal] = [*found, *delivered, *found]
    random.shuffle(steps)
    person = uuid4()
    message = Message(delivery_id=uuid4(), user_id=person, channel="email")
    changes = Changes()
    for step in steps:
        news = News()
        if isinstance(step, Signal):
            news.answer(step)
        else:
            news.deliver(step)
        after = told(message, news)
        settle(changes, [(message, after)])
        message = after
    first = min(delivered)
    worth = credits.credit(credits.keep(found), first, "email")
    sums = changes.sums["email"][person]
    assert abs(sums.n - weight(first)) < 1e-9
    assert abs(sums.r - worth * weight(first)) < 1e-9


def test_a_goal_is_owed_to_the_last_message_within_seven_days() -> None:
    first, second = sorted((uuid4(), uuid4()))
    day = 86_400.0
    line = [(T, first), (T + day, second)]
    assert occasions.owed([T + 1], line) == {first: T + 1}
    assert occasions.owed([T - 1], line) == {}
    assert occasions.owed([T + 2 * day, T + 3 * day], line) == {second: T + 2 * day}
    assert occasions.owed([T + 8 * day], line) == {second: T + 8 * day}
    assert occasions.owed([T + 8 * day + 1], line) == {}
    assert occasions.owed([T + 1], [(T, first), (T, second)]) == {second: T + 1}


def test_event_names() -> None:
    assert occasions.is_goal("signed_up") and not occasions.is_goal("attended")
    assert occasions.wrong_name("signed_up") is None
    for name in ("", "  ", "x" * 101, "a\nb", "a\0"):
        assert occasions.wrong_name(name)


def test_ids_are_taken_from_the_item() -> None:
    item = Observation(
        event_id=uuid4(), kind="clicked", at=datetime.fromtimestamp(T, UTC), delivery_id=UUID(int=1), link="ab", signal="human"
    )  # fmt: skip
    assert credits.of_observation(item) == Signal(kind="clicked", at=T, signal="human", link="ab")
