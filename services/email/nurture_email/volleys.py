"""Sends what is due to a provider that knows no key, in volleys: is there work, slots, one statement that claims deliveries
and marks them as being sent, then the calls, each at its slot, and one transaction for their ends.

What is marked and never settled may have arrived, so it is not sent again: a sender that dies leaves at most its concurrency
of deliveries of which nobody knows, and whoever finds their leases run out says so. Any number of senders may run.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import structlog
from nurture_chassis.clock import Clock
from nurture_chassis.database import UNREACHABLE
from nurture_chassis.pace import Pace, Paid, Slot
from nurture_chassis.sending import LEASE_SECONDS, SHORT_WAIT, Unanswered, insist, latest_start
from nurture_chassis.trace import about, span
from nurture_contracts.ids import uuid7

from nurture_email.attempts import Limits, Result, Retry, Settle, decide
from nurture_email.calls import METER, Calls, Ready
from nurture_email.provider import Account, Provider
from nurture_email.rendering import Renderer, RenderSettings
from nurture_email.smtp import ACCOUNT, TOTAL_SECONDS
from nurture_email.store import Taken
from nurture_email.volley_store import Ended, VolleyStore

log = structlog.get_logger()

CONTENDED_WAIT = 0.05
SLOTS_SECONDS = 5.0
PARTIAL_SECONDS = 2.0


class Volleys:
    """Up to `concurrency` calls whose end is not written down yet; `rate` in calls per second. `settings` are what new claims
    are rendered by."""

    def __init__(
        self,
        store: VolleyStore,
        pace: Pace,
        provider: Provider,
        renderer: Renderer,
        clock: Clock,
        settings: RenderSettings,
        *,
        concurrency: int,
        rate: float,
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
        # Every slot of a volley has to come soon enough after its claim.
        self._concurrency = min(concurrency, max(1, int(rate * SLOTS_SECONDS)))
        self._limits = limits
        self._lease = lease
        self._flight: set[asyncio.Task[None]] = set()
        self._busy = 0
        self._ended: list[Ended] = []
        self._settling = asyncio.Lock()
        self._slots = Paid(pace)
        self._unanswered = Unanswered(store.give_back, lease)
        self._more = False
        self.wake: Callable[[], None] = lambda: None

    async def tick(self) -> bool | float:
        """Start one volley if there is work, a free place and a slot. True: there may be more."""
        await self._settle()
        await self._unanswered.give_back()
        places = self._concurrency - self._busy
        if places < 1:
            # A volley that ends wakes the ticker.
            return False
        if not self._more:
            look = await self._store.look()
            if look.parked is not None:
                self._calls.mark_parked(True)
                return look.parked
            if not look.work:
                return False
        # One alone goes at once; where there was one, there may be as many as there are places.
        wanted = places if self._more else 1
        wait = await self._slots.wait(wanted)
        if wait > SHORT_WAIT:
            self._more = False
            return wait
        await asyncio.sleep(wait)
        return await self._volley(wanted)

    async def _volley(self, places: int) -> bool | float:
        taken_at, id = time.monotonic(), uuid7()
        # A call that ended meanwhile may have let go of them all; those taken out here it does not reach.
        slots = self._slots.take(places)
        if not slots:
            return True
        with self._unanswered.asked(id, taken_at):
            volley = await self._store.claim_volley(id, len(slots), self._lease, self._clock.now(), self._settings)
        contended, self._more = not self._more, len(volley) >= len(slots)
        self._busy += len(volley)
        ready = self._ready(volley)
        self._slots.put_back(slots[len(ready) :])
        if not volley:
            return CONTENDED_WAIT if contended else True
        task = asyncio.create_task(self._fly(ready, slots[: len(ready)], taken_at), name="email-volley")
        self._flight.add(task)
        task.add_done_callback(self._landed)
        return True

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._flight.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # Their ends are kept, and written down by the next tick that reaches the database.
            log.error("email.volley_failed", error=type(error).__name__, exc_info=error)
        self.wake()

    def _ready(self, volley: Sequence[Taken]) -> list[tuple[Ready, Taken]]:
        """The claims that ask for a call; the others have ended."""
        ready: list[tuple[Ready, Taken]] = []
        for taken in volley:
            prepared = self._calls.prepare(taken)
            if isinstance(prepared, Settle):
                self._ended.append(Ended(taken.claim, prepared, taken.traceparents))
            else:
                ready.append((prepared, taken))
        return ready

    async def _fly(self, ready: Sequence[tuple[Ready, Taken]], slots: Sequence[Slot], taken_at: float) -> None:
        try:
            await self._store.keep_links({id: url for one, _ in ready for id, url in one.links.items()})
        except BaseException as error:
            self._ended += [_unsent(one, taken) for one, taken in ready]
            if not isinstance(error, UNREACHABLE):
                raise
            ready = slots = ()
        calls = {
            asyncio.create_task(self._call(one, taken, slot, taken_at)): (one, taken)
            for (one, taken), slot in zip(ready, slots, strict=True)
        }
        flying = set(calls)
        try:
            while flying:
                done, flying = await asyncio.wait(flying, timeout=PARTIAL_SECONDS)
                self._ended += [_end(task, *calls[task]) for task in done]
                if flying and self._ended:
                    # One slow answer keeps neither the others' ends from being known nor their places from being used; and
                    # a database that is away ends no call.
                    with contextlib.suppress(*UNREACHABLE):
                        await self._settle()
                        self.wake()
        finally:
            # Their ends nobody will write down, so their places are free.
            self._busy -= len(flying)
            for task in flying:
                task.cancel()
        await insist(self._settle)

    async def _call(self, ready: Ready, taken: Taken, slot: Slot, taken_at: float) -> Ended:
        try:
            begins = await self._pace.wait(slot, latest_start(taken_at, self._lease, TOTAL_SECONDS))
        except UNREACHABLE:
            begins = False
        if not begins:
            return _unsent(ready, taken)
        ids: dict[str, Any] = {"nurture__claim_id": str(ready.claim.id), "nurture__attempt": ready.claim.attempt}
        with span("send email", "client", about(taken.traceparents), **ids, nurture__members=len(ready.mails)):
            with METER.call_seconds.time():
                reply = await self._provider.send(str(ready.claim.id), list(ready.mails.values()))
            if reply.verdict.then == "park":
                self._more = False
                self._slots.let_go()
            await self._calls.note(ready, reply)
            now = taken.now + timedelta(seconds=time.monotonic() - taken_at)
            following = decide(ready.claim, list(ready.mails), reply.verdict, now, self._limits)
            return Ended(ready.claim, following, taken.traceparents)

    async def _settle(self) -> None:
        """Write down what has ended, whoever's volley it was of."""
        async with self._settling:
            if not (ended := list(self._ended)):
                return
            lost = await self._store.end(ended, self._clock.now())
            self._ended = self._ended[len(ended) :]
            self._busy -= len(ended)
        for end in lost:
            log.warning("email.fence_lost", claim_id=str(end.claim.id), fence=end.claim.fence)
        for end in ended:
            if end not in lost and isinstance(end.following, Settle):
                for result in end.following.results.values():
                    METER.settled(result.outcome)

    async def finish(self, seconds: float = TOTAL_SECONDS + 5) -> None:
        """Let volleys under way end and settle them; what is left after `seconds` becomes unknown with its lease."""
        if self._flight:
            _, left = await asyncio.wait(set(self._flight), timeout=seconds)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
        try:
            await insist(self._settle)
            await self._unanswered.give_back()
        except UNREACHABLE:
            log.error("email.not_settled", deliveries=len(self._ended))


def _unsent(ready: Ready, taken: Taken) -> Ended:
    """Certainly not sent, so it waits as it was."""
    return Ended(ready.claim, Retry(wait=0.0, may_have_arrived=ready.claim.may_have_arrived), taken.traceparents)


def _end(task: asyncio.Task[Ended], ready: Ready, taken: Taken) -> Ended:
    """How a call ended; one that broke in our own hands may have left."""
    if (error := task.exception()) is None:
        return task.result()
    log.error("email.call_failed", claim_id=str(ready.claim.id), exc_info=error)
    results = {member: Result(outcome="unknown", reason="call_failed") for member in ready.mails}
    return Ended(ready.claim, Settle(results={**ready.claim.results, **results}), taken.traceparents)
