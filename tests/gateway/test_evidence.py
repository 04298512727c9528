"""The evidence that variants differ: exact against another way to compute it, and its promise about chance, by simulation."""

import itertools
import math
import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nurture_gateway.evidence import (
    CLEAR,
    MOST,
    PRIOR,
    clearly_behind,
    evidence,
    fewest,
    interval,
    is_clear,
    log_evidence,
)

Weighted = list[tuple[int, int]]
WEIGHTED = st.lists(st.tuples(st.integers(1, 1000), st.integers(0, 60)), min_size=2, max_size=6)
"""Arms: weight and count."""


def split(arms: Weighted) -> tuple[list[int], list[float]]:
    total = sum(weight for weight, _ in arms)
    return [count for _, count in arms], [weight / total for weight, _ in arms]


def step_by_step(arms: Weighted, answers: list[int]) -> Fraction:
    """The evidence as what it is: at each answer, the chance that the prior with all answers so far gives to the arm that it
    came from, over the arm's share. In fractions, so nothing is rounded."""
    total = sum(weight for weight, _ in arms)
    prior = int(PRIOR)
    seen = [0] * len(arms)
    found = Fraction(1)
    for arm in answers:
        share = Fraction(arms[arm][0], total)
        found *= (prior * share + seen[arm]) / (prior + sum(seen)) / share
        seen[arm] += 1
    return found


@given(WEIGHTED, st.randoms(use_true_random=False))
def test_it_is_the_product_of_what_each_answer_says_in_any_order(arms: Weighted, chance: random.Random) -> None:
    answers = [arm for arm, (_, count) in enumerate(arms) for _ in range(count)]
    chance.shuffle(answers)
    exact = step_by_step(arms, answers)
    counts, shares = split(arms)
    logarithm = math.log(exact.numerator) - math.log(exact.denominator)
    assert log_evidence(counts, shares) == pytest.approx(logarithm, rel=1e-9, abs=1e-9)


@given(WEIGHTED, st.randoms(use_true_random=False))
def test_arms_are_equal_whatever_their_order(arms: Weighted, chance: random.Random) -> None:
    shuffled = chance.sample(arms, len(arms))
    assert log_evidence(*split(shuffled)) == pytest.approx(log_evidence(*split(arms)), rel=1e-9, abs=1e-9)


@given(st.lists(st.tuples(st.integers(1, 1000), st.integers(0, 10**7)), min_size=1, max_size=6))
def test_it_is_a_number_from_0_on_at_any_size(arms: Weighted) -> None:
    assert 0 <= evidence(*split(arms)) <= MOST * (1 + 1e-9)


@given(WEIGHTED)
def test_its_mean_after_one_more_answer_is_what_it_was(arms: Weighted) -> None:
    """A martingale: why looking at it often makes nothing of chance."""
    counts, shares = split(arms)
    later = sum(
        share * math.exp(log_evidence([count + (n == arm) for n, count in enumerate(counts)], shares))
        for arm, share in enumerate(shares)
    )
    assert later == pytest.approx(math.exp(log_evidence(counts, shares)), rel=1e-6)


def test_without_answers_or_another_arm_it_says_nothing() -> None:
    assert evidence([0, 0], [0.5, 0.5]) == pytest.approx(1)
    assert evidence([1000], [1.0]) == pytest.approx(1)
    assert fewest([1.0]) == 0


@pytest.mark.parametrize("shares", [[0.5, 0.5], [0.9, 0.1], [0.5, 0.3, 0.2]])
def test_before_the_fewest_nothing_can_be_called_and_from_there_on_something(shares: list[float]) -> None:
    least = fewest(shares)
    every = itertools.product(range(least), repeat=len(shares) - 1)
    before = [[*some, least - 1 - sum(some)] for some in every if sum(some) < least]
    assert before and not any(is_clear(counts, shares) for counts in before)
    rarest = shares.index(min(shares))
    assert is_clear([least if arm == rarest else 0 for arm in range(len(shares))], shares)


def called(source: random.Random, shares: list[float], rates: list[float], people: int) -> int | None:
    """The people it took until a difference was called, with a look at each answer; None if it never was."""
    counts = [0] * len(shares)
    for number, arm in enumerate(source.choices(range(len(shares)), shares, k=people), 1):
        if source.random() < rates[arm]:
            counts[arm] += 1
            if is_clear(counts, shares):
                return number
    return None


@pytest.mark.parametrize("shares", [[0.5, 0.5], [0.8, 0.2], [0.5, 0.25, 0.25]])
def test_looking_at_every_answer_finds_a_difference_that_is_none_in_fewer_than_one_of_twenty(
    shares: list[float],
) -> None:
    runs = 300
    source = random.Random(20261127)
    false = sum(called(source, shares, [0.1] * len(shares), 5_000) is not None for _ in range(runs))
    assert false <= runs / CLEAR


def test_of_arms_of_which_some_are_equal_fewer_than_one_of_twenty_tests_ever_tells_those_apart() -> None:
    """The worst case: two equally good ones in front of a bad one, looked at at every answer."""
    runs, source = 200, random.Random(20261127)
    shares, rates = [0.4, 0.3, 0.3], [0.15, 0.15, 0.05]

    def mistaken() -> bool:
        counts = [0, 0, 0]
        for arm in source.choices(range(3), shares, k=5_000):
            if source.random() < rates[arm]:
                counts[arm] += 1
                best = max((0, 1), key=lambda one: counts[one] / shares[one])
                if 1 - best in clearly_behind(counts, shares, best):
                    return True
        assert 2 in clearly_behind(counts, shares, best)
        return False

    assert sum(mistaken() for _ in range(runs)) <= runs / CLEAR


def test_two_arms_are_told_apart_just_where_they_differ() -> None:
    for more in range(200):
        counts, shares = [100, 100 + more], [0.5, 0.5]
        assert (clearly_behind(counts, shares, 1) == [0]) is is_clear(counts, shares)


def test_a_fixed_test_that_is_looked_at_as_often_breaks_that_promise() -> None:
    """The same runs under z at p < 0.05: what this one is for."""
    source = random.Random(20261127)

    def z_calls(people: int) -> bool:
        counts = [0, 0]
        for _ in range(people):
            if source.random() < 0.1:
                counts[source.random() < 0.5] += 1
                total = sum(counts)
                if total >= 30 and abs(counts[0] - counts[1]) > 1.959964 * math.sqrt(total):
                    return True
        return False

    runs = 100
    assert sum(z_calls(5_000) for _ in range(runs)) >= runs / 3


def test_a_clear_difference_is_called_by_the_size_that_one_would_plan_for() -> None:
    """10 % against 13 %: almost always within 20,000 people, mostly within 8,000."""
    runs = 60
    source = random.Random(20261127)
    took = [called(source, [0.5, 0.5], [0.10, 0.13], 20_000) for _ in range(runs)]
    found = [people for people in took if people is not None]
    assert len(found) >= 0.95 * runs
    assert sum(people <= 8_000 for people in found) >= 0.7 * runs


@given(st.integers(1, 10**6), st.data())
def test_an_interval_holds_its_rate_and_stays_between_0_and_1(of: int, data: st.DataObject) -> None:
    part = data.draw(st.integers(0, of))
    low, high = interval(part, of)
    assert 0 <= low <= part / of + 1e-12 and part / of - 1e-12 <= high <= 1
    mirrored = interval(of - part, of)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-9)
    # It ends where the rate would be 1.96 standard errors away, if that end were the truth.
    if 0 < part < of:
        for end in (low, high):
            assert abs(part / of - end) == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / of), rel=1e-4)


def test_of_nobody_any_rate_may_be() -> None:
    assert interval(0, 0) == (0.0, 1.0)
