"""Sends what is due, in volleys: is there work, slots, one transaction that settles the last volley and marks the next
as being sent, then the calls.

What is marked and never settled may have arrived, so it is not sent again: a sender that dies leaves at most a volley
of messages of which nobody knows, and the reaper says so. Any number of senders may run.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import structlog
from nurture_chassis.clock import Clock
from nurture_chassis.database import UNREACHABLE
from nurture_chassis.pace import Pace, Paid, Slot
from nurture_chassis.sending import LEASE_SECONDS, SHORT_WAIT, Meter, Unanswered, insist, latest_start
from nurture_chassis.trace import about, span
from nurture_contracts.ids import uuid7

from nurture_telegram.attempts import PARKED, Again, Claim, Limits, Settle, decide, refused
from nurture_telegram.bot_api import TOTAL_SECONDS
from nurture_telegram.rendering import Renderer, Text, Unrenderable
from nurture_telegram.store import Ended, Store, Volley
from nurture_telegram.verdicts import Answer, Verdict, read

log = structlog.get_logger()
METER = Meter("telegram")

SLOTS_SECONDS = 5.0
PARTIAL_SECONDS = 2.0
HOLD_CAP = 30.0


class Provider(Protocol):
    """Takes one message."""

    async def send(self, text: Text, *, plain: bool = False) -> Answer: ...


class Sender:
    """One volley at a time, of at most `concurrency` calls to as many chats; `rate` in messages per second."""

    def __init__(
        self,
        store: Store,
        pace: Pace,
        provider: Provider,
        renderer: Renderer,
        clock: Clock,
        *,
        concurrency: int,
        rate: float,
        limits: Limits,
        lease: float = LEASE_SECONDS,
        call_seconds: float = TOTAL_SECONDS,
    ) -> None:
        self._store = store
        self._pace = pace
        self._provider = provider
        self._renderer = renderer
        self._clock = clock
        # Every slot of a volley has to come soon enough after its claim.
        self._concurrency = min(concurrency, max(1, int(rate * SLOTS_SECONDS)))
        self._limits = limits
        self._lease = lease
        self._call_seconds = call_seconds
        self._ended: list[Ended] = []
        self._slots = Paid(pace)
        self._flight: asyncio.Task[None] | None = None
        self._unanswered = Unanswered(store.give_back, lease)
        self._more = False
        self._parked = False
        self._unreachable = 0
        self.wake: Callable[[], None] = lambda: None

    async def tick(self) -> bool | float:
        """Start one volley if none is under way, there is work and there are slots. True: there may be more."""
        if self._flight is not None:
            # The volley wakes the ticker when it ends.
            return False
        await self._unanswered.give_back()
        wanted = self._concurrency
        if not self._more:
            await self._settle()
            look = await self._store.look(self._concurrency)
            if look.parked is not None:
                self._mark_parked(True)
                return look.parked
            if not look.due:
                return False
            wanted = look.due
        wait = await self._slots.wait(wanted)
        if wait > SHORT_WAIT:
            self._more = False
            await self._settle()
            return wait
        await asyncio.sleep(wait)
        return await self._turn(wanted)

    async def _turn(self, wanted: int) -> bool:
        taken_at = time.monotonic()
        ended, id = list(self._ended), uuid7()
        with self._unanswered.asked(id, taken_at):
            volley = await self._store.turn(id, ended, wanted, self._lease, self._clock.now())
        self._settled(ended)
        self._more = len(volley.claims) + volley.fell >= wanted
        if not volley.claims:
            return self._more
        slots = self._slots.take(len(volley.claims))
        self._flight = asyncio.create_task(self._fly(volley, slots, taken_at), name="telegram-volley")
        self._flight.add_done_callback(self._landed)
        return False

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._flight = None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("telegram.volley_failed", error=type(error).__name__, exc_info=error)
        self.wake()

    async def _fly(self, volley: Volley, slots: Sequence[Slot], taken_at: float) -> None:
        ready = self._rendered(volley)
        try:
            await self._store.keep_links({id: url for _, text in ready for id, url in text.links.items()})
        except BaseException:
            self._ended += [Ended(claim, Again()) for claim, _ in ready]
            raise
        deadline = latest_start(taken_at, self._lease, self._call_seconds)
        claims = {
            asyncio.create_task(self._call(claim, text, slot, deadline)): claim
            for (claim, text), slot in zip(ready, slots, strict=False)
        }
        flying = set(claims)
        try:
            while flying:
                done, flying = await asyncio.wait(flying, timeout=PARTIAL_SECONDS)
                self._ended += [_end(task, claims[task]) for task in done]
                if flying and self._ended:
                    # One slow answer does not keep the others' ends from being known.
                    with contextlib.suppress(*UNREACHABLE):
                        await self._settle()
        finally:
            for task in flying:
                task.cancel()

    def _rendered(self, volley: Volley) -> list[tuple[Claim, Text]]:
        ready: list[tuple[Claim, Text]] = []
        for claim, message in volley.claims:
            try:
                ready.append((claim, self._renderer.render(message)))
            except Unrenderable as error:
                log.warning("telegram.unrenderable", delivery_id=str(claim.delivery_id), reason=str(error))
                self._ended.append(Ended(claim, refused(claim, str(error))))
            except Exception as error:
                # A body that breaks the renderer must not keep the others of its volley from being sent.
                log.error("telegram.render_failed", delivery_id=str(claim.delivery_id), exc_info=error)
                self._ended.append(Ended(claim, refused(claim, "unrenderable")))
        return ready

    async def _call(self, claim: Claim, text: Text, slot: Slot, deadline: float) -> Ended:
        try:
            begins = await self._pace.wait(slot, deadline)
        except UNREACHABLE:
            begins = False
        if not begins:
            return Ended(claim, Again())
        ids: dict[str, Any] = {"nurture__delivery_id": str(claim.delivery_id), "nurture__attempt": claim.attempt}
        with METER.call_seconds.time(), span("send telegram", "client", about([claim.traceparent]), **ids):
            answer = await self._provider.send(text, plain=claim.plain)
            return await self._judged(claim, answer)

    async def _judged(self, claim: Claim, answer: Answer) -> Ended:
        verdict = read(answer)
        METER.called(verdict.kind, verdict.then, answered=answer.fault is None)
        tell = log.info if verdict.kind == "accepted" else log.warning
        tell(
            "telegram.call",
            delivery_id=str(claim.delivery_id),
            attempt=claim.attempt,
            verdict=verdict.then or verdict.kind,
            reason=verdict.reason,
        )
        try:
            await self._keep_pace(verdict)
        except UNREACHABLE as error:
            # The settlement matters more; the next answer states the pace again.
            log.warning("telegram.pace_not_kept", error=type(error).__name__)
        return Ended(claim, decide(claim, verdict, self._limits))

    async def _keep_pace(self, verdict: Verdict) -> None:
        if verdict.then == "park":
            self._mark_parked(True)
            await self._pace.park(verdict.reason or "account", PARKED.total_seconds())
            log.error(
                "telegram.channel_parked",
                reason=verdict.reason,
                hint="Telegram refuses the bot: check TELEGRAM_BOT_TOKEN and TELEGRAM_API_URL",
            )
        elif verdict.kind == "not_sent" and verdict.then in (None, "wait"):
            self._unreachable += 1
            self._slots.let_go()
            await self._pace.hold(verdict.retry_after or min(HOLD_CAP, 0.25 * 2.0 ** min(self._unreachable, 10)))
        else:
            self._unreachable = 0
            if self._parked:
                self._mark_parked(False)
                await self._pace.unpark()

    def _mark_parked(self, parked: bool) -> None:
        self._parked = parked
        METER.parked.set(1 if parked else 0)

    async def _settle(self) -> None:
        """Write down what has ended, apart from any claim."""
        if ended := list(self._ended):
            await self._store.settle(ended, self._clock.now())
            self._settled(ended)

    def _settled(self, ended: Sequence[Ended]) -> None:
        self._ended = self._ended[len(ended) :]
        for end in ended:
            METER.settled(end.following.outcome if isinstance(end.following, Settle) else "again")

    async def finish(self, seconds: float = TOTAL_SECONDS + 5) -> None:
        """Let the volley under way end and settle it; what is left after `seconds` becomes unknown with its lease."""
        if self._flight is not None:
            await asyncio.wait({self._flight}, timeout=seconds)
            if self._flight is not None:
                self._flight.cancel()
                await asyncio.gather(self._flight, return_exceptions=True)
        try:
            await insist(self._settle)
            await self._unanswered.give_back()
        except UNREACHABLE:
            log.error("telegram.not_settled", deliveries=len(self._ended))


def _end(task: asyncio.Task[Ended], claim: Claim) -> Ended:
    """How a call ended; one that broke in our own hands may have left."""
    if (error := task.exception()) is None:
        return task.result()
    log.error("telegram.call_failed", delivery_id=str(claim.delivery_id), exc_info=error)
    return Ended(claim, Settle(outcome="unknown", reason="call_failed", arrived=True))
