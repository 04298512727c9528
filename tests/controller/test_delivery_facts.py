"""Facts fold in any order, any number of times; the status in Python is the status in the database."""

import re
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nurture_controller import folding
from nurture_controller.facts import (
    NOTHING,
    PRECEDENCE,
    SEED_STATUS,
    Facts,
    Status,
    delivery_status,
    fold,
    status,
    terminal,
)

EVENTS = st.lists(
    st.tuples(
        st.sampled_from([*PRECEDENCE, "delayed", "unsubscribed"]),
        st.datetimes(datetime(2026, 1, 1), datetime(2026, 1, 3), timezones=st.just(UTC)),
    ),
    max_size=12,
)
SQL = files("nurture_controller").joinpath("sql")


@given(EVENTS, st.randoms(use_true_random=False), st.integers(1, 3))
def test_order_and_repetition_change_nothing(events: list[Any], random: Any, times: int) -> None:
    shuffled = events * times
    random.shuffle(shuffled)
    assert fold(NOTHING, shuffled) == fold(NOTHING, events)


@given(EVENTS, EVENTS)
def test_folding_in_parts_is_folding_at_once(first: list[Any], second: list[Any]) -> None:
    together = fold(NOTHING, first + second)
    assert fold(fold(NOTHING, first), second) == together == fold(fold(NOTHING, second), first)
    assert fold(together, first) == together


@given(EVENTS, EVENTS)
def test_a_status_never_gets_weaker(first: list[Any], second: list[Any]) -> None:
    order = [*PRECEDENCE, "pending"]
    before = fold(NOTHING, first)
    after = fold(before, second)
    assert order.index(status(after)) <= order.index(status(before))
    assert terminal(status(after)) or not terminal(status(before))


def test_statuses() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    assert status(NOTHING) == "pending" and not terminal("pending")
    for weak in ("cancelled", "expired", "unknown", "suppressed", "failed"):
        assert status(fold(NOTHING, [(weak, at)])) == weak
        assert status(fold(NOTHING, [(weak, at), ("sent", at)])) == "sent"
    assert status(Facts(opened_at=at, sent_at=at)) == "opened"
    assert fold(NOTHING, [("delayed", at), ("nonsense", at)]) == NOTHING


@pytest.mark.parametrize("state", get_args(Status))
def test_every_status_has_one_of_the_seven_words(state: Status) -> None:
    assert delivery_status(state) in {"pending", "sent", "delivered", "failed", "bounced", "opened", "clicked"}
    assert terminal(state) == (delivery_status(state) != "pending")


def test_the_database_ranks_facts_alike() -> None:
    tables = "".join(file.read_text() for file in SQL.joinpath("migrations").iterdir())
    assert tuple(re.findall(r"when (\w+)_at is not null then '\1'", tables)) == PRECEDENCE
    assert set(folding.FACTS) == set(PRECEDENCE)


def test_the_view_uses_the_same_seven_words() -> None:
    mapped = dict(re.findall(r"when '(\w+)' then '(\w+)'", SQL.joinpath("publish.sql").read_text()))
    assert {state: mapped.get(state, state) for state in SEED_STATUS} == SEED_STATUS
