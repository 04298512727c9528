"""The room's rows: pages, claims, links, suppressions. Each method is one statement or one transaction."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from nurture_chassis.database import Database
from nurture_chassis.outbox import Outbox, Saying
from nurture_contracts.base import Message
from nurture_contracts.events import AddressesSuppressed, Suppression
from nurture_contracts.ids import derived, uuid7

from nurture_email.attempts import Claim, Followup, Result, Retry
from nurture_email.observations import Report
from nurture_email.rendering import Outbound, RenderSettings
from nurture_email.testmail import compose

FULL = 100
"""Members of a full request: what the provider takes at once."""
_LINKS_REMEMBERED = 50_000


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """A claim as taken: who is to be sent to, who fell out just now, what to render by, the database's time."""

    claim: Claim
    messages: list[Outbound]
    fresh: dict[UUID, Result]
    settings: RenderSettings
    now: datetime
    traceparents: list[str | None] = []
    """The traces that its members belong to."""


class Look(msgspec.Struct, frozen=True):
    """Whether anything can be claimed, and how many seconds the channel is still parked (None: it is not)."""

    work: bool
    parked: float | None


class Store:
    """Reads and writes of the email room; `account` names the provider account that its pace is kept for."""

    def __init__(self, database: Database, outbox: Outbox, account: str) -> None:
        self._database = database
        self._outbox = outbox
        self._account = account
        self._known_links: set[str] = set()
        self._beside = False

    async def take_page(self, page_id: UUID, members: Sequence[UUID], test: bool) -> None:
        """Keep a send command; more members than a request holds become several pages."""
        parts = [members[start : start + FULL] for start in range(0, len(members), FULL)]
        if len(parts) == 1:
            await self._database.execute("page_take", page_id, parts[0], test)
            return
        async with self._database.transaction() as tx:
            for number, part in enumerate(parts):
                await tx.execute("page_take", derived("page", page_id, number), part, test)

    async def look(self) -> Look:
        """What can be claimed; what is held cannot, and from here on claims work beside it."""
        return await self._look("look_beside")

    async def _look(self, beside: str) -> Look:
        row = await self._database.fetchrow("look", self._account)
        assert row is not None
        self._beside = row["held"]
        work = await self._database.fetchval(beside) if row["work"] and row["held"] else row["work"]
        return Look(work, row["parked"])

    async def claim_next(self, lease: float, now: datetime, settings: RenderSettings) -> Taken | None:
        """Take a due claim or a new one; None when there is nothing, or when others hold all there is.

        `lease` in seconds of the database's clock; `now` is business time, by which messages expire.
        """
        frozen = msgspec.to_builtins(settings)
        claim = "claim_next_beside" if self._beside else "claim_next"
        row = await self._database.fetchrow(claim, uuid7(), lease, now, frozen, FULL)
        return as_taken(row) if row else None

    async def keep_links(self, links: Mapping[str, str]) -> None:
        """Make sure that these links are stored; a process asks the database about each of them once."""
        new = {id: url for id, url in links.items() if id not in self._known_links}
        if not new:
            return
        # Sorted, so that two replicas inserting the same links cannot wait for each other in a circle.
        await self._database.execute("links_keep", sorted(new), [new[id] for id in sorted(new)])
        if len(self._known_links) > _LINKS_REMEMBERED:
            self._known_links.clear()
        self._known_links.update(new)

    async def settle(
        self, claim: Claim, results: Mapping[UUID, Result], followups: Iterable[Followup], says: Message | None
    ) -> bool:
        """End a claim, start its follow-ups and say so, in one transaction. False: it is no longer ours to end."""
        async with self._outbox.transaction() as tx:
            stored = msgspec.to_builtins(results, str_keys=True)
            written = await tx.fetchrow("claim_settle", claim.id, claim.fence, stored)
            if written is None or not written["ours"]:
                return written is not None and written["before"]
            for followup in followups:
                await follow_up(tx, claim, followup)
            if says is not None:
                tx.say(says)
        return True

    async def say(self, says: Message) -> None:
        """Say something that changes no row of ours."""
        async with self._outbox.transaction() as tx:
            tx.say(says)

    async def retry(self, claim: Claim, again: Retry) -> bool:
        """Give the claim back until it is due again. False: it is no longer ours."""
        args = (claim.id, claim.fence, again.wait, again.may_have_arrived, again.restart)
        return await self._database.fetchval("claim_retry", *args) is not None

    async def prune(self) -> bool:
        """Drop what is older than any message; True when there may be more."""
        return await self._database.fetchval("prune", 1000) >= 1000


async def follow_up(tx: Saying, claim: Claim, followup: Followup) -> None:
    """Start a new claim for members of this one."""
    await tx.execute(
        "claim_follow_up",
        uuid7(),
        followup.members,
        claim.test,
        claim.attempt,
        followup.refusals,
        claim.first_call_at,
        followup.wait,
    )


async def suppress(tx: Saying, reports: Sequence[Report]) -> None:
    """Close addresses, and say whose they are."""
    if not reports:
        return
    rows = await tx.fetch(
        "suppress",
        [found.delivery_id for found in reports],
        [found.reason for found in reports],
        [found.at for found in reports],
    )
    if rows:
        items = [Suppression(channel="email", **dict(row)) for row in rows]
        tx.say(AddressesSuppressed(items=items))


def as_taken(row: Any) -> Taken:
    """A row of a claim's statement."""
    results = msgspec.convert(row["results"], dict[UUID, Result])
    settings = msgspec.convert(row["render"], RenderSettings)
    claim = Claim(
        id=row["id"],
        members=row["members"],
        test=row["test"],
        attempt=row["attempt"],
        fence=row["fence"],
        refusals=row["refusals"],
        first_call_at=row["first_call_at"],
        may_have_arrived=row["may_have_arrived"],
        results=results,
    )
    return Taken(
        claim=claim,
        messages=_messages(row, claim.test, settings),
        fresh={member: results[member] for member in row["fresh"] or ()},
        settings=settings,
        now=row["now"],
        traceparents=row["traceparents"] or [],
    )


def _messages(row: Any, test: bool, settings: RenderSettings) -> list[Outbound]:
    if test:
        columns = (row["ids"] or (), row["addresses"] or (), row["templates"] or (), row["params"] or ())
        return [compose(*values, settings.public_url) for values in zip(*columns, strict=True)]
    names = ("ids", "addresses", "templates", "subjects", "bodies", "params")
    return [
        Outbound(delivery_id=id, address=address, template=template, subject=subject, body=body, params=params)
        for id, address, template, subject, body, params in zip(*(row[name] or () for name in names), strict=True)
    ]
