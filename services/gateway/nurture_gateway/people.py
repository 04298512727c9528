"""What is known about a person, and the rules by which a caller's words change it."""

import json
import re
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, NamedTuple
from unicodedata import category
from uuid import UUID
from zoneinfo import ZoneInfo

Change = dict[str, Any]
"""Fields that a caller named. A field that is not there stays as it is; None clears it."""

FIELDS = (
    "id", "external_id", "first_name", "email", "telegram_chat_id", "timezone", "locale", "preferred_time",
    "preferred_channel", "attributes",
)  # fmt: skip
CHANNELS = ("email", "telegram")
PREFERRED_TIMES = ("morning", "afternoon", "evening", "night")
ATTRIBUTES_BYTES = 16_384

_EMAIL = re.compile(r"[^\s@<>(),;:\\\"\[\]]{1,64}@[^\s@<>(),;:\\\"\[\]]{1,253}")
_LOCALE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8}){0,4}")
_UNWRITTEN = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Joiners (Cf) stay allowed: names in Persian and Hindi need them."""
_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")


@dataclass(frozen=True, kw_only=True)
class Person:
    """A person as stored."""

    id: UUID
    external_id: str | None = None
    first_name: str = ""
    email: str | None = None
    telegram_chat_id: str | None = None
    timezone: str = "UTC"
    locale: str = "en"
    preferred_time: str = "morning"
    preferred_channel: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)


_DEFAULTS = Person(id=UUID(int=0))


class Found(NamedTuple):
    """Whom the identifying fields of a change lead to, each on its own; `person` is the one to be changed."""

    by_id: UUID | None = None
    by_external_id: UUID | None = None
    by_email: UUID | None = None
    by_chat: UUID | None = None
    person: Person | None = None


class Clash(Exception):
    """A change that cannot be made: it names two people at once, or would keep too much. `code` is that of the problem."""

    def __init__(self, code: str, field: str, reason: str) -> None:
        super().__init__(reason)
        self.code, self.field, self.reason = code, field, reason


def email_key(address: str) -> str:
    """What makes two spellings the same mailbox for us."""
    return address.lower()


def check(change: Change) -> tuple[Change, list[tuple[str, str]]]:
    """The change in its stored form, and what is wrong with it as (field, reason) pairs."""
    clean: Change = {}
    errors: list[tuple[str, str]] = []
    for name, value in change.items():
        try:
            clean[name] = None if value is None else _CHECKS[name](value)
        except ValueError as error:
            errors.append((name, str(error)))
    return clean, errors


def apply(found: Found, change: Change, new_id: UUID) -> Person:
    """The person after the change. Raises Clash when its fields belong to different people or add up to too much."""
    wanted = change.get("id")
    person = found.person
    if person is None:
        person = Person(id=wanted or new_id)
    elif wanted and wanted != person.id:
        name = "external_id" if found.by_external_id else "email"
        raise Clash("identity_clash", name, f"belongs to person {person.id}, not to {wanted}")
    for name, owner in (
        ("external_id", found.by_external_id),
        ("email", found.by_email),
        ("telegram_chat_id", found.by_chat),
    ):
        if owner is not None and owner != person.id and change.get(name) is not None:
            code = "identity_clash" if name == "external_id" else "address_taken"
            raise Clash(code, name, f"belongs to person {owner}")
    if found.by_id is None and found.by_external_id is None and found.person is not None:
        # Only the address led here: it must not hand one person's mail to another who is named otherwise.
        named = change.get("external_id")
        if named and person.external_id and named != person.external_id:
            raise Clash("address_taken", "email", f"belongs to person {person.id}")
    stated = {name: _stored(name, value, person) for name, value in change.items() if name != "id"}
    size = _size(stated.get("attributes", {}))
    # Whoever has too much from earlier times may still take some of it away.
    if size > ATTRIBUTES_BYTES and size > _size(person.attributes):
        reason = f"must have at most {ATTRIBUTES_BYTES} bytes with those that the person has; they would have {size}"
        raise Clash("malformed_request", "attributes", reason)
    return replace(person, **stated)


def _stored(name: str, value: Any, person: Person) -> Any:
    if name == "attributes":
        if value is None:
            return {}
        merged = person.attributes | value
        return {key: item for key, item in merged.items() if item is not None}
    return getattr(_DEFAULTS, name) if value is None else value


def _text(limit: int) -> Any:
    def check(value: Any) -> str:
        text = str(value).strip()
        if not text:
            raise ValueError("must not be empty")
        if len(text) > limit:
            raise ValueError(f"must have at most {limit} characters")
        if any(category(character) in _UNWRITTEN for character in text):
            raise ValueError("must not have line breaks or control characters")
        return text

    return check


def _id(value: Any) -> UUID:
    try:
        return value if isinstance(value, UUID) else UUID(str(value).strip())
    except ValueError:
        raise ValueError("must be a UUID; other identifiers go into external_id") from None


def _email(value: Any) -> str:
    text = str(value).strip()
    domain = text.rpartition("@")[2]
    if len(text) > 254 or not text.isprintable() or not _EMAIL.fullmatch(text):
        raise ValueError("must be one address like name@example.org")
    if domain.startswith(".") or domain.endswith(".") or ".." in text:
        raise ValueError("must be one address like name@example.org")
    return text


def _chat(value: Any) -> str:
    text = str(value).strip()
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 18 or int(digits) == 0:
        raise ValueError("must be a number: Telegram's chat id, not a @name")
    return str(int(text))


@lru_cache(maxsize=1024)
def _zone_exists(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        return False
    return True


def _timezone(value: Any) -> str:
    text = str(value).strip()
    if len(text) > 64 or not text.isascii() or not _zone_exists(text):
        raise ValueError("must be an IANA time zone such as Europe/Berlin")
    return text


def _locale(value: Any) -> str:
    text = str(value).strip()
    if not _LOCALE.fullmatch(text):
        raise ValueError("must be a language tag such as en or pt-BR")
    return text


def _preferred_time(value: Any) -> str:
    text = str(value).strip().lower()
    if text not in PREFERRED_TIMES and not _TIME.fullmatch(text):
        raise ValueError(f"must be {', '.join(PREFERRED_TIMES)} or a time like 09:30")
    return text


def _preferred_channel(value: Any) -> str:
    text = str(value).strip().lower()
    if text not in CHANNELS:
        raise ValueError(f"must be {' or '.join(CHANNELS)}")
    return text


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _size(attributes: dict[str, Any]) -> int:
    return len(_json(attributes).encode())


def _attributes(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("must be a JSON object")
    if any(not key or len(key) > 100 or not key.isprintable() for key in value):
        raise ValueError("must have names of 1 to 100 printable characters")
    try:
        text = _json(value)
        size = len(text.encode())
    except (ValueError, RecursionError):
        raise ValueError("must be JSON that can be stored: no NaN, no half of a surrogate pair") from None
    if size > ATTRIBUTES_BYTES:
        raise ValueError(f"must have at most {ATTRIBUTES_BYTES} bytes")
    if "\\u0000" in text:
        raise ValueError("must not have NUL characters")
    return value


_CHECKS: dict[str, Any] = {
    "id": _id,
    "external_id": _text(200),
    "first_name": _text(200),
    "email": _email,
    "telegram_chat_id": _chat,
    "timezone": _timezone,
    "locale": _locale,
    "preferred_time": _preferred_time,
    "preferred_channel": _preferred_channel,
    "attributes": _attributes,
}
