"""Pure: the decayed response rate behind every score, "answers per message, recent ones count more".

R sums what came back, N what was sent, each term weighted by `2^((t - L) / H)` for its own time t. Because the landmark L
is fixed, a sum never has to be aged: its decay at any later time is one division (forward decay: Cormode, Shkapenyuk,
Srivastava and Xu, "Forward Decay: A Practical Time Decay Model for Streaming Systems", ICDE 2009). A person of whom little
is known is drawn towards the mean of everybody (`STRENGTH` imaginary messages answered at the mean rate).

All times are Unix seconds of business time. The published SQL functions compute the same; a test holds the two together.
"""

from datetime import UTC, datetime
from typing import Literal

Kind = Literal["overall", "email", "telegram", "attendance", "commitment"]
KINDS: tuple[Kind, ...] = ("overall", "email", "telegram", "attendance", "commitment")
COUNTED: tuple[Kind, ...] = ("email", "telegram", "attendance", "commitment")
"""Kinds with sums of their own; `overall` is the sum of email and telegram."""

LANDMARK = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
HALF_LIFE = 30 * 86_400.0
STRENGTH = 4.0
"""Messages that the mean counts for."""
USUAL_RATE = 0.2
"""The mean rate until `ENOUGH` messages, in decayed terms, have shown the real one."""
ENOUGH = 10.0
_FURTHEST = 1000.0
"""Powers of two beyond this leave the range of a float64; reached some 82 years from the landmark."""


def weight(at: float) -> float:
    """What a term of time `at` counts in R and N; also what divides them to read them at that time."""
    return 2.0 ** max(-_FURTHEST, min(_FURTHEST, (at - LANDMARK) / HALF_LIFE))


def mean_rate(mean_r: float, mean_n: float, at: float) -> float:
    """The rate at which everybody answers, 0 to 1."""
    if mean_n < ENOUGH * weight(at):
        return USUAL_RATE
    return max(0.0, min(1.0, mean_r / mean_n))


def score(r: float, n: float, mean_r: float, mean_n: float, at: float) -> float:
    """0 to 100 as of `at`. R is capped by N, so that a promise kept twice is kept once."""
    return score_at_rate(r, n, mean_rate(mean_r, mean_n, at), at)


def score_at_rate(r: float, n: float, rate: float, at: float) -> float:
    """The same for a given mean rate."""
    sent = max(0.0, n)
    answered = max(0.0, min(r, sent))
    prior = STRENGTH * weight(at)
    return 100.0 * (answered + prior * rate) / (sent + prior)


def overall(*channels: tuple[float, float, bool]) -> tuple[float, float]:
    """R and N of all channels together, each given as (R, N, blocked): their N-weighted mean rate.

    A blocked channel answers nothing any more, but what was sent there stays sent.
    """
    return (
        sum(0.0 if blocked else min(r, n) for r, n, blocked in channels),
        sum(n for _, n, _ in channels),
    )
