"""Charts: what is drawn is what was counted."""

import re
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nurture_gateway.dashboard.charts import HEIGHT, SPAN_WIDTH, WIDTH, Series, interval, lines, nice_top
from nurture_gateway.html import relative

FIRST = date(2026, 1, 1)
counts = st.lists(st.integers(0, 10_000_000), min_size=1, max_size=60)


@given(counts)
def test_every_count_has_its_point_inside_the_picture(values: list[int]) -> None:
    days = [FIRST + timedelta(days=n) for n in range(len(values))]
    picture = str(lines(days, [Series("sent <b>", "leaf", values)], 'a "title"'))
    points = [(float(x), float(y)) for x, y in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', picture)]
    assert len(points) == len(values) and "<b>" not in picture and 'a "title"' not in picture
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points)
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    for (_, one), (_, other), low, high in zip(points, points[1:], values, values[1:], strict=False):
        assert (one <= other) if low >= high else (one >= other), "higher is more"


@given(st.lists(st.floats(0, 1), min_size=4, max_size=4).map(sorted).filter(lambda some: some[3] > 1e-6))
def test_an_intervals_dot_lies_on_its_line_inside_the_picture(some: list[float]) -> None:
    low, middle, high, top = some
    picture = str(interval(low, middle, high, top))
    (left, right), (dot,) = (
        re.findall(r'<line x1="([\d.]+)" x2="([\d.]+)"', picture)[0],
        re.findall(r'<rect x="([\d.]+)"', picture),
    )
    assert 0 <= float(left) <= float(dot) + 4.1 and float(dot) + 3.9 <= float(right) <= SPAN_WIDTH


@given(st.integers(0, 10**9))
def test_an_axis_ends_at_a_round_number_that_can_be_halved(highest: int) -> None:
    top = nice_top(highest)
    assert top >= highest and top % 2 == 0 and (top <= 5 * highest or top == 2)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "now"), (-59, "now"), (-60, "1 min ago"), (7200, "in 2 h"), (-86_400, "1 day ago"), (3 * 604_800, "in 3 weeks"),
     (-31_557_600 * 2, "2 years ago")],
)  # fmt: skip
def test_times_are_said_as_people_say_them(seconds: int, words: str) -> None:
    from datetime import UTC, datetime

    now = datetime(2026, 1, 5, tzinfo=UTC)
    assert relative(now + timedelta(seconds=seconds), now) == words
