"""What the gateway answers. Members that a later version adds are passed over."""

from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct


class Contact(Struct):
    """An address: `state` tells whether it works, `consent` what the person said."""

    channel: str
    address: str | None
    state: str
    reason: str | None
    consent: str


class Person(Struct):
    """A person as Nurture knows them."""

    id: UUID
    external_id: str | None
    first_name: str
    email: str | None
    telegram_chat_id: str | None
    timezone: str
    locale: str
    preferred_time: str
    preferred_channel: str | None
    attributes: dict[str, Any]
    contacts: list[Contact]
    created_at: datetime
    updated_at: datetime


class Enrolled(Struct):
    """A sequence that has started, with its first step. `paused` while it is held."""

    command_id: UUID
    enrolment_id: UUID
    user_id: UUID
    sequence_type: str
    version: int
    step: int
    channel: str | None
    scheduled_at: datetime
    paused: bool = False


class Accepted(Struct):
    """Stored, will be done; `command(command_id)` tells what became of it."""

    command_id: UUID


class Cancelled(Struct):
    """How many enrolments ended."""

    command_id: UUID
    cancelled: int


class Refusal(Struct):
    """Somebody who was not started, and why."""

    user: str
    reason: str


class Command(Struct):
    """accepted, settled or expired. The counts belong to triggers and grow while they run."""

    id: UUID
    kind: str
    state: str
    status: int | None
    started: int = 0
    running: int = 0
    refused_count: int = 0
    refused_by_reason: dict[str, int] = {}
    refused: list[Refusal] = []
    result: dict[str, Any] | None = None


class EventTaken(Struct):
    """accepted: stored, will count. repeated: its id was taken before. rejected: see `reason`."""

    index: int
    status: str
    event_id: UUID | None = None
    reason: str | None = None


class EventsTaken(Struct):
    """A result for each event, in order."""

    results: list[EventTaken]


class UpdatesTaken(Struct):
    """How many updates are stored and will be handled."""

    accepted: int


class ChatLink(Struct):
    """For that person only: opened in Telegram it connects their chat, once."""

    url: str
    expires_at: datetime
