"""Sends what is due. The order is always: is there work, a slot, a claim, the call, the settlement.

Everything that matters is in rows: a sender that dies leaves a lease that runs out, and the next one repeats the same request
under the same key. Any number of senders may run.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

import structlog
from msgspec.structs import replace
from nurture_chassis.clock import Clock
from nurture_chassis.database import UNREACHABLE
from nurture_chassis.pace import SLOT_LIFE, Pace, Slot
from nurture_chassis.sending import LEASE_SECONDS, SHORT_WAIT, Meter, insist, latest_start
from nurture_chassis.trace import about, span
from nurture_contracts.base import Message
from nurture_contracts.events import EmailsObserved, EmailsSettled, TestEmailsProgressed

from nurture_email.attempts import Claim, Limits, Next, Result, Retry, Settle, before_call, decide
from nurture_email.observations import late, progress_of_test, settlement
from nurture_email.rendering import Mail, Renderer, RenderSettings, Unrenderable
from nurture_email.resend import TOTAL_SECONDS, Reply
from nurture_email.store import FULL, Store, Taken
from nurture_email.verdicts import park_seconds

log = structlog.get_logger()
METER = Meter("email")

CONTENDED_WAIT = 0.05
LONGEST_LEAD = 1.0


class Provider(Protocol):
    """Takes 1 to 100 mails as one request under a key."""

    async def send(self, key: str, mails: Sequence[Mail]) -> Reply: ...


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
        lease: float = LEASE_SECONDS,
    ) -> None:
        self._store = store
        self._pace = pace
        self._provider = provider
        self._renderer = renderer
        self._clock = clock
        self._settings = settings
        self._concurrency = concurrency
        self._limits = limits
        self._lease = lease
        self._flight: set[asyncio.Task[None]] = set()
        self._slot: Slot | None = None
        self._preparing = 0.0
        self._more = False
        self._parked = False
        self.wake: Callable[[], None] = lambda: None

    async def tick(self) -> bool | float:
        """Start one request if there is work, a free place and a slot. True: there may be more."""
        if len(self._flight) >= self._concurrency:
            # A request that ends wakes the ticker.
            return False
        if not self._more:
            look = await self._store.look()
            if look.parked is not None:
                self._mark_parked(True)
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
        step = before_call(taken.claim, taken.fresh, taken.now)
        if isinstance(step, Settle):
            await self._end(taken.claim, step)
            return
        mails, unrenderable = self._render(taken)
        claim = replace(taken.claim, results={**taken.claim.results, **unrenderable})
        step = before_call(claim, {}, taken.now)
        if isinstance(step, Settle):
            await self._end(claim, step)
            return
        if not await self._may_begin(mails, taken_at, slot):
            # Certainly not sent, so what is known of it stays what it was.
            await self._end(claim, Retry(wait=0.0, may_have_arrived=claim.may_have_arrived))
            return
        reply = await self._call(claim, mails)
        now = taken.now + timedelta(seconds=time.monotonic() - taken_at)
        await self._end(claim, await self._judge(claim, list(mails), reply, now))

    async def _may_begin(self, mails: Mapping[UUID, Mail], taken_at: float, slot: Slot) -> bool:
        """Whether the call may begin at once: its links are stored, its slot has come, and there is enough lease left."""
        try:
            await self._store.keep_links({id: url for mail in mails.values() for id, url in mail.links.items()})
            took = time.monotonic() - taken_at
            # A longer time is believed at once, or each replica would lose slots that all share until it has learned it.
            self._preparing = max(took, self._preparing + (took - self._preparing) / 4)
            return await self._pace.wait(slot, latest_start(taken_at, self._lease, TOTAL_SECONDS))
        except UNREACHABLE:
            return False

    def _render(self, taken: Taken) -> tuple[dict[UUID, Mail], dict[UUID, Result]]:
        mails: dict[UUID, Mail] = {}
        failed: dict[UUID, Result] = {}
        for message in taken.messages:
            try:
                mails[message.delivery_id] = self._renderer.render(message, taken.settings)
                continue
            except Unrenderable as error:
                reason = str(error)
                log.warning("email.unrenderable", delivery_id=str(message.delivery_id), reason=reason)
            except Exception as error:
                # A body that breaks the renderer must not take the others of its request with it.
                reason = "unrenderable"
                log.error("email.render_failed", delivery_id=str(message.delivery_id), exc_info=error)
            failed[message.delivery_id] = Result(outcome="rejected", reason=reason, late=taken.claim.may_have_arrived)
        return mails, failed

    async def _call(self, claim: Claim, mails: dict[UUID, Mail]) -> Reply:
        with METER.call_seconds.time():
            reply = await self._provider.send(str(claim.id), list(mails.values()))
        verdict = reply.verdict
        METER.called(verdict.kind, verdict.then, answered=reply.answered)
        tell = log.info if verdict.kind == "accepted" else log.warning
        tell(
            "email.call",
            claim_id=str(claim.id),
            attempt=claim.attempt,
            members=len(mails),
            verdict=verdict.then or verdict.kind,
            reason=verdict.reason,
        )
        return reply

    async def _judge(self, claim: Claim, sent: Sequence[UUID], reply: Reply, now: datetime) -> Next:
        verdict, park = reply.verdict, 0.0
        if verdict.then == "park":
            park = park_seconds(verdict.reason, self._clock.real())
            log.error(
                "email.channel_parked",
                reason=verdict.reason,
                seconds=round(park),
                hint="the provider refuses the account: check its key, sender domain and quota",
            )
        try:
            await self._keep_pace(reply, park)
        except UNREACHABLE as error:
            # The settlement matters more; the next reply states the pace again.
            log.warning("email.pace_not_kept", error=type(error).__name__)
        return decide(claim, sent, verdict, now, self._limits)

    async def _keep_pace(self, reply: Reply, park: float) -> None:
        verdict, rate = reply.verdict, reply.rate
        if verdict.then == "park":
            await self._pace.park(verdict.reason or "account", park)
            self._mark_parked(True)
        elif verdict.kind == "not_sent" and (wait := verdict.retry_after or rate.reset):
            await self._pace.hold(wait)
        elif verdict.kind == "accepted" and self._parked:
            await self._pace.unpark()
            self._mark_parked(False)
        if rate.limit:
            await self._pace.follow(rate.limit)

    def _mark_parked(self, parked: bool) -> None:
        self._parked = parked
        METER.parked.set(1 if parked else 0)

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
