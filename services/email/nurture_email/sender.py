"""Sends what is due to a provider that knows keys. The order is always: is there work, a slot, a claim, the call, the settlement.

Everything that matters is in rows: a sender that dies leaves a lease that runs out, and the next one repeats the same request
under the same key. Any number of senders may run.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

import structlog
from nurture_chassis.clock import Clock
from nurture_chassis.database import UNREACHABLE
from nurture_chassis.pace import SLOT_LIFE, Pace, Slot
from nurture_chassis.sending import LEASE_SECONDS, SHORT_WAIT, insist, latest_start
from nurture_chassis.trace import about, span
from nurture_contracts.base import Message
from nurture_contracts.events import EmailsObserved, EmailsSettled, TestEmailsProgressed

from nurture_email.attempts import Claim, Limits, Next, Retry, Settle, decide
from nurture_email.calls import METER, Calls, Ready
from nurture_email.observations import late, progress_of_test, settlement
from nurture_email.provider import Account, Provider, Reply
from nurture_email.rendering import Renderer, RenderSettings
from nurture_email.resend import ACCOUNT, TOTAL_SECONDS
from nurture_email.store import FULL, Store, Taken

log = structlog.get_logger()

CONTENDED_WAIT = 0.05
LONGEST_LEAD = 1.0


class Sender:
    """Up to `concurrency` requests in flight. `settings` are what new claims are rendered by."""

    def __init__(
        self,
        store: Store,
        pace: Pace,
        provider: Provider,
        renderer: Renderer,
        clock: Clock,
        settings: RenderSettings,
        *,
        concurrency: int,
        limits: Limits,
        account: Account = ACCOUNT,
        lease: float = LEASE_SECONDS,
    ) -> None:
        self._store = store
        self._pace = pace
        self._provider = provider
        self._calls = Calls(account, pace, renderer, clock)
        self._clock = clock
        self._settings = settings
        self._concurrency = concurrency
        self._limits = limits
        self._lease = lease
        self._flight: set[asyncio.Task[None]] = set()
        self._slot: Slot | None = None
        self._preparing = 0.0
        self._more = False
        self.wake: Callable[[], None] = lambda: None

    async def tick(self) -> bool | float:
        """Start one request if there is work, a free place and a slot. True: there may be more."""
        if len(self._flight) >= self._concurrency:
            # A request that ends wakes the ticker.
            return False
        if not self._more:
            look = await self._store.look()
            if look.parked is not None:
                self._calls.mark_parked(True)
                return look.parked
            if not look.work:
                return False
        slot = await self._next_slot()
        wait = slot.at - self._lead - time.monotonic()
        if wait > SHORT_WAIT:
            self._more = False
            return wait
        await asyncio.sleep(max(0.0, wait))
        taken_at = time.monotonic()
        taken = await self._store.claim_next(self._lease, self._clock.now(), self._settings)
        if taken is None:
            # The slot is kept: it was paid for.
            contended, self._more = not self._more, False
            return CONTENDED_WAIT if contended else True
        self._slot = None
        self._more = len(taken.claim.members) >= FULL
        self._start(self._traced(taken, taken_at, slot))
        return True

    async def _next_slot(self) -> Slot:
        if self._slot is None or self._slot.passed:
            self._slot = await self._pace.slot(after=self._lead)
        return self._slot

    @property
    def _lead(self) -> float:
        """Seconds before its slot that a claim is taken: none, unless preparing takes a good part of a slot's life."""
        return min(LONGEST_LEAD, max(0.0, self._preparing - SLOT_LIFE / 2))

    def _start(self, attempt: Awaitable[None]) -> None:
        task = asyncio.ensure_future(attempt)
        self._flight.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._flight.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("email.attempt_failed", error=type(error).__name__, exc_info=error)
        self.wake()

    async def finish(self, seconds: float = TOTAL_SECONDS + 5) -> None:
        """Let requests in flight end and be settled; what is left after `seconds` is taken up when its lease ends."""
        if not self._flight:
            return
        _, left = await asyncio.wait(set(self._flight), timeout=seconds)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _traced(self, taken: Taken, taken_at: float, slot: Slot) -> None:
        claim = taken.claim
        ids: dict[str, Any] = {"nurture__claim_id": str(claim.id), "nurture__attempt": claim.attempt}
        with span("send email", "client", about(taken.traceparents), **ids, nurture__members=len(claim.members)):
            await self._attempt(taken, taken_at, slot)

    async def _attempt(self, taken: Taken, taken_at: float, slot: Slot) -> None:
        ready = self._calls.prepare(taken)
        if isinstance(ready, Settle):
            await self._end(taken.claim, ready)
            return
        claim = ready.claim
        if not await self._may_begin(ready.links, taken_at, slot):
            # Certainly not sent, so what is known of it stays what it was.
            await self._end(claim, Retry(wait=0.0, may_have_arrived=claim.may_have_arrived))
            return
        reply = await self._call(ready)
        now = taken.now + timedelta(seconds=time.monotonic() - taken_at)
        await self._end(claim, decide(claim, list(ready.mails), reply.verdict, now, self._limits))

    async def _may_begin(self, links: Mapping[str, str], taken_at: float, slot: Slot) -> bool:
        """Whether the call may begin at once: its links are stored, its slot has come, and there is enough lease left."""
        try:
            await self._store.keep_links(links)
            took = time.monotonic() - taken_at
            # A longer time is believed at once, or each replica would lose slots that all share until it has learned it.
            self._preparing = max(took, self._preparing + (took - self._preparing) / 4)
            return await self._pace.wait(slot, latest_start(taken_at, self._lease, TOTAL_SECONDS))
        except UNREACHABLE:
            return False

    async def _call(self, ready: Ready) -> Reply:
        with METER.call_seconds.time():
            reply = await self._provider.send(str(ready.claim.id), list(ready.mails.values()))
        await self._calls.note(ready, reply)
        return reply

    async def _end(self, claim: Claim, following: Next) -> None:
        """Write down what follows."""
        if not await insist(lambda: self._write(claim, following)):
            log.warning("email.fence_lost", claim_id=str(claim.id), fence=claim.fence)
            if isinstance(following, Settle) and (items := late(claim.id, following.results, self._clock.now())):
                evidence = TestEmailsProgressed(items=items) if claim.test else EmailsObserved(items=items)
                await insist(lambda: self._store.say(evidence))
        elif isinstance(following, Settle):
            for result in following.results.values():
                METER.settled(result.outcome)

    async def _write(self, claim: Claim, following: Next) -> bool:
        if isinstance(following, Retry):
            return await self._store.retry(claim, following)
        return await self._store.settle(claim, following.results, following.followups, self._says(claim, following))

    def _says(self, claim: Claim, settle: Settle) -> Message | None:
        if not settle.results:
            return None
        at = self._clock.now()
        items = settle.results.items()
        if claim.test:
            return TestEmailsProgressed(items=[progress_of_test(claim.id, id, result, at) for id, result in items])
        return EmailsSettled(
            claim_id=claim.id, items=[settlement(id, result, at, claim.attempt) for id, result in items]
        )
