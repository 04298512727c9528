"""Pure: what a score means for wording and channel, and which arm of a test a person belongs to."""

import math
from collections.abc import Sequence
from hashlib import sha256
from uuid import UUID

from nurture_contracts.base import Channel

from nurture_controller.people import Person
from nurture_controller.sequence import Tier, Variant

NEUTRAL = 20.0
"""The score of somebody of whom nothing is known, also per channel."""
TIERS: tuple[tuple[float, Tier], ...] = ((50.0, "high"), (20.0, "medium"), (0.0, "low"))
"""Lowest overall score of each tier."""
TELLING = 2.0
"""Points by which one channel's score must lead before it decides; below that email comes first."""


def score_of(person: Person | None, kind: str) -> float:
    """A score from 0 to 100, neutral where there is none."""
    return person.scores.get(kind, NEUTRAL) if person else NEUTRAL


def tier_of(person: Person | None) -> Tier:
    """The wording tier of a person's overall score."""
    score = score_of(person, "overall")
    return next(tier for least, tier in TIERS if score >= least)


def by_score(person: Person | None, channels: Sequence[Channel]) -> tuple[Channel, ...]:
    """`channels`, given in their usual order, with one that clearly leads put first."""
    best = max(channels, key=lambda channel: score_of(person, channel))
    first = channels[0]
    if score_of(person, best) - score_of(person, first) < TELLING:
        return tuple(channels)
    return (best, *(channel for channel in channels if channel != best))


def assign(variants: Sequence[Variant], salt: str, user_id: UUID) -> str | None:
    """The person's arm: weighted rendezvous hashing (Wang & Ravishankar 1998; weights as in Schindelhauer 2005).

    The same person gets the same arm for the same salt, and a changed weight moves only as many people as it must.
    """
    if not variants:
        return None

    def claim(variant: Variant) -> float:
        digest = sha256(f"{salt}\x1f{variant.name}\x1f{user_id}".encode()).digest()
        share = (int.from_bytes(digest[:8], "big") + 0.5) / 2**64
        return variant.weight / -math.log(share)

    return max(variants, key=claim).name
