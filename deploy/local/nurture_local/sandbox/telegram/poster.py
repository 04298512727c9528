"""Posts updates to the webhooks that bots have set, each until it is taken."""

import asyncio
import sqlite3
import time
from contextlib import suppress

import structlog

from nurture_local.sandbox.behaviour import retry_after
from nurture_local.sandbox.chaos import Chaos
from nurture_local.sandbox.ledger import Ledger
from nurture_local.sandbox.telegram import update_rows
from nurture_local.sandbox.telegram.rows import Bot
from nurture_local.sandbox.telegram.update_rows import Pending
from nurture_local.sandbox.telegram.updates import Updates
from nurture_local.sandbox.wire import NoAnswer, Wire

AT_ONCE = 16
PAUSE_SECONDS = 0.25
log = structlog.get_logger()


class Poster:
    """A few at a time for each bot. What is not answered with 2xx comes again, later each time."""

    def __init__(self, ledger: Ledger, updates: Updates, chaos: Chaos) -> None:
        self._ledger = ledger
        self._updates = updates
        self._chaos = chaos
        self._wires = [Wire() for _ in range(AT_ONCE)]
        self._failing = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """What was not taken yet is posted after the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for wire in self._wires:
            wire.close()

    @property
    def running(self) -> bool:
        return self._task is not None and not self._task.done()

    async def _run(self) -> None:
        while True:
            self._updates.to_post.clear()
            if self._chaos.settings.webhooks != "off":
                now = time.time()
                due = await self._ledger.read(lambda connection: update_rows.to_post(connection, now, AT_ONCE))  # noqa: B023
                for bot, pending in due:
                    await self._post_all(bot, pending)
                if due:
                    continue
            with suppress(TimeoutError):
                async with asyncio.timeout(PAUSE_SECONDS):
                    await self._updates.to_post.wait()

    async def _post_all(self, bot: Bot, pending: list[Pending]) -> None:
        outcomes = await asyncio.gather(
            *(self._post(wire, bot, update) for wire, update in zip(self._wires, pending, strict=False))
        )
        taken = [(u.bot_id, u.update_id) for u, outcome in zip(pending, outcomes, strict=True) if not outcome]
        now = time.time()
        later = [
            (now + retry_after(u.attempts + 1), u.bot_id, u.update_id)
            for u, outcome in zip(pending, outcomes, strict=True)
            if outcome
        ]
        failure = next(filter(None, outcomes), None)

        def record(connection: sqlite3.Connection) -> None:
            connection.executemany("delete from telegram_updates where bot_id = ? and update_id = ?", taken)
            connection.executemany(
                "update telegram_updates set attempts = attempts + 1, due_at = ? where bot_id = ? and update_id = ?",
                later,
            )
            if failure:
                connection.execute(
                    "update telegram_bots set last_error_at = ?, last_error = ? where bot_id = ?",
                    (int(now), failure, bot.bot_id),
                )

        await self._ledger.write(record)
        if bool(failure) != self._failing:
            self._failing = bool(failure)
            if failure:
                log.warning("telegram_webhook_refused", reason=failure, what_next="tried again until 2xx")
            else:
                log.info("telegram_webhook_accepted_again")

    async def _post(self, wire: Wire, bot: Bot, update: Pending) -> str | None:
        """None when it was taken, else why not, in Telegram's words."""
        target = self._updates.target(bot.webhook_url)
        if target is None:
            return "Connection refused"
        headers = {"content-type": "application/json"}
        if bot.webhook_secret:
            headers["x-telegram-bot-api-secret-token"] = bot.webhook_secret
        status = 0
        try:
            for _ in range(2 if self._chaos.settings.webhooks == "duplicate" else 1):
                status = await wire.call("POST", target, headers, update.body.encode())
        except NoAnswer as error:
            return f"Connection failed: {error}"
        return None if 200 <= status < 300 else f"Wrong response from the webhook: {status}"
