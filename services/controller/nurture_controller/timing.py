"""When a step is due: elapsed time, or calendar days later at a person's local time. UTC in, UTC out."""

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from nurture_controller.sequence import Step, duration

PREFERRED_TIMES = {"morning": time(9), "afternoon": time(13), "evening": time(18), "night": time(21)}
DEFAULT_TIME = PREFERRED_TIMES["morning"]


class _Schedule(NamedTuple):
    days: int
    elapsed: timedelta
    at: time | None


def due_at(step: Step, previous: datetime, tz: str, preferred_time: str) -> datetime:
    """When `step` is due if the one before was due at `previous` (aware). Never earlier than `previous`.

    Hours and minutes are elapsed time. Days are calendar days in `tz`, at the step's own or the preferred time.
    A local time that the clocks skip means the first instant after the gap; one that comes twice means the first.
    An unknown zone counts as UTC and an unknown time as morning: see `known_zone`, `clock_time`.
    """
    when, delay, at = step.when, step.delay, step.at
    if when == "now" or delay is None:
        return previous.astimezone(UTC)
    schedule = _schedule(delay, at)
    if not schedule.days:
        return previous.astimezone(UTC) + schedule.elapsed
    local = previous.astimezone(zone(tz)).date()
    at_time = schedule.at or clock_time(preferred_time) or DEFAULT_TIME
    return max(local_instant(tz, local + timedelta(days=schedule.days), at_time), previous.astimezone(UTC))


def zone(tz: str) -> ZoneInfo:
    """The zone of an IANA name; UTC where there is none."""
    return _zone(tz) or _UTC


def known_zone(tz: str) -> bool:
    """Whether `tz` names a time zone."""
    return _zone(tz) is not None


@lru_cache(maxsize=256)
def clock_time(preferred_time: str) -> time | None:
    """`morning`, `afternoon`, `evening`, `night` or `HH:MM` as a time of day; None for anything else."""
    named = PREFERRED_TIMES.get(preferred_time)
    if named is not None:
        return named
    hours, colon, minutes = preferred_time.partition(":")
    digits = hours + minutes
    if colon and 1 <= len(hours) <= 2 and len(minutes) == 2 and digits.isascii() and digits.isdigit():
        hour, minute = int(hours), int(minutes)
        if hour < 24 and minute < 60:
            return time(hour, minute)
    return None


@lru_cache(maxsize=8192)
def local_instant(tz: str, day: date, at: time) -> datetime:
    """The UTC instant at which clocks in `tz` first show `at` on `day`, or the first instant after a gap over it."""
    there = zone(tz)
    wall = datetime.combine(day, at, tzinfo=there)
    before, after = wall.utcoffset(), wall.replace(fold=1).utcoffset()
    assert before is not None and after is not None
    first = wall.replace(tzinfo=UTC) - before
    if before >= after:
        return first
    return _end_of_gap(there, first - (after - before), first, before)


def _end_of_gap(there: ZoneInfo, low: datetime, high: datetime, before: timedelta) -> datetime:
    # The clocks jump after `low` and not after `high`; both are whole seconds, as all jumps are.
    while high - low > timedelta(seconds=1):
        middle = (low + (high - low) / 2).replace(microsecond=0)
        if middle.astimezone(there).utcoffset() == before:
            low = middle
        else:
            high = middle
    return high


@lru_cache(maxsize=1024)
def _zone(tz: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(tz)
    except (KeyError, ValueError, OSError, TypeError):
        # Directories, paths and broken files each have their own way of not being a zone.
        return None


@lru_cache(maxsize=1024)
def _schedule(delay: str, at: str | None) -> _Schedule:
    span = duration(delay)
    own = None if at in (None, "preferred") else clock_time(at)
    if delay.endswith(("d", "w")):
        return _Schedule(span.days, span, own)
    return _Schedule(0, span, None)


_UTC = ZoneInfo("UTC")
