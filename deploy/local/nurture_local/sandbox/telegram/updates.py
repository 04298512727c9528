"""How a bot gets its updates: long polls, one at a time, or a webhook; never both."""

import asyncio
import re
import time
from typing import Any
from urllib.parse import urlsplit

import msgspec

from nurture_local.sandbox.ledger import Ledger
from nurture_local.sandbox.telegram import rows, update_rows
from nurture_local.sandbox.telegram.answers import BotError, bad_request
from nurture_local.sandbox.telegram.arguments import Arguments

MAX_POLL_SECONDS = 50
CONFLICT_SECONDS = 3.0
_SECRET = re.compile(r"[A-Za-z0-9_-]{0,256}")
_WEBHOOK_ACTIVE = "can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"
_OTHER_POLL = "terminated by other getUpdates request; make sure that only one bot instance is running"
_WEBHOOK_SET = "terminated by setWebhook request"


class Updates:
    """Which polls are open, and news for them. The updates themselves are in the ledger."""

    def __init__(self, ledger: Ledger, gateway: str) -> None:
        self._ledger = ledger
        self._gateway = gateway
        self._polls: dict[int, asyncio.Future[str]] = {}
        self._news: dict[int, asyncio.Event] = {}
        self._next_conflict: dict[int, float] = {}
        self.to_post = asyncio.Event()

    def arrived(self, bot_id: int) -> None:
        """There are new updates for this bot."""
        if bot_id in self._news:
            self._news[bot_id].set()
        self.to_post.set()

    def end_polls(self) -> None:
        """Answer all open polls now, with nothing."""
        for poll in self._polls.values():
            if not poll.done():
                poll.set_result("")

    async def poll(self, bot_id: int, arguments: Arguments) -> list[Any]:
        """getUpdates. Raises BotError (409) with a webhook set, or when a later poll takes over."""
        offset, limit = arguments.integer("offset", 0), arguments.integer("limit", 100)
        seconds = max(0, min(MAX_POLL_SECONDS, arguments.integer("timeout", 0)))
        wanted = arguments.structure("allowed_updates")
        known = await self._ledger.read(lambda connection: rows.bot(connection, bot_id))
        if known.webhook_url:
            raise await self._conflict(bot_id, _WEBHOOK_ACTIVE)
        self._take_over(bot_id, _OTHER_POLL)
        mine: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        news = asyncio.Event()
        self._polls[bot_id], self._news[bot_id] = mine, news
        try:
            if offset or wanted is not None:
                await self._ledger.write(lambda connection: _begin(connection, bot_id, offset, wanted))
            reason, found = await self._wait(
                bot_id, max(0, offset), limit if 1 <= limit <= 100 else 100, seconds, mine, news
            )
        finally:
            if self._polls.get(bot_id) is mine:
                del self._polls[bot_id], self._news[bot_id]
        if reason:
            raise await self._conflict(bot_id, reason)
        return [msgspec.Raw(body.encode()) for body in found]

    async def _wait(
        self, bot_id: int, offset: int, limit: int, seconds: int, mine: asyncio.Future[str], news: asyncio.Event
    ) -> tuple[str, list[str]]:
        deadline = time.monotonic() + seconds
        while True:
            news.clear()
            found = await self._ledger.read(lambda connection: update_rows.updates(connection, bot_id, offset, limit))
            if mine.done():
                return mine.result(), []
            left = deadline - time.monotonic()
            if found or left <= 0:
                return "", found
            waiter = asyncio.ensure_future(news.wait())
            try:
                await asyncio.wait({waiter, mine}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiter.cancel()

    def _take_over(self, bot_id: int, reason: str) -> None:
        earlier = self._polls.get(bot_id)
        if earlier is not None and not earlier.done():
            earlier.set_result(reason)

    async def _conflict(self, bot_id: int, reason: str) -> BotError:
        # Two pollers would otherwise throw each other out as fast as they can call.
        now = time.monotonic()
        if now < self._next_conflict.get(bot_id, 0.0):
            await asyncio.sleep(CONFLICT_SECONDS)
        else:
            self._next_conflict[bot_id] = now + CONFLICT_SECONDS
        return BotError(409, f"Conflict: {reason}")

    async def set_webhook(self, bot_id: int, arguments: Arguments) -> bool:
        """setWebhook; an empty url is deleteWebhook. Ends an open poll."""
        url = arguments.text("url").strip()
        secret, wanted = arguments.text("secret_token"), arguments.structure("allowed_updates")
        connections = arguments.integer("max_connections", 40)
        if not _SECRET.fullmatch(secret):
            raise bad_request("secret token contains unallowed characters")
        if url and self.target(url) is None:
            raise bad_request("bad webhook: an HTTPS URL, or one of this machine, must be provided for webhook")
        drop = arguments.flag("drop_pending_updates")

        def change(connection: Any) -> None:
            connection.execute(
                "update telegram_bots set webhook_url = ?, webhook_secret = ?, max_connections = ?, last_error_at = null, "
                "last_error = null where bot_id = ?",
                (url, secret if url else "", max(1, min(100, connections)), bot_id),
            )
            if wanted is not None:
                update_rows.remember_allowed(connection, bot_id, wanted)
            if drop:
                connection.execute("delete from telegram_updates where bot_id = ?", (bot_id,))

        await self._ledger.write(change)
        if url:
            self._take_over(bot_id, _WEBHOOK_SET)
        self.to_post.set()
        return True

    async def webhook_info(self, bot_id: int) -> dict[str, Any]:
        """getWebhookInfo."""
        known = await self._ledger.read(lambda connection: rows.bot(connection, bot_id))
        waiting = await self._ledger.read(lambda connection: update_rows.waiting_updates(connection, bot_id))
        info: dict[str, Any] = {
            "url": known.webhook_url,
            "has_custom_certificate": False,
            "pending_update_count": waiting,
        }
        if known.webhook_url:
            info["max_connections"] = known.max_connections
        if known.last_error_at is not None:
            info |= {"last_error_date": known.last_error_at, "last_error_message": known.last_error}
        if known.wanted:
            info["allowed_updates"] = known.wanted
        return info

    def target(self, url: str) -> str | None:
        """Where a webhook is posted so that nothing leaves this machine; None for an address that cannot be one."""
        try:
            parts = urlsplit(url)
            hostname = parts.hostname
        except ValueError:
            return None
        if hostname in ("127.0.0.1", "localhost", "::1") and parts.scheme in ("http", "https"):
            return url
        origin = urlsplit(self._gateway)
        if parts.scheme != "https" or not hostname or not origin.netloc:
            return None
        return f"{origin.scheme}://{origin.netloc}{parts.path}" + (f"?{parts.query}" if parts.query else "")


def _begin(connection: Any, bot_id: int, offset: int, wanted: Any) -> None:
    if wanted is not None:
        update_rows.remember_allowed(connection, bot_id, wanted)
    if offset:
        update_rows.confirm(connection, bot_id, offset)
