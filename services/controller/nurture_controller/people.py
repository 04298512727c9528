"""What planning knows about a person: facts read from the gateway's views, as plain values."""

from collections.abc import Mapping
from typing import Any, Literal
from uuid import UUID

from msgspec import Struct
from nurture_contracts.base import Channel

from nurture_controller.sequence import MessageKind

ContactState = Literal["ok", "bounced", "complained", "suppressed", "blocked"]
Consent = Literal["granted", "refused"]


class Person(Struct, frozen=True, kw_only=True):
    """A person. `scores` (0 to 100) are by `overall`, `email`, `telegram`, as far as there are any.

    `preferred_time` is morning, afternoon, evening, night or HH:MM, in `timezone` (an IANA name).
    """

    id: UUID
    first_name: str = ""
    timezone: str = "UTC"
    locale: str = "en"
    attributes: dict[str, Any] = {}
    preferred_channel: Channel | None = None
    preferred_time: str = "morning"
    scores: dict[str, float] = {}


class Contact(Struct, frozen=True, kw_only=True):
    """One way to reach a person. It may be used only while `state` is ok, `consent` (the person's word) is granted, and only for
    what the person wants there."""

    channel: Channel
    address: str
    state: ContactState = "ok"
    consent: Consent = "granted"
    wants: tuple[MessageKind, ...] = ("sequence", "announcement")


Contacts = Mapping[Channel, Contact]
