"""The rows of a provider without a key: claims of one member, many of them in one statement."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import msgspec
from nurture_chassis.outbox import Saying
from nurture_contracts.events import EmailsObserved, EmailsSettled, Observation, Settlement, TestEmailsProgressed
from nurture_contracts.ids import uuid7

from nurture_email.attempts import Claim, Next, Result, Retry, Settle
from nurture_email.observations import Report, handed_over, progress_of_test, settlement
from nurture_email.rendering import RenderSettings
from nurture_email.store import Look, Store, Taken, as_taken, follow_up, suppress


class Ended(NamedTuple):
    """How an attempt ended. `about` are the traces of the claim's members."""

    claim: Claim
    following: Next
    about: Sequence[str | None] = ()


class VolleyStore(Store):
    """As Store, in volleys."""

    async def look(self) -> Look:
        """What can be claimed; what is held cannot, and from here on claims work beside it."""
        return await self._look("look_volley_beside")

    async def claim_volley(
        self, volley: UUID, places: int, lease: float, now: datetime, settings: RenderSettings
    ) -> list[Taken]:
        """Take due claims and new ones, `places` at most, and mark them as being sent before anything is.

        `lease` in seconds of the database's clock; `now` is business time, by which messages expire. If no answer comes, it may
        have happened all the same: `give_back` then takes the id.
        """
        claim = "claim_volley_beside" if self._beside else "claim_volley"
        frozen = msgspec.to_builtins(settings)
        return [as_taken(row) for row in await self._database.fetch(claim, volley, lease, now, frozen, places)]

    async def give_back(self, volleys: Sequence[UUID]) -> None:
        """Claims of these volleys were never answered, so nothing of them was sent: they wait again."""
        await self._database.execute("volley_give_back", list(volleys))

    async def end(self, ended: Sequence[Ended], at: datetime) -> list[Ended]:
        """Write down what follows and say so, in one transaction. Returns those that were no longer ours to end."""
        settles = [end for end in ended if isinstance(end.following, Settle)]
        retries = [end for end in ended if isinstance(end.following, Retry)]
        async with self._outbox.transaction() as tx:
            lost = await _retry(tx, retries) if retries else []
            if settles:
                rows = await tx.fetch(
                    "volley_settle",
                    [end.claim.id for end in settles],
                    [end.claim.fence for end in settles],
                    [msgspec.to_builtins(_results(end), str_keys=True) for end in settles],
                )
                ours = {row["id"] for row in rows if row["ours"]}
                known = ours | {row["id"] for row in rows if row["before"]}
                lost += [end for end in settles if end.claim.id not in known]
                await _say(tx, [end for end in settles if end.claim.id in ours], at)
                _say_late(tx, [end for end in settles if end.claim.id not in known], at)
        return lost


async def _retry(tx: Saying, ended: Sequence[Ended]) -> list[Ended]:
    again = [(end.claim, end.following) for end in ended if isinstance(end.following, Retry)]
    rows = await tx.fetch(
        "volley_retry",
        [claim.id for claim, _ in again],
        [claim.fence for claim, _ in again],
        [retry.wait for _, retry in again],
        [retry.may_have_arrived for _, retry in again],
        [retry.restart for _, retry in again],
    )
    ours = {row["id"] for row in rows}
    return [end for end in ended if end.claim.id not in ours]


async def _say(tx: Saying, ended: Sequence[Ended], at: datetime) -> None:
    """What these ends mean to others: settlements, dead addresses, and claims for whoever is to be tried again."""
    settled: list[Settlement] = []
    tests: list[Observation] = []
    taken: list[Observation] = []
    dead: list[Report] = []
    for claim, following, _ in ended:
        assert isinstance(following, Settle)
        for id, result in following.results.items():
            if claim.test:
                tests.append(progress_of_test(claim.id, id, result, at))
                continue
            settled.append(settlement(id, result, at, claim.attempt))
            if result.dead:
                dead.append(Report(id, "bounced", at))
        if not claim.test:
            taken += handed_over(claim.id, following.results, at)
        for followup in following.followups:
            await follow_up(tx, claim, followup)
    about = [traceparent for end in ended for traceparent in end.about]
    if settled:
        tx.say(EmailsSettled(claim_id=uuid7(), items=settled), about=about)
    if taken:
        tx.say(EmailsObserved(items=taken), about=about)
    if tests:
        tx.say(TestEmailsProgressed(items=tests), about=about)
    await suppress(tx, dead)


def _say_late(tx: Saying, ended: Sequence[Ended], at: datetime) -> None:
    """An answer that came after its claim had passed on still shows who was accepted."""
    for test, message in ((False, EmailsObserved), (True, TestEmailsProgressed)):
        items = [
            item for end in ended if end.claim.test is test for item in handed_over(end.claim.id, _results(end), at)
        ]
        if items:
            tx.say(message(items=items))


def _results(end: Ended) -> dict[UUID, Result]:
    assert isinstance(end.following, Settle)
    return end.following.results
