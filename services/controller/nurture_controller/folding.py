"""Pure: what was said about deliveries, as rows of the log and as facts."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from nurture_contracts.events import Observation, Settlement
from nurture_contracts.ids import derived

from nurture_controller.facts import Status, status

OUTCOME_KIND = {
    "accepted": "sent",
    "rejected": "failed",
    "unknown": "unknown",
    "suppressed": "suppressed",
    "expired": "expired",
}
"""The log's word for each way that attempts can end."""

FACTS = (
    "sent",
    "delivered",
    "opened",
    "clicked",
    "bounced",
    "complained",
    "failed",
    "suppressed",
    "cancelled",
    "expired",
    "unknown",
)
"""Kinds that set a fact, in the order of the fold's columns. Others (`delayed`, `unsubscribed`) are timeline only."""

AS_FACT = {"pressed": "clicked", "replied": "clicked"}
"""An answer in a chat is engagement of the strongest kind; the timeline keeps what it was."""

POSSIBLE_DUPLICATE = "possible_duplicate"
"""The reason of a settlement, whatever its outcome, after which the message may have come more than once."""

EVIDENCE = frozenset({"delivered", "opened", "clicked", "bounced", "complained"})
"""Facts that only a message which left can have."""


class Logged(NamedTuple):
    """One row of `delivery_events`."""

    event_id: UUID
    delivery_id: UUID | None
    provider_id: str | None
    kind: str
    at: datetime
    detail: dict[str, Any]


def of_settlement(claim_id: UUID, item: Settlement, *, arrived: bool = False) -> Logged:
    """The end of attempts; with `arrived`, accepted means delivered as well.

    Its id follows from claim and delivery, so that a repeated page is the same event.
    """
    kind = "cancelled" if item.reason == "cancelled" else OUTCOME_KIND[item.outcome]
    detail: dict[str, Any] = {"attempts": item.attempt}
    if arrived and kind == "sent":
        detail["arrived"] = True
    if item.reason:
        detail["reason"] = item.reason
    if item.reason == POSSIBLE_DUPLICATE:
        detail["possible_duplicate"] = True
    return Logged(
        derived("settled", claim_id, item.delivery_id), item.delivery_id, item.provider_id, kind, item.at, detail
    )


def of_observation(item: Observation) -> Logged:
    """What happened later. A provider that takes a message and then drops it has bounced it, whatever it calls that."""
    detail: dict[str, Any] = {"signal": item.signal}
    kind = item.kind
    if kind in ("failed", "suppressed"):
        detail["reason"] = f"provider_{kind}"
        kind = "bounced"
    elif kind == "bounced":
        detail["reason"] = f"{item.bounce or 'unknown'}_bounce"
    if item.link:
        detail["link"] = item.link
    if item.final:
        detail["final"] = True
    return Logged(item.event_id, item.delivery_id, item.provider_id, kind, item.at, detail)


class Row(Protocol):
    """A row of the log, as read back."""

    def __getitem__(self, key: str, /) -> Any: ...


class Told(NamedTuple):
    """What rows of the log say about one delivery, in the order of `facts_fold`'s columns: each fact's earliest time,
    then the least reason and provider id, the most attempts, and whether it may have come twice."""

    delivery_id: UUID
    sent_at: datetime | None = None
    delivered_at: datetime | None = None
    opened_at: datetime | None = None
    clicked_at: datetime | None = None
    bounced_at: datetime | None = None
    complained_at: datetime | None = None
    failed_at: datetime | None = None
    suppressed_at: datetime | None = None
    cancelled_at: datetime | None = None
    expired_at: datetime | None = None
    unknown_at: datetime | None = None
    reason: str | None = None
    provider_id: str | None = None
    attempts: int = 0
    possible_duplicate: bool = False

    @property
    def known(self) -> frozenset[str]:
        """The kinds of facts that are known."""
        return frozenset(kind for kind in FACTS if getattr(self, f"{kind}_at") is not None)

    @property
    def status(self) -> Status:
        """The status that these facts alone would make."""
        return status(self.known)


def _facts_of(kind: str, detail: dict[str, Any]) -> tuple[str, ...]:
    if detail.get("arrived"):
        return "sent", "delivered"
    known = AS_FACT.get(kind, kind)
    # Whoever answers a message has got it: evidence that it left, whatever its attempts ended in.
    return ("sent", known) if known in EVIDENCE else (known,)


def facts(rows: Iterable[Row]) -> list[Told]:
    """The fold of rows in any order and any number: one entry a delivery, in id order."""
    found: dict[UUID, dict[str, Any]] = {}
    for row in rows:
        if row["delivery_id"] is None:
            continue
        told = found.setdefault(row["delivery_id"], {"attempts": 0})
        kind, at, detail = row["kind"], row["at"], row["detail"]
        for fact in _facts_of(kind, detail):
            if fact in FACTS:
                told[f"{fact}_at"] = min(at, told.get(f"{fact}_at", at))
        reason = detail.get("reason")
        if reason and kind != "sent":
            told["reason"] = min(reason, told.get("reason", reason))
        if row["provider_id"]:
            told["provider_id"] = min(row["provider_id"], told.get("provider_id", row["provider_id"]))
        told["attempts"] = max(detail.get("attempts", 0), told["attempts"])
        told["possible_duplicate"] = told.get("possible_duplicate", False) or detail.get("possible_duplicate", False)
    return [Told(delivery_id, **told) for delivery_id, told in sorted(found.items())]
