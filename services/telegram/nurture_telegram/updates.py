"""What an update says, as far as it concerns us. Pure: anything may come in, also what Telegram never sent."""

from typing import Any

from msgspec import Struct

_CONTENTS = frozenset({
    "text", "caption", "photo", "sticker", "voice", "video", "video_note", "audio", "document", "animation", "contact",
    "location", "poll", "dice", "story", "venue",
})  # fmt: skip
"""What people send; messages without any of these are Telegram's own notes."""
_LONGEST_ID = 2**62
_MOST_MARKS = 200


class Started(Struct, frozen=True):
    """/start, with whatever the link carried."""

    chat_id: str
    token: str


class Stopped(Struct, frozen=True):
    """/stop."""

    chat_id: str


class Wrote(Struct, frozen=True):
    """Any other message. `to_message` is the one that it replies to; `marks` are what that one carries: the data of its
    buttons, and its links."""

    chat_id: str
    to_message: int | None
    marks: tuple[str, ...] = ()


class Pressed(Struct, frozen=True):
    """A button. `callback_id` wants an answer, or the button goes on spinning."""

    callback_id: str
    data: str


class Reacted(Struct, frozen=True):
    """An emoji on a message."""

    chat_id: str
    message: int


class Membership(Struct, frozen=True):
    """The person blocked the bot, or took that back."""

    chat_id: str
    blocked: bool


Said = Started | Stopped | Wrote | Pressed | Reacted | Membership


class Update(Struct, frozen=True):
    """An update and what it says; None: nothing that concerns us."""

    update_id: int
    said: Said | None


def parse(raw: Any) -> Update | None:
    """None for what has no update id and so is no update."""
    update_id = _dict(raw).get("update_id")
    if type(update_id) is not int or not 0 <= update_id < _LONGEST_ID:
        return None
    return Update(update_id, _said(raw))


def _said(raw: dict[str, Any]) -> Said | None:
    if "message" in raw:
        return _message(_dict(raw["message"]))
    if "callback_query" in raw:
        query = _dict(raw["callback_query"])
        callback_id, data = query.get("id"), query.get("data")
        return Pressed(callback_id, data if isinstance(data, str) else "") if isinstance(callback_id, str) else None
    if "my_chat_member" in raw:
        change = _dict(raw["my_chat_member"])
        chat_id, status = _chat(change), _dict(change.get("new_chat_member")).get("status")
        if chat_id is None or status not in ("kicked", "left", "member", "administrator"):
            return None
        return Membership(chat_id, status in ("kicked", "left"))
    if "message_reaction" in raw:
        reaction = _dict(raw["message_reaction"])
        chat_id, message = _chat(reaction), _id(reaction.get("message_id"))
        # An empty list is a reaction that was taken back.
        return Reacted(chat_id, message) if chat_id and message is not None and reaction.get("new_reaction") else None
    return None


def _message(message: dict[str, Any]) -> Said | None:
    chat_id = _chat(message)
    if chat_id is None or _dict(message.get("from")).get("is_bot") is True or not _CONTENTS & message.keys():
        return None
    text = message.get("text")
    if _dict(message.get("chat")).get("type") == "private" and isinstance(text, str):
        word, _, rest = text.strip().partition(" ")
        command = word.partition("@")[0].lower()
        if command == "/start":
            return Started(chat_id, rest.strip())
        if command == "/stop":
            return Stopped(chat_id)
    quoted = _dict(message.get("reply_to_message"))
    return Wrote(chat_id, _id(quoted.get("message_id")), _marks(quoted))


def _marks(message: dict[str, Any]) -> tuple[str, ...]:
    rows = _list(_dict(message.get("reply_markup")).get("inline_keyboard"))
    buttons = [_dict(button) for row in rows for button in _list(row)]
    places = [*buttons, *(_dict(entity) for entity in _list(message.get("entities")))]
    found = (place.get(name) for place in places[:_MOST_MARKS] for name in ("callback_data", "url"))
    return tuple(mark for mark in found if isinstance(mark, str))


def _chat(holder: dict[str, Any]) -> str | None:
    chat_id = _dict(holder.get("chat")).get("id")
    return str(chat_id) if type(chat_id) is int and chat_id and abs(chat_id) < _LONGEST_ID else None


def _id(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < _LONGEST_ID else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
