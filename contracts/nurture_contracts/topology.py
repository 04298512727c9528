"""Streams and durable consumers: the one table that the controller enforces and every room subscribes by."""

from msgspec import Struct

from nurture_contracts import commands as c
from nurture_contracts import events as e
from nurture_contracts.base import Message

DAY = 86_400.0


class Stream(Struct, frozen=True, kw_only=True):
    """A stream with limits retention. Ages and windows in seconds."""

    name: str
    subjects: tuple[str, ...]
    max_age: float
    duplicate_window: float = 600.0


class Consumer(Struct, frozen=True, kw_only=True):
    """A durable pull consumer, named `<service>-<purpose>`, with explicit acks. `ack_wait` in seconds."""

    durable: str
    message: type[Message]
    stream: str
    ack_wait: float = 30.0
    max_ack_pending: int = 64


STREAMS = (
    Stream(name="COMMANDS", subjects=("nurture.cmd.>",), max_age=7 * DAY),
    Stream(name="EVENTS", subjects=("nurture.evt.>",), max_age=30 * DAY),
)


def _consumer(durable: str, message: type[Message]) -> Consumer:
    stream = "COMMANDS" if message.subject.startswith("nurture.cmd.") else "EVENTS"
    return Consumer(durable=durable, message=message, stream=stream)


CONSUMERS = (
    _consumer("controller-start", c.StartSequences),
    _consumer("controller-cancel", c.CancelEnrolments),
    _consumer("controller-publish", c.PublishSequence),
    _consumer("controller-simulate", c.SimulateSequence),
    _consumer("controller-email-settled", e.EmailsSettled),
    _consumer("controller-email-observed", e.EmailsObserved),
    _consumer("controller-telegram-settled", e.TelegramsSettled),
    _consumer("email-send", c.SendEmails),
    _consumer("email-webhooks", e.EmailWebhooksReceived),
    _consumer("email-tracking", e.TrackingHit),
    _consumer("telegram-send", c.SendTelegrams),
    _consumer("scoring-email-observed", e.EmailsObserved),
    _consumer("scoring-telegram-settled", e.TelegramsSettled),
    _consumer("controller-pause", c.PauseSequence),
    _consumer("controller-process", c.ProcessDue),
    _consumer("controller-resend", c.ResendDeliveries),
    _consumer("controller-archive", c.ArchiveDeliveries),
    _consumer("controller-telegram-observed", e.TelegramsObserved),
    _consumer("telegram-tracking", e.TrackingHit),
    _consumer("telegram-updates", e.TelegramUpdatesReceived),
    _consumer("scoring-telegram-observed", e.TelegramsObserved),
    _consumer("scoring-record-events", c.RecordEvents),
    _consumer("controller-events-recorded", e.EventsRecorded),
    _consumer("gateway-chats", e.ChatsChanged),
    _consumer("gateway-settled", e.CommandSettled),
    _consumer("gateway-suppressed", e.AddressesSuppressed),
    _consumer("gateway-test-progress", e.TestEmailsProgressed),
    *(_consumer(f"{room}-replay", message) for room, message in c.REPLAY.items()),
)

BY_DURABLE = {consumer.durable: consumer for consumer in CONSUMERS}
MESSAGES: tuple[type[Message], ...] = tuple(dict.fromkeys(consumer.message for consumer in CONSUMERS))

ROOMS = tuple(c.REPLAY)
_COMMANDED_BY: dict[type[Message], tuple[str, ...]] = {
    c.SendEmails: ("controller", "gateway"),
    c.SendTelegrams: ("controller",),
}
OVERHEARD: dict[str, tuple[type[Message], ...]] = {"gateway": (e.CommandSettled,)}
"""What a room's replicas all hear as it passes, beside its durable consumers."""


def said_by(message: type[Message]) -> tuple[str, ...]:
    """The rooms that say a message: an event its own room, a command the gateway, unless the table knows better."""
    _, kind, room, _ = message.subject.split(".")
    return (room,) if kind == "evt" else _COMMANDED_BY.get(message, ("gateway",))


def heard_by(room: str) -> tuple[Consumer, ...]:
    """The durable consumers of a room."""
    return tuple(consumer for consumer in CONSUMERS if consumer.durable.startswith(f"{room}-"))
