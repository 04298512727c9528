"""Single messages that were asked for in SQL: each becomes an enrolment of its own with one delivery, a page a transaction."""

from collections import Counter
from datetime import datetime
from typing import Any

import structlog
from nurture_chassis.clock import Clock
from nurture_chassis.outbox import Outbox, Saying

from nurture_controller import one_message
from nurture_controller.advancing import Page, tell
from nurture_controller.config import Config
from nurture_controller.desks import Desks
from nurture_controller.library import Library
from nurture_controller.placing import Placed, place
from nurture_controller.planning import DueEnrolment
from nurture_controller.store import columns, people, save_deliveries

log = structlog.get_logger()


class Requests:
    """A tick of the controller's. Nothing is said on the bus when somebody asks: the row waits here."""

    def __init__(self, outbox: Outbox, library: Library, clock: Clock, config: Config, desks: Desks) -> None:
        self._outbox = outbox
        self._library = library
        self._clock = clock
        self._config = config
        self._desks = desks

    async def tick(self) -> bool | float:
        """Plan one page. True when the page was full; else the real seconds until the next is due."""
        next_at = await self._outbox.database.fetchval("requests_next_due")
        if next_at is None:
            return 60.0
        wait = self._clock.real_delay(next_at - self._clock.now())
        if wait > 0:
            return max(0.02, wait)
        async with self._outbox.transaction() as tx:
            page = await self.page(tx, self._clock.now())
        tell(page, "sql")
        return True if page.claimed == self._config.plan_batch else 0.05

    async def page(self, tx: Saying, now: datetime) -> Page:
        """Plan up to a page of those that are due; others skip them until this transaction ends."""
        rows = await tx.fetch("requests_claim_due", now, self._config.plan_batch)
        if not rows:
            return Page(0, [], {})
        known = await people(tx, [row["user_id"] for row in rows], now)
        desk = await self._desks.desk(tx)
        placed: list[Placed] = []
        looked: list[tuple[Any, ...]] = []
        for row in rows:
            one = known.get(row["user_id"])
            next_at = one_message.due(row, one.person if one else None)
            if next_at > now:
                looked.append((row["id"], next_at))
                continue
            looked.append((row["id"], None))
            asked = DueEnrolment(
                id=row["id"], user_id=row["user_id"], step=row["step"], next_at=next_at, context=row["metadata"]
            )
            single = place(asked, one_message.published(row, row["title"]), one, now, desk, row["id"])
            assert single.delivery is not None
            single.delivery.decision["requested"] = one_message.asked(row)
            placed.append(single)
        types = {row["id"]: row["sequence_type"] for row in rows}
        contexts = {row["id"]: row["metadata"] for row in rows}
        await tx.execute("requests_looked_at", *columns(looked))
        if placed:
            await tx.execute(
                "requests_enrol",
                now,
                *columns(
                    (one.id, one.user_id, types[one.id], one.step, one.state, contexts[one.id], one.ended_reason)
                    for one in placed
                ),
            )
            await save_deliveries(tx, placed, types, now, self._config.page_size)
            log.info("requests.planned", requests=len(rows), deliveries=len(placed))
        return Page(len(rows), placed, Counter(types[one.id] for one in placed))
