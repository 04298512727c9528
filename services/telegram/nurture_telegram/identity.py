"""Who the bot is, and whether its updates come: kept in one row that other rooms read."""

import time
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

import structlog
from nurture_chassis.database import Database
from nurture_chassis.pace import Pace
from nurture_chassis.settings import Secret

from nurture_telegram.bot_api import ALLOWED_UPDATES
from nurture_telegram.verdicts import Answer

log = structlog.get_logger()
CHECK_SECONDS = 300.0
AGAIN_SECONDS = 5.0
NO_TOKEN = "TELEGRAM_BOT_TOKEN is not set"  # noqa: S105 - a sentence, no token
REFUSED = "Telegram refuses TELEGRAM_BOT_TOKEN"


class Registry(Protocol):
    """The part of the Bot API that knows the bot."""

    async def me(self) -> Answer: ...
    async def set_webhook(self, url: str, secret: Secret) -> Answer: ...
    async def webhook(self) -> Answer: ...


class Identity:
    """Checks the token now and then, and keeps the webhook set where updates come by one. Without a registry: no token."""

    def __init__(
        self,
        database: Database,
        pace: Pace,
        registry: Registry | None,
        updates: Literal["poll", "webhook", "off"],
        webhook_url: str,
        webhook_secret: Secret,
    ) -> None:
        self._database = database
        self._pace = pace
        self._registry = registry
        self._updates = updates
        self._webhook_url = webhook_url
        self._webhook_secret = webhook_secret
        self._webhook_set = False
        self._noted: str | None = ""

    async def check(self) -> float:
        """Ask who the bot is and keep the answer. Returns the seconds until the next check."""
        if self._registry is None:
            await self._save(False, None, NO_TOKEN)
            return CHECK_SECONDS
        answer = await self._registry.me()
        bot = _result(answer)
        if bot is None:
            problem = _problem(answer)
            log.warning("telegram.bot_not_known", problem=problem)
            await self._save(False, None, problem)
            return AGAIN_SECONDS
        name = bot.get("username")
        await self._save(True, name if isinstance(name, str) else None, None)
        # Whatever stopped the channel, the bot is known again.
        await self._pace.unpark()
        return CHECK_SECONDS if await self._listening() else AGAIN_SECONDS

    async def note(self, problem: str | None) -> None:
        """Keep what is wrong with updates; None when they come."""
        if problem != self._noted:
            await self._database.execute("updates_problem", self._updates, problem)
            self._noted = problem

    async def _listening(self) -> bool:
        if self._registry is None or self._updates != "webhook":
            return True
        problem = None
        if self._webhook_set:
            info = _result(await self._registry.webhook())
            if info is None:
                return False
            problem = _lost(info, self._webhook_url)
            if problem is None:
                # Another replica may have noted what is over now.
                self._noted = ""
                await self.note(_undelivered(info, time.time()))
                return True
            # Another program with the same token took it away: what it heard meanwhile is not told to us.
            log.warning("telegram.webhook_lost", problem=problem)
        answer = await self._registry.set_webhook(self._webhook_url, self._webhook_secret)
        body = answer.body if isinstance(answer.body, dict) else {}
        self._webhook_set = body.get("ok") is True
        if not self._webhook_set:
            problem = f"the webhook could not be set: {_problem(answer)}"
        # One that was lost is shown until the next check finds it where it belongs.
        await self.note(problem)
        return self._webhook_set

    async def _save(self, ready: bool, username: str | None, problem: str | None) -> None:
        await self._database.execute("bot_save", ready, username, self._updates, problem)


def _lost(info: dict[str, Any], ours: str) -> str | None:
    """What is wrong with the webhook as Telegram knows it, in the words that are shown once it is set again."""
    url, allowed = info.get("url"), info.get("allowed_updates")
    if not url:
        return "the webhook had been removed and was set again: does another program use this token?"
    if _place(url) != _place(ours):
        return "another program had set its own webhook; ours was set again: each bot has one"
    if isinstance(allowed, list) and not set(ALLOWED_UPDATES) <= {one for one in allowed if isinstance(one, str)}:
        return "the webhook had been set for other updates and was set again: does another program use this token?"
    return None


def _place(url: Any) -> tuple[Any, ...]:
    """Where an address leads, however it is spelled."""
    try:
        parts = urlsplit(str(url))
        return (
            parts.scheme,
            parts.hostname,
            parts.port or (80 if parts.scheme == "http" else 443),
            parts.path,
            parts.query,
        )
    except ValueError:
        return ()


def _undelivered(info: dict[str, Any], now: float) -> str | None:
    """Why updates wait at Telegram, if some do and the last attempt to hand one over failed a moment ago."""
    waiting, at, message = (
        info.get(name) for name in ("pending_update_count", "last_error_date", "last_error_message")
    )
    if isinstance(waiting, int) and waiting and isinstance(at, int | float) and now - at <= 2 * CHECK_SECONDS:
        return f"Telegram cannot deliver updates to the webhook: {str(message)[:200]}"
    return None


def _result(answer: Answer) -> dict[str, Any] | None:
    body = answer.body if isinstance(answer.body, dict) else {}
    result = body.get("result")
    return result if body.get("ok") is True and isinstance(result, dict) else None


def _problem(answer: Answer) -> str:
    body = answer.body if isinstance(answer.body, dict) else {}
    code = body.get("error_code")
    if code in (401, 404):
        return REFUSED
    return f"Telegram answers error {code}" if code else f"Telegram does not answer: {answer.reason or answer.status}"
