"""Faults by chance: so many calls in a hundred go wrong, drawn in a seeded order, so that a run can be had again."""

import random
from typing import Annotated, Literal

from msgspec import Meta, Struct

Fate = Literal["fine", "refused", "failed", "failed_after", "lost"]
"""refused: 429, no effect. failed: 500, no effect. failed_after: 500 though it took effect. lost: effect, and no reply."""
Fraction = Annotated[float, Meta(ge=0, le=1)]
_FATES: tuple[Fate, ...] = ("refused", "failed", "failed_after", "lost")


class Odds(Struct, kw_only=True, forbid_unknown_fields=True):
    """The share of calls that meets each fate, as fractions of 1. `drawn` counts the calls since `seed` was set."""

    seed: int = 0
    refused: Fraction = 0
    failed: Fraction = 0
    failed_after: Fraction = 0
    lost: Fraction = 0
    drawn: Annotated[int, Meta(ge=0)] = 0

    def draw(self) -> Fate:
        """What becomes of the next call."""
        if not any(getattr(self, fate) for fate in _FATES):
            return "fine"
        self.drawn += 1
        left = random.Random(f"{self.seed}:{self.drawn}").random()  # noqa: S311 - chance that can be repeated
        for fate in _FATES:
            left -= getattr(self, fate)
            if left < 0:
                return fate
        return "fine"
