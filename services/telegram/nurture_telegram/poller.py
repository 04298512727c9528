"""Asks Telegram for updates, in one replica at a time; whoever holds the lease goes on where the last one stopped."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import structlog
from nurture_chassis.lease import Lease

from nurture_telegram.conversations import Effects
from nurture_telegram.inbox import Inbox
from nurture_telegram.verdicts import Answer

log = structlog.get_logger()
LEASE_SECONDS = 15.0
"""After a death, people wait for so long until somebody hears them again. Renewed three times as often, also during a poll."""
NOT_OURS_WAIT = 5.0
CONFLICT_WAIT, CONFLICT_CAP = 5.0, 60.0
FAULT_WAIT, FAULT_CAP = 1.0, 30.0

OTHER_POLLER = "another poller uses this token"
OTHER_WEBHOOK = "this bot has a webhook elsewhere; remove it, or set TELEGRAM_UPDATES to webhook or off"


class Source(Protocol):
    """The part of the Bot API that updates come from."""

    async def updates(self, offset: int | None) -> Answer: ...
    async def webhook(self) -> Answer: ...
    async def delete_webhook(self) -> Answer: ...


class Poller:
    """`tell` answers people after the commit; `note` keeps, or clears, what is wrong with updates.

    `own_webhook` is where a webhook of ours would point: one that was left over is removed.
    """

    def __init__(
        self,
        source: Source,
        inbox: Inbox,
        lease: Lease,
        *,
        tell: Callable[[Effects], None],
        note: Callable[[str | None], Awaitable[None]],
        own_webhook: str,
    ) -> None:
        self._source = source
        self._inbox = inbox
        self._lease = lease
        self._tell = tell
        self._note = note
        self._own_webhook = own_webhook
        self._conflicts = 0
        self._faults = 0
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Poll until stopped."""
        self._tasks = [
            asyncio.create_task(self._run(), name="telegram-poller"),
            asyncio.create_task(self._stay(), name="telegram-poller-lease"),
        ]

    async def stop(self) -> None:
        """Let go of the poll at once, it changes nothing, and of the lease, so that another replica goes on."""
        if self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._lease.release()

    async def _run(self) -> None:
        while True:
            try:
                wait = await self.turn()
            except Exception as error:
                wait = self._fault()
                log.warning("telegram.poll_failed", error=type(error).__name__, exc_info=True)
            await asyncio.sleep(wait)

    async def _stay(self) -> None:
        """A poll, and the wait after a refusal, take longer than the lease."""
        while True:
            await asyncio.sleep(LEASE_SECONDS / 3)
            try:
                await self._lease.hold()
            except Exception as error:
                log.info("telegram.lease_not_renewed", error=type(error).__name__)

    async def turn(self) -> float:
        """One poll, if it is ours to do. Returns the seconds to wait before the next."""
        if not await self._lease.hold():
            return NOT_OURS_WAIT
        answer = await self._source.updates(await self._inbox.offset())
        updates = _result(answer)
        if updates is None:
            return await self._refused(answer)
        if updates:
            ids = [update["update_id"] for update in updates if isinstance(update, dict)]
            effects = await self._inbox.take(updates, next_offset=max(ids) + 1)
            self._tell(effects)
        self._conflicts = self._faults = 0
        await self._note(None)
        return 0.0

    async def _refused(self, answer: Answer) -> float:
        body = answer.body if isinstance(answer.body, dict) else {}
        code = body.get("error_code")
        if code == 409:
            self._conflicts += 1
            webhook = "webhook" in str(body.get("description")).lower()
            if webhook and await self._removed_own_webhook():
                return 0.0
            await self._note(OTHER_WEBHOOK if webhook else OTHER_POLLER)
            log.warning("telegram.poll_conflict", webhook=webhook)
            return min(CONFLICT_CAP, CONFLICT_WAIT * 2.0 ** min(self._conflicts - 1, 10))
        wait = self._fault()
        reason = f"error {code}" if code else answer.reason or f"http {answer.status}"
        log.warning("telegram.poll_refused", reason=reason)
        if self._faults > 2:
            await self._note(f"updates cannot be fetched: {reason}")
        return wait

    async def _removed_own_webhook(self) -> bool:
        body = (await self._source.webhook()).body
        result = body.get("result") if isinstance(body, dict) else None
        if not isinstance(result, dict) or result.get("url") != self._own_webhook:
            return False
        removed = (await self._source.delete_webhook()).body
        return isinstance(removed, dict) and removed.get("ok") is True

    def _fault(self) -> float:
        self._faults += 1
        return min(FAULT_CAP, FAULT_WAIT * 2.0 ** min(self._faults - 1, 10))


def _result(answer: Answer) -> Sequence[dict[str, Any]] | None:
    body = answer.body if isinstance(answer.body, dict) else {}
    result = body.get("result")
    if body.get("ok") is not True or not isinstance(result, list):
        return None
    fits = all(isinstance(update, dict) and type(update.get("update_id")) is int for update in result)
    return result if fits else None
