"""Calls of the Bot API as plain HTTP, and chats that act as wanted."""

from typing import Any
from uuid import UUID

import httpx
from nurture_chassis.tokens import Tokens, link_id
from sandbox_process import SandboxProcess

TOKEN = "7000000001:AAEtest-token-of-the-sandbox_0123456"
BOT_ID = 7_000_000_001
READS, REPLIES, PRESSES, FOLLOWS, HAS_BLOCKED, IGNORES, BLOCKS = (
    5_000_000_000 + digit for digit in (1, 3, 4, 6, 7, 8, 9)
)
DELIVERY = UUID("0198c0de-0000-7000-8000-000000000007")
tokens = Tokens("a secret that the sandbox does not have")


class BotClient:
    """One bot."""

    def __init__(self, sandbox: SandboxProcess, token: str = TOKEN) -> None:
        self.sandbox = sandbox
        self.token = token

    def raw(self, method: str, **arguments: Any) -> httpx.Response:
        return self.sandbox.client.post(f"/bot{self.token}/{method}", json=arguments)

    def refused(self, **arguments: Any) -> httpx.Response:
        """The first answer to a message, sent again and again, that is not 200."""
        replies = (self.raw("sendMessage", text="Hello", **arguments) for _ in range(500))
        return next(reply for reply in replies if reply.status_code != 200)

    def call(self, method: str, **arguments: Any) -> Any:
        """The result of a call that must work."""
        answer = self.raw(method, **arguments).json()
        assert answer["ok"], answer
        return answer["result"]

    def refusal(self, method: str, **arguments: Any) -> tuple[int, str]:
        """Code and description of a call that must fail."""
        reply = self.raw(method, **arguments)
        answer = reply.json()
        assert not answer["ok"] and answer["error_code"] == reply.status_code
        return answer["error_code"], answer["description"]

    def send(self, chat_id: int, text: str = "Hello", **arguments: Any) -> dict[str, Any]:
        return self.call("sendMessage", chat_id=chat_id, text=text, **arguments)

    def updates(self, **arguments: Any) -> list[dict[str, Any]]:
        return self.call("getUpdates", **{"timeout": 10, **arguments})

    def update(self, kind: str) -> dict[str, Any]:
        """The next update, which must be of this kind; confirmed."""
        (update, *_) = self.updates(limit=1)
        self.updates(offset=update["update_id"] + 1, timeout=0)
        assert kind in update, update
        return update[kind]


def keyboard(*rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"inline_keyboard": list(rows)}


def nurture_message(origin: str, delivery: UUID = DELIVERY) -> dict[str, Any]:
    """A message as our Telegram service makes it: a tracked link, a callback button and a tracked link as a button."""
    link = tokens.click_token(delivery, link_id("https://example.org/guide"), telegram=True)
    return {
        "text": f'Hello <b>Ann</b>, <a href="{origin}/t/c/{link}">the guide</a> is ready.',
        "parse_mode": "HTML",
        "reply_markup": keyboard(
            [{"text": "I read it", "callback_data": tokens.press_token(delivery, 0)}],
            [{"text": "Open", "url": f"{origin}/t/c/{link}"}],
        ),
    }
