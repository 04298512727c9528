"""What is known of a delivery makes its status. Pure.

A fact is the earliest time at which something was seen to happen; `folding.py` reads facts off the log. The table `deliveries`
ranks them in the same order (a generated column); a test holds the two together.
"""

from collections.abc import Container
from typing import Literal

Status = Literal[
    "complained", "bounced", "clicked", "opened", "delivered", "sent", "failed", "suppressed", "cancelled", "expired",
    "unknown", "pending",
]  # fmt: skip

PRECEDENCE: tuple[Status, ...] = (
    "complained", "bounced", "clicked", "opened", "delivered", "sent", "failed", "suppressed", "cancelled", "expired",
    "unknown",
)  # fmt: skip
"""Strongest first. Evidence that a message went out (`sent` and above) beats what was intended or feared (below)."""


def status(known: Container[str]) -> Status:
    """The strongest of the kinds of facts that are known; `pending` without any."""
    for kind in PRECEDENCE:
        if kind in known:
            return kind
    return "pending"
