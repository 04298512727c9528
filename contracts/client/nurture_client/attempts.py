"""When a call is repeated, and after how long. Pure."""

from email.utils import parsedate_to_datetime

AGAIN = frozenset({429, 500, 502, 503, 504})
"""The gateway answers these when nothing was done, or all of it; under its key a call may be repeated."""
FIRST, LONGEST = 0.25, 8.0


def wait_before(attempt: int, chance: float, retry_after: str | None, now: float) -> float:
    """Seconds before attempt 2, 3, …: what the server asks for, else an exponential wait with full jitter.

    `chance` is in [0, 1), `now` in seconds since 1970 (for a Retry-After that is a date).
    """
    asked = _seconds(retry_after, now)
    if asked is not None:
        return asked
    return chance * min(LONGEST, FIRST * 2.0 ** min(attempt - 2, 10))


def _seconds(retry_after: str | None, now: float) -> float | None:
    if retry_after is None:
        return None
    try:
        return max(0.0, float(int(retry_after)))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - now)
    except (ValueError, TypeError):
        return None
