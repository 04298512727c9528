"""The formula alone: what every score has to be, whatever the numbers."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from nurture_scoring import formula

DAY = 86_400.0
times = st.floats(formula.LANDMARK - 400 * DAY, formula.LANDMARK + 4000 * DAY)
rates = st.floats(0, 1)
sums = st.floats(0, 1e6)


def test_the_worked_example() -> None:
    now = formula.LANDMARK + 90 * DAY
    ages, answers = (60, 50, 40, 30, 20, 10, 3), (0, 1, 0, 1, 0.6, 0, 1)
    terms = [formula.weight(now - age * DAY) for age in ages]
    n = sum(terms)
    r = sum(term * answer for term, answer in zip(terms, answers, strict=True))
    today = formula.weight(now)
    assert (round(r / today, 2), round(n / today, 2)) == (2.13, 3.82)
    assert formula.score_at_rate(r, n, 0.18, now) == pytest.approx(36.4, abs=0.05)
    mean_n = 100 * today
    assert formula.score(r, n, 0.18 * mean_n, mean_n, now) == pytest.approx(36.4, abs=0.05)


@given(r=sums, n=sums, mean_r=sums, mean_n=sums, at=times)
def test_a_score_is_between_0_and_100(r: float, n: float, mean_r: float, mean_n: float, at: float) -> None:
    today = formula.weight(at)
    assert 0 <= formula.score(r * today, n * today, mean_r * today, mean_n * today, at) <= 100 + 1e-9


@given(r=st.floats(0, 100), more=st.floats(0, 100), rate=st.floats(0.001, 1), at=times)
def test_a_message_without_an_answer_lowers_the_score(r: float, more: float, rate: float, at: float) -> None:
    today = formula.weight(at)
    before = formula.score_at_rate(r * today, (r + more) * today, rate, at)
    after = formula.score_at_rate(r * today, (r + more + 1) * today, rate, at)
    assert after < before


@given(r=st.floats(0, 100), more=st.floats(0, 100), rate=rates, at=times, answer=rates)
def test_an_answer_never_lowers_it(r: float, more: float, rate: float, at: float, answer: float) -> None:
    today = formula.weight(at)
    before = formula.score_at_rate(r * today, (r + more + 1) * today, rate, at)
    assert formula.score_at_rate((r + answer) * today, (r + more + 1) * today, rate, at) >= before - 1e-9


@given(r=st.floats(0, 100), more=st.floats(0, 100), rate=rates, at=times, later=st.floats(1, 400))
def test_silence_drifts_to_the_mean(r: float, more: float, rate: float, at: float, later: float) -> None:
    today = formula.weight(at)
    then = at + later * DAY
    distance = abs(formula.score_at_rate(r * today, (r + more) * today, rate, at) - 100 * rate)
    assert abs(formula.score_at_rate(r * today, (r + more) * today, rate, then) - 100 * rate) <= distance + 1e-9


@given(mean_n=st.floats(0, 100), rate=rates, at=times)
def test_the_mean_is_believed_from_ten_messages_on(mean_n: float, rate: float, at: float) -> None:
    assume(abs(mean_n - 10) > 1e-6)
    today = formula.weight(at)
    found = formula.mean_rate(rate * mean_n * today, mean_n * today, at)
    assert found == pytest.approx(rate if mean_n > 10 else 0.2)


def test_nobody_known_is_as_everybody() -> None:
    now = formula.LANDMARK
    assert formula.score(0, 0, 0, 0, now) == pytest.approx(20)
    assert formula.score(0, 0, 50, 100, now) == pytest.approx(50)


def test_overall_is_the_weighted_mean_and_a_blocked_channel_answers_nothing() -> None:
    assert formula.overall((2, 4, False), (1, 6, False)) == (3, 10)
    assert formula.overall((2, 4, True), (1, 6, False)) == (1, 10)


def test_times_outside_every_range_are_numbers_too() -> None:
    for at in (-1e13, 1e13):
        assert 0 <= formula.score(1, 2, 30, 100, at) <= 100
