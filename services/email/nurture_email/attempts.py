"""Who is tried, what an attempt's end leads to, and when the next one is due. Pure: `now` comes in, values go out.

The rule behind all of it: once a request may have arrived, only that request, or a smaller one, is ever sent again, and only
under the same key. A new key is for members that no earlier request can have reached. Where the provider knows no key
(SMTP), what may have arrived is never sent again.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Literal
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace
from nurture_contracts.events import Outcome

from nurture_email.verdicts import MemberVerdict, Verdict

KEY_LIFETIME = timedelta(hours=23)
"""Providers keep an idempotency key for 24 h; an hour is left for clocks that disagree."""
BACKOFF_BASE = 2.0
BACKOFF_CAP = 300.0
CONCURRENT_WAIT = 3.0
WITHHELD = "withheld_after_attempt"
WORKER_LOST = "worker_lost"
PROVIDER_CHANGED = "provider_changed"


class Result(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How it ended for one member. `late`: it fell out after an attempt that may have arrived, so nobody knows yet.
    `dead`: it was refused because there is no such address."""

    outcome: Outcome
    reason: str | None = None
    provider_id: str | None = None
    late: bool = False
    dead: bool = False


class Claim(Struct, frozen=True, kw_only=True):
    """A claim as taken for this attempt. `may_have_arrived` is about the attempts before it.

    `results` has the members that are settled already: those that fell out, now or at earlier attempts.
    `refusals` counts the new claims that its members needed because the provider refused them one by one.
    """

    id: UUID
    members: list[UUID]
    test: bool = False
    attempt: int
    fence: int
    refusals: int = 0
    first_call_at: datetime
    may_have_arrived: bool = False
    results: dict[UUID, Result] = {}

    @property
    def remaining(self) -> list[UUID]:
        return [member for member in self.members if member not in self.results]


class Limits(Struct, frozen=True, kw_only=True):
    """`max_attempts` bounds the new claims for members that the provider refused one by one but might take later."""

    max_attempts: int = 3


class Followup(Struct, frozen=True, kw_only=True):
    """A new claim, so a new key, for members that were certainly not sent. `wait` in seconds."""

    members: list[UUID]
    refusals: int
    wait: float = 0.0


class Settle(Struct, frozen=True, kw_only=True):
    """The claim is over: these results, and new claims for whoever is to be tried again."""

    results: dict[UUID, Result]
    followups: list[Followup] = []


class Retry(Struct, frozen=True, kw_only=True):
    """The same request under the same key, `wait` seconds from now.

    `restart`: nothing can have arrived and the fault is the account's, so the time spent waiting does not count.
    """

    wait: float
    may_have_arrived: bool
    restart: bool = False


Next = Settle | Retry
Step = Literal["call"] | Settle


def before_call(claim: Claim, fresh: Mapping[UUID, Result], now: datetime) -> Step:
    """What to do with a claim just taken, before anything is sent; `fresh` are the members that fell out at this claim.

    `claim.results` includes `fresh` already. Times are the database's.
    """
    if now >= claim.first_call_at + KEY_LIFETIME:
        return give_up(claim)
    if not claim.remaining:
        return Settle(results=_final(claim, taken=claim.may_have_arrived))
    if fresh and claim.attempt > 1 and not claim.may_have_arrived:
        # The provider may have bound the key to the request that it turned away, so the smaller one gets its own.
        return Settle(
            results=dict(claim.results), followups=[Followup(members=claim.remaining, refusals=claim.refusals)]
        )
    return "call"


def decide(claim: Claim, sent: Sequence[UUID], verdict: Verdict, now: datetime, limits: Limits) -> Next:
    """What follows from the verdict on a request for `sent`, who are the claim's members without a result."""
    match verdict.kind, verdict.then:
        case "accepted", _:
            return _accepted(claim, sent, verdict, limits)
        case _, "conflict" | "unrepeatable":
            return Settle(results=_final(claim, taken=True) | _all(sent, "unknown", verdict.reason))
        case "rejected", _ if claim.may_have_arrived:
            # A refusal now says nothing about the attempt that may have arrived.
            return Settle(results=_final(claim, taken=True) | _all(sent, "unknown", verdict.reason))
        case "rejected", then if len(sent) == 1:
            ended = {sent[0]: Result(outcome="rejected", reason=verdict.reason, dead=then == "dead")}
            return Settle(results=_final(claim, taken=False) | ended)
        case "rejected", _:
            # One member can spoil a whole request; halving finds it without rejecting the others.
            middle = len(sent) // 2
            halves = [Followup(members=list(half), refusals=claim.refusals) for half in (sent[:middle], sent[middle:])]
            return Settle(results=_final(claim, taken=False), followups=halves)
        case "not_sent", "park":
            # Nothing is claimed while the channel is parked, so the claim is due as soon as it runs again.
            wait = backoff(claim.id, claim.attempt)
            return _again(claim, wait, claim.may_have_arrived, now, restart=not claim.may_have_arrived)
        case "not_sent", _:
            wait = verdict.retry_after if verdict.retry_after is not None else backoff(claim.id, claim.attempt)
            return _again(claim, wait, claim.may_have_arrived, now)
        case _, "concurrent":
            return _again(claim, max(CONCURRENT_WAIT, verdict.retry_after or 0.0), True, now)
        case _:
            return _again(claim, max(backoff(claim.id, claim.attempt), verdict.retry_after or 0.0), True, now)


def lost(claim: Claim) -> Settle:
    """Whoever had the claim is gone, and without a key nothing may be sent again: what may have arrived is unknown."""
    return Settle(results=_final(claim, taken=True) | _all(claim.remaining, "unknown", WORKER_LOST))


def hand_over(claim: Claim, request: int) -> Settle:
    """A claim that was begun with another provider: what may have arrived there is unknown, the rest gets new claims of at
    most `request` members."""
    if claim.may_have_arrived:
        return Settle(results=_final(claim, taken=True) | _all(claim.remaining, "unknown", PROVIDER_CHANGED))
    left = claim.remaining
    parts = [left[start : start + request] for start in range(0, len(left), request)]
    return Settle(
        results=_final(claim, taken=False),
        followups=[Followup(members=part, refusals=claim.refusals) for part in parts],
    )


def give_up(claim: Claim) -> Settle:
    """No retry any more: unknown where something may have arrived, else the definite failure that it is."""
    outcome: Outcome = "unknown" if claim.may_have_arrived else "rejected"
    results = _final(claim, taken=claim.may_have_arrived)
    return Settle(results=results | _all(claim.remaining, outcome, "gave_up"))


def backoff(claim_id: UUID, attempt: int) -> float:
    """Seconds until the next try: doubling to 5 minutes, less up to a half by claim, so that a crowd spreads out."""
    ceiling = min(BACKOFF_CAP, BACKOFF_BASE * 2.0 ** min(attempt - 1, 16))
    draw = int.from_bytes(sha256(claim_id.bytes + attempt.to_bytes(4, "big")).digest()[:4], "big") / 2**32
    return ceiling * (0.5 + draw / 2)


def _again(claim: Claim, wait: float, may_have_arrived: bool, now: datetime, restart: bool = False) -> Next:
    if not restart and now + timedelta(seconds=wait) >= claim.first_call_at + KEY_LIFETIME:
        return give_up(replace(claim, may_have_arrived=may_have_arrived))
    return Retry(wait=wait, may_have_arrived=may_have_arrived, restart=restart)


def _accepted(claim: Claim, sent: Sequence[UUID], verdict: Verdict, limits: Limits) -> Settle:
    results = _final(claim, taken=False)
    again: list[UUID] = []
    for member, ended in zip(sent, verdict.members, strict=True):
        if ended.kind == "not_sent" and claim.refusals + 1 < limits.max_attempts:
            again.append(member)
        else:
            results[member] = _result(ended)
    later = Followup(members=again, refusals=claim.refusals + 1, wait=backoff(claim.id, claim.attempt))
    return Settle(results=results, followups=[later] if again else [])


def _result(ended: MemberVerdict) -> Result:
    if ended.kind == "accepted":
        return Result(outcome="accepted", provider_id=ended.provider_id)
    return Result(outcome="unknown" if ended.kind == "unknown" else "rejected", reason=ended.reason)


def _final(claim: Claim, *, taken: bool) -> dict[UUID, Result]:
    """Results of those that fell out. `taken`: an earlier, larger request may be with the provider, late ones in it."""
    return {
        member: Result(outcome="unknown", reason=WITHHELD)
        if result.late and taken
        else Result(outcome=result.outcome, reason=result.reason, provider_id=result.provider_id)
        for member, result in claim.results.items()
    }


def _all(members: Sequence[UUID], outcome: Outcome, reason: str | None) -> dict[UUID, Result]:
    return {member: Result(outcome=outcome, reason=reason) for member in members}
