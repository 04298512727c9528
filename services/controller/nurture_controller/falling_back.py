"""Failures and what follows them: each is judged once, in the transaction that learns of it."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from nurture_chassis.clock import Clock
from nurture_chassis.outbox import Saying
from nurture_contracts.ids import uuid7

from nurture_controller.config import Config
from nurture_controller.desks import Desks
from nurture_controller.fallback import Failed, plan_fallback
from nurture_controller.folding import Row
from nurture_controller.library import Library
from nurture_controller.measuring import FALLBACKS
from nurture_controller.placing import Placed, record, worded
from nurture_controller.planning import DueEnrolment, Send
from nurture_controller.store import people, save_deliveries

log = structlog.get_logger()
FAILING = frozenset({"failed", "suppressed", "bounced"})
"""Kinds of events after which a fallback is considered; what kind of end it was is said by the reason."""


class FallbackPlanner:
    """Set-based: six statements for a page of failures, none for a page without."""

    def __init__(self, library: Library, clock: Clock, config: Config, desks: Desks) -> None:
        self._library = library
        self._clock = clock
        self._config = config
        self._desks = desks

    async def follow(self, tx: Saying, rows: Iterable[Row]) -> None:
        """Judge the failures among rows of the log, new ones and those whose delivery is known only now, and send what must
        follow."""
        failing = [row for row in rows if row["kind"] in FAILING and row["delivery_id"]]
        why = {row["delivery_id"]: row["detail"].get("reason", row["kind"]) for row in failing}
        if not why:
            return
        failures = await tx.fetch("failures", sorted(why))
        if not failures:
            return
        now = self._clock.now()
        desk = await self._desks.desk(tx)
        published = await self._library.versions(tx, {row["sequence_id"] for row in failures})
        known = await people(tx, [row["user_id"] for row in failures], now)
        placed: list[Placed] = []
        verdicts: list[tuple[UUID, UUID | None, datetime, dict[str, Any]]] = []
        for row in failures:
            version, one = published[row["sequence_id"]], known.get(row["user_id"])
            due = DueEnrolment(
                id=row["enrolment_id"],
                user_id=row["user_id"],
                step=row["step"],
                next_at=row["scheduled_at"],
                version=version.version,
                override_channel=row["override_channel"],
                context=row["context"],
            )
            failure = Failed(
                delivery_id=row["id"],
                channel=row["channel"],
                why=why[row["id"]],
                scheduled_at=row["scheduled_at"],
                evidence=row["evidence"],
                is_fallback=row["is_fallback"],
                current=row["current"],
                running=row["running"],
            )
            person, contacts = one or (None, {})
            decision = plan_fallback(failure, due, version.sequence, person, contacts, now, desk.available)
            if isinstance(decision, Send):
                delivery = worded(decision, due, version, one, now, desk, uuid7(), fallback_of=row["id"])
                tx.count(FALLBACKS.labels(delivery.channel))
                placed.append(Placed(due.id, due.user_id, due.step, None, "active", None, None, delivery))
                verdicts.append((row["id"], delivery.id, now, record(decision)))
            else:
                verdicts.append((row["id"], None, now, record(decision)))
        await tx.execute("fallbacks_note", *(list(column) for column in zip(*verdicts, strict=True)))
        if placed:
            types = {row["enrolment_id"]: row["sequence_type"] for row in failures}
            traces = {row["enrolment_id"]: row["traceparent"] for row in failures}
            await save_deliveries(tx, placed, types, now, self._config.page_size, traces)
            follow = [(one.id, one.delivery.id) for one in placed if one.delivery and one.delivery.to_send]
            await tx.execute("enrolments_follow", [id for id, _ in follow], [delivery for _, delivery in follow])
            log.info("fallback.planned", failures=len(failures), fallbacks=len(follow))
