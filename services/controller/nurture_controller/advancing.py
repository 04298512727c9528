"""Due steps: claim a page of enrolments, decide each, write the deliveries, move the enrolments; one transaction."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import structlog
from nurture_chassis.clock import Clock
from nurture_chassis.outbox import Outbox, Saying
from nurture_chassis.triggers import note
from nurture_contracts.ids import uuid7

from nurture_controller.config import Config
from nurture_controller.desks import Desks
from nurture_controller.library import Library
from nurture_controller.placing import Placed, place
from nurture_controller.planning import DueEnrolment
from nurture_controller.store import people, save_deliveries

log = structlog.get_logger()
PUT_OFF_SECONDS = 2.0
"""Real seconds that a step waits when the one before it is still on its way."""


class Page(NamedTuple):
    """How many were claimed, and what was decided about those that are not held."""

    claimed: int
    placed: list[Placed]
    planned: Mapping[str, int]
    """Messages by sequence type."""


class Planner:
    """The controller's tick."""

    def __init__(
        self,
        outbox: Outbox,
        library: Library,
        clock: Clock,
        config: Config,
        desks: Desks,
    ) -> None:
        self._outbox = outbox
        self._library = library
        self._clock = clock
        self._config = config
        self._desks = desks

    async def tick(self) -> bool | float:
        """Plan one page. True when the page was full; else the real seconds until the next step is due."""
        async with self._outbox.transaction() as tx:
            page = await self.page(tx, self._clock.now())
        tell(page, "schedule")
        if page.claimed:
            return True if page.claimed == self._config.plan_batch else 0.01
        next_at = await self._outbox.database.fetchval("enrolments_next_due")
        return 60.0 if next_at is None else max(0.02, self._clock.real_delay(next_at - self._clock.now()))

    async def page(self, tx: Saying, now: datetime) -> Page:
        """Claim, decide and write up to a page of what is due; others skip what is claimed until this transaction ends."""
        claimed = await tx.fetch("enrolments_claim_due", now, self._config.plan_batch)
        if late := [row for row in claimed if row["held"]]:
            types = sorted({row["sequence_type"] for row in late})
            await tx.execute("enrolments_hold_late", [row["id"] for row in late], types)
        rows = [row for row in claimed if not row["held"]]
        placed: list[Placed] = []
        planned: Counter[str] = Counter()
        if rows:
            published = await self._library.versions(tx, {row["sequence_id"] for row in rows})
            known = await people(tx, [row["user_id"] for row in rows if row["last_status"] != "pending"], now)
            desk = await self._desks.desk(tx)
            put_off = now + timedelta(seconds=PUT_OFF_SECONDS * self._clock.speed)
            for row in rows:
                if row["last_status"] == "pending":
                    # Order of steps: nothing is planned past a delivery that has not ended.
                    placed.append(Placed(row["id"], row["user_id"], row["step"], put_off, "active", None, None, None))
                    continue
                version = published[row["sequence_id"]]
                due = DueEnrolment(
                    id=row["id"],
                    user_id=row["user_id"],
                    step=row["step"],
                    next_at=row["next_at"],
                    version=version.version,
                    override_channel=row["override_channel"],
                    context=row["context"],
                )
                placed.append(place(due, version, known.get(row["user_id"]), now, desk, uuid7()))
            types = {row["id"]: row["sequence_type"] for row in rows}
            traces = {row["id"]: row["traceparent"] for row in rows}
            await save_deliveries(tx, placed, types, now, self._config.page_size, traces)
            planned.update(types[one.id] for one in placed if one.delivery is not None)
            put_off_from = {row["id"]: row["next_at"] for row in rows if row["last_status"] == "pending"}
            columns = zip(*((*_advance_row(one), put_off_from.get(one.id)) for one in placed), strict=True)
            await tx.execute("enrolments_advance", *(list(column) for column in columns))
        if claimed:
            log.info("planning.page", enrolments=len(rows), deliveries=sum(one.delivery is not None for one in placed))
        return Page(len(claimed), placed, planned)


def tell(page: Page, source: str) -> None:
    """What a committed page has set going."""
    for sequence_type, messages in page.planned.items():
        note(sequence_type, source, messages, "planned")


def _advance_row(one: Placed) -> tuple[Any, ...]:
    return (
        one.id,
        one.step,
        one.next_at,
        one.state,
        one.delivery.id if one.delivery else None,
        one.ended_at,
        one.ended_reason,
    )
