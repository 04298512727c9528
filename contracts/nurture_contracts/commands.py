"""Commands: the room in the subject hears them. Pages carry ids, never addresses, names or bodies."""

from typing import Any, ClassVar, Literal
from uuid import UUID

import msgspec

from nurture_contracts.base import Channel, Instant, Item, Message


class StartSequences(Message, frozen=True, kw_only=True):
    """Start a sequence for one person (`single`), for listed people, or for a segment.

    A single start is answered as a whole; others answer `{started, running, refused: [{user, reason}]}`.
    """

    subject: ClassVar[str] = "nurture.cmd.controller.start_sequences"
    command_id: UUID
    sequence_type: str
    at: Instant
    single: bool = False
    user_ids: list[UUID] = msgspec.field(default_factory=list)
    segment: Literal["all"] | None = None
    context: dict[str, Any] = msgspec.field(default_factory=dict)
    override_channel: Channel | None = None


class CancelEnrolments(Message, frozen=True, kw_only=True):
    """End running enrolments: one by id, one person's of a type, all that a start command made or will make, or, with
    `waiting`, each of which a message waits or a step is due."""

    subject: ClassVar[str] = "nurture.cmd.controller.cancel_enrolments"
    command_id: UUID
    at: Instant
    enrolment_id: UUID | None = None
    user_id: UUID | None = None
    sequence_type: str | None = None
    start_command_id: UUID | None = None
    waiting: bool = False


class PublishSequence(Message, frozen=True, kw_only=True):
    """Check a sequence in TOML and, unless `dry_run`, publish it as the next immutable version of its type."""

    subject: ClassVar[str] = "nurture.cmd.controller.publish_sequence"
    command_id: UUID
    at: Instant
    toml: str
    dry_run: bool = False


class SimulateSequence(Message, frozen=True, kw_only=True):
    """Tell what a start would do, without doing it: of a published type, or of a text in TOML that nobody has published.

    For listed people or a segment, as if it were started at `start_at` and every message arrived but those over `failing`.
    """

    subject: ClassVar[str] = "nurture.cmd.controller.simulate_sequence"
    command_id: UUID
    at: Instant
    start_at: Instant
    sequence_type: str | None = None
    toml: str | None = None
    user_ids: list[UUID] = msgspec.field(default_factory=list)
    segment: Literal["all"] | None = None
    context: dict[str, Any] = msgspec.field(default_factory=dict)
    override_channel: Channel | None = None
    failing: list[Channel] = msgspec.field(default_factory=list)


class PauseSequence(Message, frozen=True, kw_only=True):
    """Hold every running enrolment of a type, or of `*`, where it is, or let them go on. Steps that came due may expire.

    `confirm_restored` says with a release that a copied or restored database is the one to go on with.
    """

    subject: ClassVar[str] = "nurture.cmd.controller.pause_sequence"
    command_id: UUID
    at: Instant
    sequence_type: str
    paused: bool
    confirm_restored: bool = False


class ProcessDue(Message, frozen=True, kw_only=True):
    """Plan now what is due, one page: it would be planned within a second anyway. Two at once plan different people."""

    subject: ClassVar[str] = "nurture.cmd.controller.process_due"
    command_id: UUID
    at: Instant


class ResendDeliveries(Message, frozen=True, kw_only=True):
    """Send messages once more, each as a new round: one by its id, or all of a channel that certainly never left.

    `may_have_arrived` says of the one that it is to go out although it did arrive, or may have.
    """

    subject: ClassVar[str] = "nurture.cmd.controller.resend_deliveries"
    command_id: UUID
    at: Instant
    delivery_id: UUID | None = None
    channel: Channel | None = None
    may_have_arrived: bool = False


class ArchiveDeliveries(Message, frozen=True, kw_only=True):
    """Take the failed messages of a channel out of its queue. Nothing is deleted, and they count as before."""

    subject: ClassVar[str] = "nurture.cmd.controller.archive_deliveries"
    command_id: UUID
    at: Instant
    channel: Channel


class ExternalEvent(Item, frozen=True, kw_only=True):
    """Something a person did elsewhere: `attended`, `commitment_made`, `commitment_kept`, or any other name.

    One of `user_id` and `external_id` says who. The same `event_id` is taken once.
    """

    event_id: UUID
    event: str
    at: Instant
    user_id: UUID | None = None
    external_id: str | None = None


class RecordEvents(Message, frozen=True, kw_only=True):
    """A page of external events, from the REST API or from any program on the bus."""

    subject: ClassVar[str] = "nurture.cmd.scoring.record_events"
    items: list[ExternalEvent]


class SendEmails(Message, frozen=True, kw_only=True):
    """Wake the email room for a page of deliveries. `page_id` makes a repeated wake-up harmless.

    `test` marks a page of test mails: `items` are then ids of the gateway's test messages.
    """

    subject: ClassVar[str] = "nurture.cmd.email.send_emails"
    page_id: UUID
    items: list[UUID]
    test: bool = False


class SendTelegrams(Message, frozen=True, kw_only=True):
    """Wake the telegram room for a page of deliveries."""

    subject: ClassVar[str] = "nurture.cmd.telegram.send_telegrams"
    page_id: UUID
    items: list[UUID]


class ReplayDeadLetters(Message, frozen=True, kw_only=True):
    """Put dead letters of a room on the bus again; handlers are safe against what was done before."""

    items: list[UUID]


class ReplayGatewayLetters(ReplayDeadLetters, frozen=True, kw_only=True):
    """Dead letters of the gateway."""

    subject: ClassVar[str] = "nurture.cmd.gateway.replay_dead_letters"


class ReplayControllerLetters(ReplayDeadLetters, frozen=True, kw_only=True):
    """Dead letters of the controller."""

    subject: ClassVar[str] = "nurture.cmd.controller.replay_dead_letters"


class ReplayEmailLetters(ReplayDeadLetters, frozen=True, kw_only=True):
    """Dead letters of the email room."""

    subject: ClassVar[str] = "nurture.cmd.email.replay_dead_letters"


class ReplayTelegramLetters(ReplayDeadLetters, frozen=True, kw_only=True):
    """Dead letters of the telegram room."""

    subject: ClassVar[str] = "nurture.cmd.telegram.replay_dead_letters"


class ReplayScoringLetters(ReplayDeadLetters, frozen=True, kw_only=True):
    """Dead letters of the scoring room."""

    subject: ClassVar[str] = "nurture.cmd.scoring.replay_dead_letters"


REPLAY: dict[str, type[ReplayDeadLetters]] = {
    "gateway": ReplayGatewayLetters,
    "controller": ReplayControllerLetters,
    "email": ReplayEmailLetters,
    "telegram": ReplayTelegramLetters,
    "scoring": ReplayScoringLetters,
}
"""The replay command of each room."""
