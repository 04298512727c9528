"""The Bot API over HTTP. The bot's token is part of every address, so no address and no exception leaves this file."""

import asyncio
from typing import Any

import httpx
import msgspec
from nurture_chassis.settings import Secret

from nurture_telegram.rendering import Text
from nurture_telegram.verdicts import Answer

CONNECT_SECONDS = 5.0
TOTAL_SECONDS = 35.0
"""Telegram may think long and still deliver, so an answer is awaited longer than elsewhere."""
POLL_SECONDS = 25
BESIDE = 7
"""Connections beside the volley's, which must never wait for one: a poll, who the bot is, and answers to people."""
REPLY_LIMIT = 8_000_000
USER_AGENT = "nurture-telegram/1"
ALLOWED_UPDATES = ("message", "callback_query", "my_chat_member", "message_reaction")


class BotApi:
    """The adapter. It never raises for anything that a network or Telegram can do; a fault is an Answer as well."""

    def __init__(self, token: Secret, url: str, *, concurrency: int, total: float = TOTAL_SECONDS) -> None:
        self._total = total
        self._client = httpx.AsyncClient(
            base_url=f"{url.rstrip('/')}/bot{token.reveal()}/",
            headers={
                "User-Agent": USER_AGENT,
                "Content-Type": "application/json",
                # Replies are small, and a compressed one could be anything but.
                "Accept-Encoding": "identity",
            },
            timeout=httpx.Timeout(total, connect=CONNECT_SECONDS, pool=CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=concurrency + BESIDE, max_keepalive_connections=concurrency + BESIDE),
            follow_redirects=False,
            # A proxy is for the world outside; a provider on this machine is reached directly.
            trust_env=httpx.URL(url).host not in ("127.0.0.1", "localhost", "::1"),
        )

    async def send(self, text: Text, *, plain: bool = False) -> Answer:
        """Send a message, formatted, or without any formatting."""
        request: dict[str, Any] = {
            "chat_id": text.chat_id,
            "text": text.plain if plain else text.html,
            # Telegram would fetch our tracked links to preview them, and that would look like a click.
            "link_preview_options": {"is_disabled": True},
        }
        if not plain:
            request["parse_mode"] = "HTML"
        if text.buttons:
            request["reply_markup"] = {"inline_keyboard": [[button] for button in text.buttons]}
        return await self.call("sendMessage", request)

    async def say(self, chat_id: str, text: str) -> Answer:
        """Send a plain line of our own to a chat."""
        return await self.call("sendMessage", {"chat_id": int(chat_id), "text": text}, total=10.0)

    async def answer_press(self, callback_id: str) -> Answer:
        """Stop the spinner on a pressed button."""
        return await self.call("answerCallbackQuery", {"callback_query_id": callback_id}, total=10.0)

    async def updates(self, offset: int | None, timeout: int = POLL_SECONDS) -> Answer:
        """Wait up to `timeout` seconds for updates from `offset` on; asking confirms every earlier one."""
        request: dict[str, Any] = {"timeout": timeout, "limit": 100, "allowed_updates": ALLOWED_UPDATES}
        if offset is not None:
            request["offset"] = offset
        return await self.call("getUpdates", request, total=timeout + 10.0)

    async def me(self) -> Answer:
        """Who this token's bot is."""
        return await self.call("getMe", {}, total=10.0)

    async def set_webhook(self, url: str, secret: Secret) -> Answer:
        """Have updates sent to `url`, with the secret in a header."""
        request = {"url": url, "secret_token": secret.reveal(), "allowed_updates": ALLOWED_UPDATES}
        return await self.call("setWebhook", request, total=10.0)

    async def webhook(self) -> Answer:
        """Where updates are sent, if anywhere."""
        return await self.call("getWebhookInfo", {}, total=10.0)

    async def delete_webhook(self) -> Answer:
        """Have updates kept for getUpdates again."""
        return await self.call("deleteWebhook", {}, total=10.0)

    async def call(self, method: str, request: dict[str, Any], *, total: float | None = None) -> Answer:
        """One method of the Bot API; `total` seconds for all of it."""
        written = False

        async def watch(event: str, info: Any) -> None:
            nonlocal written
            written = written or event.endswith("send_request_headers.started")

        def failed(reason: str) -> Answer:
            # Only bytes on the wire can reach anybody; before that it certainly was not sent.
            return Answer(fault="ambiguous" if written else "not_sent", reason=reason)

        try:
            async with (
                asyncio.timeout(total or self._total),
                self._client.stream(
                    "POST",
                    method,
                    content=msgspec.json.encode(request),
                    extensions={"trace": watch},
                    timeout=httpx.Timeout(total or self._total, connect=CONNECT_SECONDS, pool=CONNECT_SECONDS),
                ) as response,
            ):
                return Answer(
                    status=response.status_code,
                    body=await _json(response),
                    retry_after=_seconds(response.headers.get("retry-after")),
                )
        except TimeoutError:
            return failed("timeout")
        except httpx.HTTPError as error:
            return failed(type(error).__name__)
        except httpx.InvalidURL:
            return failed("invalid_url")

    async def close(self) -> None:
        await self._client.aclose()


async def _json(response: httpx.Response) -> Any:
    """The reply's JSON; None when it is none, or larger than any answer of theirs."""
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > REPLY_LIMIT:
            return None
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _seconds(value: str | None) -> float | None:
    try:
        seconds = float(value or "")
    except ValueError:
        return None
    return seconds if seconds >= 0 else None
