"""Identifiers: ordered where born, equal where derived."""

from uuid import RFC_4122

from hypothesis import given
from hypothesis import strategies as st
from nurture_contracts.ids import derived, uuid7

MILLISECONDS = st.integers(min_value=0, max_value=2**48 - 1)


@given(MILLISECONDS, MILLISECONDS)
def test_later_ids_sort_later(first: int, second: int) -> None:
    a, b = uuid7(first), uuid7(second)
    assert (a < b) == (first < second) or first == second
    assert a.version == 7
    assert a.variant == RFC_4122
    assert a.int >> 80 == first


def test_ids_do_not_repeat() -> None:
    assert len({uuid7(1) for _ in range(10_000)}) == 10_000


@given(st.lists(st.text(max_size=8), min_size=1, max_size=4), st.lists(st.text(max_size=8), min_size=1, max_size=4))
def test_derived_ids_follow_their_parts(a: list[str], b: list[str]) -> None:
    assert derived(*a) == derived(*a)
    if "\x1f" not in "".join(a + b):
        assert (derived(*a) == derived(*b)) == (a == b)
