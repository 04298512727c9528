"""When steps are due: local mornings stay local mornings, whatever the clocks do."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nurture_controller.sequence import MessageStep
from nurture_controller.timing import clock_time, due_at, known_zone, local_instant, zone

ZONES = [
    "UTC", "Europe/Berlin", "America/New_York", "America/Sao_Paulo", "Australia/Lord_Howe", "Asia/Kolkata",
    "Asia/Kathmandu", "Pacific/Apia", "Pacific/Kiritimati", "Africa/Casablanca", "Europe/Dublin", "America/St_Johns",
    "Asia/Gaza", "Antarctica/Troll",
]  # fmt: skip
MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2037, 1, 1), timezones=st.just(UTC))
TIMES = st.sampled_from(
    ["morning", "afternoon", "evening", "night", "00:00", "00:30", "02:00", "02:30", "03:00", "23:59"]
)


def after(delay: str, at: str | None = None) -> MessageStep:
    return MessageStep(delay=delay, at=at, body="x")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_now_is_now_and_hours_are_elapsed_time() -> None:
    start = at("2026-03-28T20:00:00+01:00")
    assert due_at(MessageStep(when="now", body="x"), start, "Europe/Berlin", "morning") == start
    assert due_at(after("36h"), start, "Europe/Berlin", "morning") == start + timedelta(hours=36)


@pytest.mark.parametrize(
    ("delay", "own", "preferred", "expected"),
    [
        ("1d", None, "morning", "2026-03-29T09:00:00+02:00"),
        ("1d", "preferred", "evening", "2026-03-29T18:00:00+02:00"),
        ("1d", "07:15", "evening", "2026-03-29T07:15:00+02:00"),
        ("1w", None, "8:05", "2026-04-04T08:05:00+02:00"),
        ("1d", None, "whenever", "2026-03-29T09:00:00+02:00"),
        ("1d", None, "02:30", "2026-03-29T03:00:00+02:00"),
    ],
)
def test_days_are_calendar_days_at_a_local_time(delay: str, own: str | None, preferred: str, expected: str) -> None:
    assert due_at(after(delay, own), at("2026-03-28T23:50:00+01:00"), "Europe/Berlin", preferred) == at(expected)


def test_an_hour_that_comes_twice_means_its_first_time() -> None:
    due = due_at(after("1d"), at("2026-10-24T12:00:00+02:00"), "Europe/Berlin", "02:30")
    assert due == at("2026-10-25T02:30:00+02:00")


def test_a_skipped_day_ends_with_its_gap() -> None:
    assert local_instant("Pacific/Apia", date(2011, 12, 30), time(9)) == at("2011-12-31T00:00:00+14:00")


@pytest.mark.parametrize(
    "tz", ["Mars/Olympus", "", "Europe", "../../etc/passwd", "/etc/passwd", "a\x00b", "x" * 5_000, "\ud800"]
)
def test_an_unknown_zone_is_utc(tz: str) -> None:
    assert not known_zone(tz) and zone(tz) == ZoneInfo("UTC")
    assert due_at(after("1d"), at("2026-01-01T23:00:00+00:00"), tz, "morning") == at("2026-01-02T09:00:00+00:00")


@pytest.mark.parametrize("text", ["", "9", "24:00", "09:60", "9:5", "-1:00", "09:00:00", "noon", "١٢:٠٠", ":", "1e:00"])
def test_times_that_are_none(text: str) -> None:
    assert clock_time(text) is None


@given(
    MOMENTS, st.sampled_from(ZONES), TIMES, st.integers(1, 30), st.none() | st.sampled_from(["09:00", "00:00", "02:30"])
)
def test_a_day_step_is_that_many_calendar_days_later(
    moment: datetime, tz: str, preferred: str, days: int, own: str | None
) -> None:
    there = ZoneInfo(tz)
    due = due_at(after(f"{days}d", own), moment, tz, preferred)
    assert due.tzinfo is UTC and due >= moment
    wanted = clock_time(own or preferred)
    assert wanted is not None
    day = moment.astimezone(there).date() + timedelta(days=days)
    wall = datetime.combine(day, wanted)
    local = due.astimezone(there).replace(tzinfo=None)
    if local != wall:
        # Only a gap excuses another time: a moment before, clocks there still showed less than what was asked for.
        assert local > wall and (due - timedelta(seconds=1)).astimezone(there).replace(tzinfo=None) < wall
    else:
        assert due.astimezone(there).fold == 0


@given(MOMENTS, st.sampled_from(ZONES), TIMES, st.sampled_from(["1m", "30m", "23h", "36h", "1d", "2d", "1w"]))
def test_never_before_the_previous_step_and_always_the_same(
    moment: datetime, tz: str, preferred: str, delay: str
) -> None:
    due = due_at(after(delay), moment, tz, preferred)
    assert due >= moment
    assert due == due_at(after(delay), moment.astimezone(ZoneInfo("Asia/Kolkata")), tz, preferred)
