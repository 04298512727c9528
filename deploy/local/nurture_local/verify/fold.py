"""Pure: what the log comes to, once more and by itself: the earliest time of each kind of fact."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from msgspec import Struct

from nurture_local.verify.history import KINDS, PENDING, Delivery, Event

EVIDENCE = frozenset({"delivered", "opened", "clicked", "bounced", "complained"})
"""Kinds of facts that only a message which left can have."""
_ANSWERS = {"pressed": "clicked", "replied": "clicked"}
_PLANNED = {"skip": "suppressed", "expire": "expired", "fail": "failed"}


class Folded(Struct, frozen=True):
    """Facts by kind, and the rest of what the log says of a delivery."""

    facts: dict[str, datetime]
    reason: str | None
    provider_id: str | None
    attempts: int

    @property
    def status(self) -> str:
        return next((kind for kind in KINDS if kind in self.facts), PENDING)


def facts_of(event: Event) -> tuple[str, ...]:
    """The kinds of facts that an event sets; none for what is only told, like a delay."""
    if event.arrived:
        return ("sent", "delivered")
    kind = _ANSWERS.get(event.kind, event.kind)
    if kind in EVIDENCE:
        return ("sent", kind)
    return (kind,) if kind in KINDS else ()


def fold(one: Delivery, events: Iterable[Event]) -> Folded:
    """A delivery's facts: those of its plan, which may have been not to send it, and those of its events."""
    facts: dict[str, datetime] = {}
    if one.decided in _PLANNED:
        facts[_PLANNED[one.decided]] = one.created_at
    reasons: list[str] = []
    providers: list[str] = []
    attempts = 0
    for event in events:
        for kind in facts_of(event):
            if kind not in facts or event.at < facts[kind]:
                facts[kind] = event.at
        if event.reason and event.kind != "sent":
            reasons.append(event.reason)
        if event.provider_id:
            providers.append(event.provider_id)
        attempts = max(attempts, event.attempts)
    return Folded(facts, min(reasons, default=None), min(providers, default=None), attempts)


def differences(one: Delivery, folded: Folded) -> list[str]:
    """Where a row is not what its log comes to, in words."""
    found = [
        f"{kind}_at is {_shown(one.fact(kind))}, and the log says {_shown(folded.facts.get(kind))}"
        for kind in KINDS
        if one.fact(kind) != folded.facts.get(kind)
    ]
    if one.status != folded.status:
        found.append(f"status is {one.status}, and the log says {folded.status}")
    rest: list[tuple[str, Any, Any]] = [
        ("provider_id", one.provider_id, folded.provider_id), ("attempts", one.attempts, folded.attempts),
    ]  # fmt: skip
    if one.decided == "send":
        rest.append(("failure_reason", one.failure_reason, folded.reason))
    found += [f"{name} is {row}, and the log says {told}" for name, row, told in rest if row != told]
    return found


def _shown(at: datetime | None) -> str:
    return at.isoformat(timespec="milliseconds") if at else "nothing"
