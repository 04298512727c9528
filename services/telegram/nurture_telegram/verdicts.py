"""What the Bot API's answer to a message means. Pure: first the error code and its parameters, then, to refine, the text.

accepted   Telegram has it
rejected   it refused this message, or this chat, for good
not_sent   it certainly took nothing; the same message may be sent again
migrate    the chat has another id now; the message was not taken
parse      it could not read our formatting; the message was not taken
unknown    it may have taken it; there is no way to find out, so it is never sent again
account    it refuses the bot, not the message: nothing was sent, the channel is parked
"""

import re
from typing import Any, Literal

from msgspec import Struct

Kind = Literal["accepted", "rejected", "not_sent", "migrate", "parse", "unknown", "account"]
Fault = Literal["not_sent", "unknown"]
ChatState = Literal["blocked", "gone"]

LONGEST_WAIT = 86_400.0
DEFAULT_WAIT = 5.0

FORBIDDEN: tuple[tuple[str, str, ChatState], ...] = (
    ("blocked by the user", "blocked", "blocked"),
    ("user is deactivated", "deactivated", "gone"),
    ("can't initiate conversation", "not_started", "blocked"),
    ("was kicked", "kicked", "blocked"),
    ("is not a member", "not_member", "blocked"),
    ("chat was deleted", "chat_deleted", "gone"),
)
"""Parts of 403 texts: reason, and what the chat is from then on."""

BAD: tuple[tuple[str, str], ...] = (
    ("chat not found", "chat_not_found"),
    ("user not found", "chat_not_found"),
    ("peer_id_invalid", "chat_not_found"),
    ("too long", "too_long"),
    ("text is empty", "empty_message"),
)
_CODE_WORD = re.compile(r"Bad Request: ([A-Z][A-Z0-9_]{3,50})\Z")


class Answer(Struct, frozen=True, kw_only=True):
    """A reply as it came: `body` is decoded JSON, None when it was none.

    `fault` stands in for a reply that never came: whether the request can have arrived. `retry_after` in seconds.
    """

    status: int = 0
    body: Any = None
    retry_after: float | None = None
    fault: Fault | None = None
    reason: str | None = None


class Verdict(Struct, frozen=True, kw_only=True):
    """What became of a message. `chat` is what a refusal says about its chat, `moved_to` the chat's new id."""

    kind: Kind
    reason: str | None = None
    retry_after: float | None = None
    message_id: int | None = None
    moved_to: str | None = None
    chat: ChatState | None = None


def read(answer: Answer) -> Verdict:
    """The verdict on one message."""
    if answer.fault is not None:
        return Verdict(kind=answer.fault, reason=answer.reason)
    body = answer.body if isinstance(answer.body, dict) else {}
    if body.get("ok") is True:
        message_id = _dict(body.get("result")).get("message_id")
        if type(message_id) is int:
            return Verdict(kind="accepted", message_id=message_id)
        return Verdict(kind="unknown", reason="unreadable_reply")
    if body.get("ok") is not False or type(body.get("error_code")) is not int:
        return _foreign(answer)
    return _refused(body["error_code"], str(body.get("description") or ""), _dict(body.get("parameters")), answer)


def _foreign(answer: Answer) -> Verdict:
    """Not the Bot API's form: something between us and it, or an address that is not Telegram's. It blames nobody."""
    reason = f"http_{answer.status}"
    if answer.status == 429:
        return Verdict(kind="not_sent", reason=reason, retry_after=_wait(answer.retry_after))
    return Verdict(kind="account" if 400 <= answer.status < 500 else "unknown", reason=reason)


def _refused(code: int, description: str, parameters: dict[str, Any], answer: Answer) -> Verdict:
    text = description.lower()
    match code:
        case 429:
            asked = parameters.get("retry_after")
            wait = asked if isinstance(asked, int | float) else answer.retry_after
            return Verdict(kind="not_sent", reason="too_many_requests", retry_after=_wait(wait))
        case 401 | 404:
            return Verdict(kind="account", reason="unauthorized" if code == 401 else "bot_not_found")
        case 403:
            for part, reason, chat in FORBIDDEN:
                if part in text:
                    return Verdict(kind="rejected", reason=reason, chat=chat)
            return Verdict(kind="rejected", reason="forbidden", chat="blocked")
        case 400:
            return _bad_request(description, text, parameters)
        case 409:
            return Verdict(kind="not_sent", reason="conflict", retry_after=DEFAULT_WAIT)
        case _ if 400 < code < 500:
            return Verdict(kind="rejected", reason=f"error_{code}")
        case _:
            return Verdict(kind="unknown", reason=f"error_{code}")


def _bad_request(description: str, text: str, parameters: dict[str, Any]) -> Verdict:
    moved_to = parameters.get("migrate_to_chat_id")
    if type(moved_to) is int:
        return Verdict(kind="migrate", reason="chat_migrated", moved_to=str(moved_to))
    if "can't parse" in text:
        return Verdict(kind="parse", reason="parse_error")
    for part, reason in BAD:
        if part in text:
            return Verdict(kind="rejected", reason=reason, chat="gone" if reason == "chat_not_found" else None)
    word = _CODE_WORD.match(description)
    return Verdict(kind="rejected", reason=word[1].lower() if word else "bad_request")


def _wait(seconds: float | None) -> float:
    return DEFAULT_WAIT if seconds is None or seconds != seconds else min(max(0.0, float(seconds)), LONGEST_WAIT)


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
