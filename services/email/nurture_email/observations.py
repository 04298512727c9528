"""Provider webhooks and tracking hits as the room's own events. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal
from uuid import UUID

from msgspec import Struct
from nurture_contracts.events import EventKind, Hit, Observation, Settlement, WebhookReceived
from nurture_contracts.ids import derived

from nurture_email.attempts import Result

KINDS: dict[str, EventKind] = {
    "email.sent": "sent",
    "email.delivered": "delivered",
    "email.delivery_delayed": "delayed",
    "email.opened": "opened",
    "email.clicked": "clicked",
    "email.bounced": "bounced",
    "email.complained": "complained",
    "email.suppressed": "suppressed",
    "email.failed": "failed",
}

Reason = Literal["bounced", "complained", "suppressed"]


class Report(Struct, frozen=True):
    """An address that must not be written to again, named by the delivery that showed it."""

    delivery_id: UUID
    reason: Reason
    at: datetime


def of_webhook(webhook: WebhookReceived) -> Observation | None:
    """None for types that say nothing about a mail's way."""
    kind = KINDS.get(webhook.type)
    if kind is None or (webhook.delivery_id is None and webhook.provider_id is None):
        return None
    return Observation(
        event_id=derived("webhook", webhook.webhook_id),
        kind=kind,
        at=webhook.at,
        delivery_id=webhook.delivery_id,
        provider_id=webhook.provider_id,
        bounce=("hard" if webhook.bounce_type == "Permanent" else "soft") if kind == "bounced" else None,
    )


def report(observation: Observation) -> Report | None:
    """Permanent bounces, complaints and the provider's own suppressions end an address; soft bounces do not."""
    if observation.delivery_id is None:
        return None
    match observation.kind:
        case "bounced" if observation.bounce == "hard":
            return Report(observation.delivery_id, "bounced", observation.at)
        case "complained" | "suppressed" as reason:
            return Report(observation.delivery_id, reason, observation.at)
        case _:
            return None


def of_hit(hit: Hit) -> Observation:
    """A hit on a tracking link, as it was judged at the door."""
    return Observation(
        event_id=hit.event_id, kind=hit.kind, at=hit.at, delivery_id=hit.delivery_id, link=hit.link, signal=hit.signal
    )


def settlement(delivery_id: UUID, result: Result, at: datetime, attempt: int) -> Settlement:
    """The end of the attempts at one delivery."""
    return Settlement(
        delivery_id=delivery_id,
        outcome=result.outcome,
        at=at,
        attempt=attempt,
        provider_id=result.provider_id,
        reason=result.reason,
    )


def handed_over(claim_id: UUID, results: Mapping[UUID, Result], at: datetime) -> list[Observation]:
    """What a provider that reports nothing later has taken: being sent is the last that is heard of it."""
    return [
        Observation(
            event_id=derived("handed-over", claim_id, id),
            kind="sent",
            at=at,
            delivery_id=id,
            provider_id=result.provider_id,
            final=True,
        )
        for id, result in results.items()
        if result.outcome == "accepted"
    ]


def late(claim_id: UUID, results: Mapping[UUID, Result], at: datetime) -> list[Observation]:
    """What an answer shows that came after its claim had passed on to another worker: who was accepted left, whatever the
    later attempts end in. Nothing else in it counts."""
    return [
        Observation(
            event_id=derived("late", claim_id, id), kind="sent", at=at, delivery_id=id, provider_id=result.provider_id
        )
        for id, result in results.items()
        if result.outcome == "accepted"
    ]


def progress_of_test(claim_id: UUID, id: UUID, result: Result, at: datetime) -> Observation:
    """How the sending of a test mail ended; `unknown` may still arrive, so it counts as delayed."""
    kinds: dict[str, EventKind] = {"accepted": "sent", "unknown": "delayed"}
    return Observation(
        event_id=derived("test-settled", claim_id, id),
        kind=kinds.get(result.outcome, "failed"),
        at=at,
        delivery_id=id,
        provider_id=result.provider_id,
        reason=result.reason,
    )
