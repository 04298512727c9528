"""What happened to a delivery, as facts; its status is a function of them.

A fact is the earliest time at which something was seen to happen. Folding takes minima, so events may come in any
order and any number of times. The table `deliveries` computes the same status; a test holds the two together.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from msgspec import Struct

Status = Literal[
    "complained", "bounced", "clicked", "opened", "delivered", "sent", "failed", "suppressed", "cancelled", "expired",
    "unknown", "pending",
]  # fmt: skip

PRECEDENCE: tuple[Status, ...] = (
    "complained", "bounced", "clicked", "opened", "delivered", "sent", "failed", "suppressed", "cancelled", "expired",
    "unknown",
)  # fmt: skip
"""Strongest first. Evidence that a message went out (`sent` and above) beats what was intended or feared (below)."""

SEED_STATUS: dict[Status, str] = {
    "pending": "pending",
    "sent": "sent",
    "delivered": "delivered",
    "opened": "opened",
    "clicked": "clicked",
    "bounced": "bounced",
    "complained": "delivered",
    "failed": "failed",
    "suppressed": "failed",
    "cancelled": "failed",
    "expired": "failed",
    "unknown": "failed",
}
"""`message_deliveries.delivery_status` knows seven words; `status_detail` keeps ours beside it."""


class Facts(Struct, frozen=True, kw_only=True):
    """Earliest time of each kind, or None."""

    complained_at: datetime | None = None
    bounced_at: datetime | None = None
    clicked_at: datetime | None = None
    opened_at: datetime | None = None
    delivered_at: datetime | None = None
    sent_at: datetime | None = None
    failed_at: datetime | None = None
    suppressed_at: datetime | None = None
    cancelled_at: datetime | None = None
    expired_at: datetime | None = None
    unknown_at: datetime | None = None


NOTHING = Facts()
_FIELD = {kind: f"{kind}_at" for kind in PRECEDENCE}


def fold(facts: Facts, events: Iterable[tuple[str, datetime]]) -> Facts:
    """`facts` with `events` of (kind, time) taken in. Kinds that set no fact, such as `delayed`, change nothing."""
    earliest: dict[str, datetime | None] = {field: getattr(facts, field) for field in _FIELD.values()}
    for kind, at in events:
        field = _FIELD.get(kind)  # type: ignore[call-overload]
        if field is not None:
            known = earliest[field]
            earliest[field] = at if known is None else min(known, at)
    return Facts(**earliest)


def status(facts: Facts) -> Status:
    """The strongest fact; `pending` without any."""
    for kind in PRECEDENCE:
        if getattr(facts, _FIELD[kind]) is not None:
            return kind
    return "pending"


def delivery_status(state: Status) -> str:
    """The status in the seed's seven words."""
    return SEED_STATUS[state]


def terminal(state: Status) -> bool:
    """Whether no attempt will follow. Later evidence may still make it a stronger status."""
    return state != "pending"
