"""Events: the room in the subject says them; whoever is concerned hears them."""

from typing import Any, ClassVar, Literal
from uuid import UUID

from nurture_contracts.base import Channel, Instant, Item, Message

Outcome = Literal["accepted", "rejected", "unknown", "suppressed", "expired"]
"""How the channel's attempts at one delivery ended.

accepted: the provider has it. rejected: it refused this message for good. unknown: nobody can tell.
suppressed: consent or a suppression forbade it. expired: it came too late to be sent.
"""

EventKind = Literal[
    "sent", "delivered", "delayed", "opened", "clicked", "pressed", "replied", "bounced", "complained", "suppressed",
    "failed", "unsubscribed",
]  # fmt: skip
Signal = Literal["human", "machine", "unknown"]


class CommandSettled(Message, frozen=True, kw_only=True):
    """The controller has executed or refused a command; `status` is the HTTP status of its answer."""

    subject: ClassVar[str] = "nurture.evt.controller.command_settled"
    command_id: UUID
    at: Instant
    status: int
    result: dict[str, Any]


class Settlement(Item, frozen=True, kw_only=True):
    """The end of the attempts at one delivery. `reason` is the provider's error name or ours."""

    delivery_id: UUID
    outcome: Outcome
    at: Instant
    attempt: int
    provider_id: str | None = None
    reason: str | None = None


class EmailsSettled(Message, frozen=True, kw_only=True):
    """A page of deliveries that the email room is done trying."""

    subject: ClassVar[str] = "nurture.evt.email.settled"
    claim_id: UUID
    items: list[Settlement]


class TelegramsSettled(Message, frozen=True, kw_only=True):
    """A page of deliveries that the telegram room is done trying."""

    subject: ClassVar[str] = "nurture.evt.telegram.settled"
    claim_id: UUID
    items: list[Settlement]


class Observation(Item, frozen=True, kw_only=True):
    """Something that happened to a message after it left. Folding it twice, or in any order, changes nothing.

    `final`: a `sent` after which nobody reports a delivery, so that whoever counts what arrived counts this.
    `reason`: why a test mail failed, as the provider named it.
    """

    event_id: UUID
    kind: EventKind
    at: Instant
    delivery_id: UUID | None = None
    provider_id: str | None = None
    link: str | None = None
    bounce: Literal["hard", "soft"] | None = None
    signal: Signal = "unknown"
    final: bool = False
    reason: str | None = None


class EmailsObserved(Message, frozen=True, kw_only=True):
    """A page of what providers and tracking links reported about emails."""

    subject: ClassVar[str] = "nurture.evt.email.observed"
    items: list[Observation]


class TelegramsObserved(Message, frozen=True, kw_only=True):
    """A page of what people did with Telegram messages: links followed, buttons pressed, replies."""

    subject: ClassVar[str] = "nurture.evt.telegram.observed"
    items: list[Observation]


class ChatChange(Item, frozen=True, kw_only=True):
    """A person's chat became usable or unusable. Its id stays in the telegram room; `telegram_chats` shows it."""

    event_id: UUID
    user_id: UUID
    change: Literal["linked", "stopped", "blocked", "unblocked", "gone"]
    at: Instant


class ChatsChanged(Message, frozen=True, kw_only=True):
    """A page of chats that were linked, refused by /stop, blocked, unblocked, or found not to exist."""

    subject: ClassVar[str] = "nurture.evt.telegram.chats_changed"
    items: list[ChatChange]


class TestEmailsProgressed(Message, frozen=True, kw_only=True):
    """What happened to test mails, kept apart so that no statistic ever counts one."""

    subject: ClassVar[str] = "nurture.evt.email.test_progressed"
    items: list[Observation]


class Suppression(Item, frozen=True, kw_only=True):
    """A channel that must not be used for this person again."""

    user_id: UUID
    channel: Channel
    delivery_id: UUID
    reason: Literal["bounced", "complained", "suppressed"]
    at: Instant


class AddressesSuppressed(Message, frozen=True, kw_only=True):
    """A page of people whose address a provider reported as dead or unwilling."""

    subject: ClassVar[str] = "nurture.evt.email.addresses_suppressed"
    items: list[Suppression]


class RecordedEvent(Item, frozen=True, kw_only=True):
    """What a person did elsewhere, kept for the first time. `event` is its name, never what is known about the person."""

    event_id: UUID
    user_id: UUID
    event: str
    at: Instant


class EventsRecorded(Message, frozen=True, kw_only=True):
    """A page of external events that were new, with the people that they are about."""

    subject: ClassVar[str] = "nurture.evt.scoring.events_recorded"
    items: list[RecordedEvent]


class WebhookReceived(Item, frozen=True, kw_only=True):
    """A verified provider webhook, reduced to ids. `webhook_id` is the provider's own (svix-id)."""

    webhook_id: str
    type: str
    at: Instant
    delivery_id: UUID | None = None
    provider_id: str | None = None
    bounce_type: str | None = None
    bounce_subtype: str | None = None
    reason: str | None = None
    test: bool = False


class EmailWebhooksReceived(Message, frozen=True, kw_only=True):
    """A page of verified email webhooks, stored before the provider got its 2xx."""

    subject: ClassVar[str] = "nurture.evt.gateway.email_webhooks_received"
    items: list[WebhookReceived]


class Hit(Item, frozen=True, kw_only=True):
    """A request on a tracking or unsubscribe link. `link` is the id inside the click token."""

    event_id: UUID
    kind: Literal["opened", "clicked", "unsubscribed"]
    delivery_id: UUID
    at: Instant
    link: str | None = None
    signal: Signal = "unknown"
    test: bool = False
    channel: Channel = "email"


class TrackingHit(Message, frozen=True, kw_only=True):
    """A page of hits on tracking links, group-committed by the gateway."""

    subject: ClassVar[str] = "nurture.evt.gateway.tracking_hit"
    items: list[Hit]


class TelegramUpdatesReceived(Message, frozen=True, kw_only=True):
    """Bot updates that came over HTTP, stored as an inbound page: they hold chat ids and texts, so only the page's id travels."""

    subject: ClassVar[str] = "nurture.evt.gateway.telegram_updates_received"
    page_id: UUID
