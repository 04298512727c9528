"""Messages from frozen rows. Pure: the same row, settings and keys give the same message, in every process."""

from collections.abc import Callable
from typing import Any, Protocol
from uuid import UUID

from msgspec import Struct

from nurture_telegram.bodies import blocks, fitted, tracked

MOST_BUTTONS = 100


class Unrenderable(Exception):
    """This row can never become a message; the text is a reason without personal data."""


class Outbound(Struct, frozen=True, kw_only=True):
    """One frozen message: what the controller wrote, and the chat that it goes to."""

    delivery_id: UUID
    chat_id: str
    body: str
    params: dict[str, Any]


class Button(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A button as the Bot API takes it: with an address, or with data that comes back when it is pressed."""

    text: str
    url: str | None = None
    callback_data: str | None = None


class Text(Struct, frozen=True, kw_only=True):
    """A finished message. `html` is sent; `plain` where Telegram could not parse it. `links`: link id to URL."""

    chat_id: int
    html: str
    plain: str
    buttons: list[Button]
    links: dict[str, str]


class LinkTokens(Protocol):
    """Signs what comes back from a chat."""

    def click_token(self, delivery_id: UUID, link: str, *, telegram: bool = False) -> str: ...
    def press_token(self, delivery_id: UUID, button: int) -> str: ...


class Renderer:
    """Renders messages; `link_id` names a URL by its content (16 hex digits)."""

    def __init__(self, tokens: LinkTokens, link_id: Callable[[str], str], public_url: str) -> None:
        self._tokens = tokens
        self._link_id = link_id
        self._base = public_url.rstrip("/")

    def render(self, message: Outbound) -> Text:
        """Raises Unrenderable for an empty body, a chat id that is no number, or a button that cannot be made."""
        links: dict[str, str] = {}

        def track(url: str) -> str:
            link = self._link_id(url)
            links[link] = url
            return f"{self._base}/t/c/{self._tokens.click_token(message.delivery_id, link, telegram=True)}"

        parts = blocks(message.body, track)
        if not parts:
            raise Unrenderable("empty_message")
        html, plain = fitted(parts)
        return Text(
            chat_id=_number(message.chat_id),
            html=html,
            plain=plain,
            buttons=self._buttons(message, track),
            links=links,
        )

    def _buttons(self, message: Outbound, track: Callable[[str], str]) -> list[Button]:
        entries = message.params.get("buttons") or []
        if not isinstance(entries, list) or len(entries) > MOST_BUTTONS:
            raise Unrenderable("bad_buttons")
        return [self._button(message.delivery_id, number, entry, track) for number, entry in enumerate(entries)]

    def _button(self, delivery_id: UUID, number: int, entry: Any, track: Callable[[str], str]) -> Button:
        text, url, press = (entry.get(name) if isinstance(entry, dict) else None for name in ("text", "url", "press"))
        if not isinstance(text, str) or not text.strip() or (url is None) == (press is None):
            raise Unrenderable("bad_button")
        if press is not None:
            return Button(text=text, callback_data=self._tokens.press_token(delivery_id, number))
        if not isinstance(url, str) or not tracked(url):
            raise Unrenderable("bad_button_url")
        return Button(text=text, url=track(url))


def _number(chat_id: str) -> int:
    try:
        return int(chat_id)
    except ValueError:
        raise Unrenderable("bad_chat_id") from None
