"""What the Bot API's answer to a message means. Pure: one table from error code, parameter and part of the text to a class.

accepted   Telegram has it
rejected   it refused this message, or this chat, for good
not_sent   it certainly took nothing; the same message may be sent again
ambiguous  it may have taken it, and there is no way to find out

What is not in the table is ambiguous.
"""

import re
from typing import Any, Literal, NamedTuple

from msgspec import Struct

Kind = Literal["accepted", "rejected", "not_sent", "ambiguous"]
Then = Literal["wait", "park", "migrate", "plain"]
"""What follows beside that.

wait     nobody calls for as long as it asks
park     it refuses the bot, not the message: the channel stops
migrate  the chat has another id now
plain    it could not read our formatting
"""
Fault = Literal["not_sent", "ambiguous"]
ChatState = Literal["blocked", "gone"]

LONGEST_WAIT = 86_400.0
DEFAULT_WAIT = 5.0
MOVED = "migrate_to_chat_id"


class Row(NamedTuple):
    """One kind of refusal: by its code, then by a parameter that it carries, then by a part of its text, in small letters.

    `chat` is what the chat is from then on. An empty reason is made from the text.
    """

    code: int
    part: str
    kind: Kind
    reason: str
    then: Then | None = None
    chat: ChatState | None = None
    parameter: str | None = None


TABLE: tuple[Row, ...] = (
    Row(400, "", "not_sent", "chat_migrated", "migrate", parameter=MOVED),
    Row(400, "can't parse", "not_sent", "parse_error", "plain"),
    Row(400, "chat not found", "rejected", "chat_not_found", chat="gone"),
    Row(400, "user not found", "rejected", "chat_not_found", chat="gone"),
    Row(400, "peer_id_invalid", "rejected", "chat_not_found", chat="gone"),
    Row(400, "too long", "rejected", "too_long"),
    Row(400, "text is empty", "rejected", "empty_message"),
    Row(400, "", "rejected", ""),
    Row(401, "", "not_sent", "unauthorized", "park"),
    Row(403, "blocked by the user", "rejected", "blocked", chat="blocked"),
    Row(403, "user is deactivated", "rejected", "deactivated", chat="gone"),
    Row(403, "can't initiate conversation", "rejected", "not_started", chat="blocked"),
    Row(403, "was kicked", "rejected", "kicked", chat="blocked"),
    Row(403, "is not a member", "rejected", "not_member", chat="blocked"),
    Row(403, "chat was deleted", "rejected", "chat_deleted", chat="gone"),
    Row(403, "", "rejected", "forbidden", chat="blocked"),
    Row(404, "", "not_sent", "bot_not_found", "park"),
    Row(409, "", "not_sent", "conflict", "wait"),
    Row(413, "", "rejected", "too_large"),
    Row(429, "", "not_sent", "too_many_requests", "wait"),
)
"""The first row that fits. Texts are no contract, so each code that refuses for good has a row for every other text."""

FOREIGN: dict[int, tuple[Kind, Then]] = {
    **dict.fromkeys((301, 302, 307, 308), ("not_sent", "park")),
    **dict.fromkeys((400, 401, 403, 404, 405, 407, 410, 411, 413, 414, 415, 421, 431, 451), ("not_sent", "park")),
    429: ("not_sent", "wait"),
}
"""Answers by HTTP status that are not of the Bot API's form: something between us and it turned the request away, or the
address is not Telegram's. They blame no message and no chat."""
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
    then: Then | None = None
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
        return Verdict(kind="ambiguous", reason="unreadable_reply")
    if body.get("ok") is not False or type(body.get("error_code")) is not int:
        return _foreign(answer)
    return _refused(body["error_code"], str(body.get("description") or ""), _dict(body.get("parameters")), answer)


def row_of(code: int, description: str, parameters: dict[str, Any]) -> Row:
    """What the table says of a refusal; a code that is not in it is ambiguous."""
    text = description.lower()
    for row in TABLE:
        if (
            row.code == code
            and row.part in text
            and (row.parameter is None or type(parameters.get(row.parameter)) is int)
        ):
            return row
    return Row(code, "", "ambiguous", f"error_{code}")


def _foreign(answer: Answer) -> Verdict:
    kind, then = FOREIGN.get(answer.status, ("ambiguous", None))
    wait = _wait(answer.retry_after) if then == "wait" else None
    return Verdict(kind=kind, then=then, reason=f"http_{answer.status}", retry_after=wait)


def _refused(code: int, description: str, parameters: dict[str, Any], answer: Answer) -> Verdict:
    row = row_of(code, description, parameters)
    asked = parameters.get("retry_after")
    wait = asked if isinstance(asked, int | float) else answer.retry_after
    return Verdict(
        kind=row.kind,
        then=row.then,
        reason=row.reason or _word(description),
        retry_after=_wait(wait) if row.then == "wait" else None,
        moved_to=str(parameters[MOVED]) if row.then == "migrate" else None,
        chat=row.chat,
    )


def _word(description: str) -> str:
    # Only Telegram's own words go into a reason; a text may quote the message.
    word = _CODE_WORD.match(description)
    return word[1].lower() if word else "bad_request"


def _wait(seconds: float | None) -> float:
    return DEFAULT_WAIT if seconds is None or seconds != seconds else min(max(0.0, float(seconds)), LONGEST_WAIT)


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
