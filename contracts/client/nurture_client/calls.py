"""Each call as a value: what to ask, and what the answers mean. Pure, shared by both clients."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote
from uuid import UUID, uuid4

import msgspec
from msgspec import UNSET, Struct, UnsetType

from nurture_client.answers import (
    Accepted,
    Cancelled,
    ChatLink,
    Command,
    Enrolled,
    EventsTaken,
    EventTaken,
    Person,
    UpdatesTaken,
)
from nurture_client.errors import Problem, Refused

T = TypeVar("T")
Channel = Literal["email", "telegram"]
Text = str | UnsetType | None
"""UNSET leaves a field as it is, None clears it."""


class Call(Struct, Generic[T], frozen=True):
    """A request. `answers` are the types of its good answers by status; `key` makes a repetition harmless."""

    method: str
    path: str
    answers: dict[int, Any]
    body: bytes | None = None
    key: str | None = None

    def read(self, status: int, body: bytes) -> T:
        """The answer. Raises Refused for any other than a good one."""
        if status in self.answers:
            return msgspec.json.decode(body, type=self.answers[status])
        try:
            problem = msgspec.json.decode(body, type=Problem)
        except msgspec.MsgspecError:
            problem = Problem(detail=f"not Nurture's answer: {body[:200].decode('utf-8', 'replace')}")
        raise Refused(status, problem)


class PersonFields(Struct, omit_defaults=True, kw_only=True):
    """What can be said of a person."""

    id: UUID | str | UnsetType = UNSET
    first_name: Text = UNSET
    external_id: Text = UNSET
    email: Text = UNSET
    telegram_chat_id: int | str | UnsetType | None = UNSET
    timezone: Text = UNSET
    locale: Text = UNSET
    preferred_time: Text = UNSET
    preferred_channel: Channel | UnsetType | None = UNSET
    attributes: Mapping[str, Any] | UnsetType | None = UNSET


class Event(Struct, omit_defaults=True, kw_only=True):
    """Something a person did. `event_id` is yours; one that comes again counts once. `at` is now if left out."""

    user: str
    event: str
    event_id: str | None = None
    at: datetime | None = None


def register(fields: PersonFields, key: str | None) -> Call[Person]:
    """Create a person, or change the one that is known by id, external_id or email (in this order)."""
    return _post("users", {200: Person, 201: Person}, fields, key)


def change(user: str | UUID, fields: PersonFields, key: str | None) -> Call[Person]:
    """Change what is given."""
    return Call("PATCH", _user(user), {200: Person}, msgspec.json.encode(fields), key or str(uuid4()))


def person(user: str | UUID) -> Call[Person]:
    """Who somebody is."""
    return Call("GET", _user(user), {200: Person})


def trigger(
    user: str | UUID, sequence_type: str, context: Mapping[str, Any] | None, channel: Channel | None, key: str | None
) -> Call[Enrolled | Accepted]:
    """Start a sequence for one person."""
    asked = {"user_id": str(user), "sequence_type": sequence_type, "context": context or {}}
    if channel:
        asked["override_channel"] = channel
    return _post("nurture/trigger", {201: Enrolled, 202: Accepted}, asked, key)


def trigger_many(
    users: Sequence[str | UUID] | None, sequence_type: str, context: Mapping[str, Any] | None, confirm: int | None,
    key: str | None,
) -> Call[Accepted]:  # fmt: skip
    """Start a sequence for those listed, or for everybody."""
    whom = {"segment": "all"} if users is None else {"user_ids": [str(user) for user in users]}
    asked = {**whom, "sequence_type": sequence_type, "context": context or {}}
    if confirm is not None:
        asked["confirm"] = confirm
    return _post("nurture/trigger", {200: Accepted, 202: Accepted}, asked, key)


def cancel(user: str | UUID, sequence_type: str, key: str | None) -> Call[Cancelled | Accepted]:
    """End a person's running sequence of this type."""
    asked = {"user_id": str(user), "sequence_type": sequence_type}
    return _post("nurture/cancel", {200: Cancelled, 202: Accepted}, asked, key)


def command(id: UUID | str) -> Call[Command]:
    """What became of a command."""
    return Call("GET", f"commands/{quote(str(id), safe='')}", {200: Command})


def events(found: Sequence[Event], key: str | None) -> Call[EventsTaken]:
    """Say what people did: up to 1,000 events, each answered on its own."""
    return _post("events", {202: EventsTaken}, {"events": list(found)}, key)


def event(one: Event, key: str | None) -> Call[EventsTaken]:
    """Say what somebody did; one that cannot be taken is refused."""
    return _post("events", {202: EventsTaken}, one, key)


def telegram_updates(found: Any, key: str | None) -> Call[UpdatesTaken]:
    """Hand over updates of the bot: one, or a list."""
    return _post("telegram/updates", {202: UpdatesTaken}, found, key)


def telegram_link(user: str | UUID, key: str | None) -> Call[ChatLink]:
    """A link that connects a person's chat."""
    return Call("POST", f"{_user(user)}/telegram-link", {200: ChatLink}, None, key or str(uuid4()))


def why(user: str | UUID) -> Call[dict[str, Any]]:
    """Why a person got, or did not get, each message."""
    return Call("GET", f"{_user(user)}/why", {200: dict[str, Any]})


def taken(answer: EventsTaken) -> EventTaken:
    """The only result."""
    return answer.results[0]


def _post(path: str, answers: dict[int, Any], body: Any, key: str | None) -> Call[Any]:
    return Call("POST", path, answers, msgspec.json.encode(body), key or str(uuid4()))


def _user(user: str | UUID) -> str:
    return f"users/{quote(str(user), safe='')}"
