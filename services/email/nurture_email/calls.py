"""What comes before a call and after it, whoever the provider is: rendering, words about it, and the pace that it asks for."""

from typing import NamedTuple
from uuid import UUID

import structlog
from msgspec.structs import replace
from nurture_chassis.clock import Clock
from nurture_chassis.database import UNREACHABLE
from nurture_chassis.pace import Pace
from nurture_chassis.sending import Meter

from nurture_email.attempts import Claim, Result, Settle, before_call, hand_over, lost
from nurture_email.provider import Account, Reply
from nurture_email.rendering import Mail, Renderer, Unrenderable
from nurture_email.store import Taken
from nurture_email.verdicts import park_seconds

log = structlog.get_logger()
METER = Meter("email")


class Ready(NamedTuple):
    """A claim whose request can be sent: a mail for each member that has no result yet."""

    claim: Claim
    mails: dict[UUID, Mail]

    @property
    def links(self) -> dict[str, str]:
        """Link id to URL, of all its mails."""
        return {id: url for mail in self.mails.values() for id, url in mail.links.items()}


class Calls:
    """The calls to one account."""

    def __init__(self, account: Account, pace: Pace, renderer: Renderer, clock: Clock) -> None:
        self.account = account
        self._pace = pace
        self._renderer = renderer
        self._clock = clock
        self._parked = False

    def prepare(self, taken: Taken) -> Ready | Settle:
        """What a claim just taken asks for: a request, or its end without one."""
        claim = taken.claim
        if taken.settings.provider != self.account.name:
            return hand_over(claim, self.account.request)
        if claim.may_have_arrived and not self.account.keyed:
            return lost(claim)
        step = before_call(claim, taken.fresh, taken.now)
        if isinstance(step, Settle):
            return step
        mails, unrenderable = self._render(taken)
        claim = replace(claim, results={**claim.results, **unrenderable})
        step = before_call(claim, {}, taken.now)
        return step if isinstance(step, Settle) else Ready(claim, mails)

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

    async def note(self, ready: Ready, reply: Reply) -> None:
        """Count and tell what became of a call, and keep the pace that it asks for."""
        verdict = reply.verdict
        METER.called(verdict.kind, verdict.then, answered=reply.answered)
        tell = log.info if verdict.kind == "accepted" else log.warning
        tell(
            "email.call",
            claim_id=str(ready.claim.id),
            attempt=ready.claim.attempt,
            members=len(ready.mails),
            verdict=verdict.then or verdict.kind,
            reason=verdict.reason,
        )
        try:
            await self._keep_pace(reply)
        except UNREACHABLE as error:
            # The settlement matters more; the next reply states the pace again.
            log.warning("email.pace_not_kept", error=type(error).__name__)

    async def _keep_pace(self, reply: Reply) -> None:
        verdict, rate = reply.verdict, reply.rate
        if verdict.then == "park":
            seconds = park_seconds(verdict.reason, self._clock.real())
            log.error("email.channel_parked", reason=verdict.reason, seconds=round(seconds), hint=self.account.hint)
            await self._pace.park(verdict.reason or "account", seconds)
            self.mark_parked(True)
        elif verdict.kind == "not_sent" and (wait := verdict.retry_after or rate.reset):
            await self._pace.hold(wait)
        elif verdict.kind == "accepted" and self._parked:
            await self._pace.unpark()
            self.mark_parked(False)
        if rate.limit:
            await self._pace.follow(rate.limit)

    def mark_parked(self, parked: bool) -> None:
        """What is known of the channel: whether it stands still."""
        self._parked = parked
        METER.parked.set(1 if parked else 0)
