"""Updates as Telegram sends them."""

from itertools import count
from typing import Any

_numbers = count(9_000_000)


def _chat(chat: int) -> dict[str, Any]:
    return {"id": chat, "type": "private" if chat > 0 else "supergroup"}


def message(chat: int, text: str | None, **more: Any) -> dict[str, Any]:
    content = {} if text is None else {"text": text}
    sender = {"id": abs(chat), "is_bot": False, "first_name": "Ada"}
    body = {"message_id": 5, "date": 1, "chat": _chat(chat), "from": sender, **content, **more}
    return {"update_id": next(_numbers), "message": body}


def reply(chat: int, text: str, to: int) -> dict[str, Any]:
    return message(chat, text, reply_to_message={"message_id": to, "chat": _chat(chat), "date": 1})


def press(chat: int, data: str) -> dict[str, Any]:
    query = {"id": f"q{next(_numbers)}", "from": {"id": chat}, "message": {"message_id": 5, "chat": _chat(chat)}}
    return {"update_id": next(_numbers), "callback_query": query | {"data": data}}


def member(chat: int, status: str) -> dict[str, Any]:
    change = {"chat": _chat(chat), "from": {"id": chat}, "date": 1, "new_chat_member": {"status": status}}
    return {"update_id": next(_numbers), "my_chat_member": change}


def reaction(chat: int, to: int, *emoji: str) -> dict[str, Any]:
    new = [{"type": "emoji", "emoji": one} for one in emoji]
    body = {"chat": _chat(chat), "message_id": to, "date": 1, "old_reaction": [], "new_reaction": new}
    return {"update_id": next(_numbers), "message_reaction": body}
