"""What the person behind a chat does with a message, read off the last digit of the chat's id. Pure."""

import base64
import re
from typing import Any, Literal
from uuid import UUID

from nurture_local.sandbox.behaviour import DELIVERY_SECONDS, Deed
from nurture_local.sandbox.telegram.formatting import Entity

Habit = Literal["reads", "replies", "presses", "follows", "has blocked the bot", "ignores", "blocks after one message"]
_HABITS: tuple[Habit, ...] = (
    "ignores",
    "reads",
    "reads",
    "replies",
    "presses",
    "presses",
    "follows",
    "has blocked the bot",
    "ignores",
    "blocks after one message",
)
FIRST_CHAT = 1000
SUPERGROUPS = -1_000_000_000_000
_TOKEN = re.compile(r"/t/c/([A-Za-z0-9_-]+)$")
_PRESS_CHARACTERS = 40
_CLICK_CHARACTERS = 51
_NAMES = ("Ada", "Bela", "Chidi", "Dora", "Emil", "Fatima", "Gita", "Hugo", "Ines", "Juma", "Kim", "Lena", "Mina")


def habit(chat_id: int) -> Habit:
    """Groups ignore what they get."""
    return "ignores" if chat_id < 0 else _HABITS[chat_id % 10]


def first_name(chat_id: int) -> str:
    """What the person calls themself; the same for the same chat."""
    return _NAMES[abs(chat_id) // 10 % len(_NAMES)]


def deeds(chat_id: int, press: str | None, link: str | None, reading_seconds: float) -> list[Deed]:
    """`press` is the message's first callback button, `link` its first tracked link."""
    read = Deed("read", "chat", DELIVERY_SECONDS + reading_seconds)
    after = DELIVERY_SECONDS + 2 * reading_seconds
    follow = [Deed("clicked", "visit", after, link)] if link else []
    match habit(chat_id):
        case "reads":
            return [read]
        case "replies":
            return [read, Deed("replied", "chat", after)]
        case "presses":
            return [read, Deed("pressed", "chat", after, press)] if press else [read, *follow]
        case "follows":
            return [read, *follow]
        case "blocks after one message":
            return [Deed("blocked", "chat", DELIVERY_SECONDS)]
        case _:
            return []


def first_press(buttons: list[dict[str, Any]]) -> str | None:
    """The `callback_data` of the first button that has one."""
    return next((button["callback_data"] for button in buttons if button.get("callback_data")), None)


def tracked_links(entities: list[Entity], buttons: list[dict[str, Any]]) -> list[str]:
    """Links that lead through our tracking: those of the text, then those of the buttons."""
    urls = [entity.url or "" for entity in entities] + [str(button.get("url") or "") for button in buttons]
    return list(dict.fromkeys(url for url in urls if _TOKEN.search(url)))


def delivery_id(links: list[str], buttons: list[dict[str, Any]]) -> str | None:
    """Which delivery a message is, from the tokens of its buttons and links; a message carries no tag of its own.

    The tokens are read and not verified: the sandbox has no key of theirs.
    """
    tokens = [(str(button.get("callback_data") or ""), _PRESS_CHARACTERS) for button in buttons]
    tokens += [(match[1], _CLICK_CHARACTERS) for link in links if (match := _TOKEN.search(link))]
    return next((found for token, size in tokens if len(token) == size and (found := _named(token))), None)


def _named(token: str) -> str | None:
    try:
        raw = base64.b64decode(token.encode("ascii") + b"=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return None
    return str(UUID(bytes=raw[2:18])) if raw[:1] == b"\x01" else None
