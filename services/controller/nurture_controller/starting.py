"""Starts: one person at once and in full, many people as a job that a cursor works off, a page a transaction."""

from collections import Counter
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import structlog
from nurture_chassis.clock import Clock
from nurture_chassis.outbox import Outbox, Saying
from nurture_chassis.trace import follow, traceparent
from nurture_contracts.base import Channel
from nurture_contracts.canary import SEQUENCE
from nurture_contracts.commands import StartSequences
from nurture_contracts.ids import uuid7

from nurture_controller import canary
from nurture_controller.commands import answered, expired, settle
from nurture_controller.config import Config
from nurture_controller.desks import Desks
from nurture_controller.library import Library
from nurture_controller.placing import Desk, Known, Placed, place
from nurture_controller.planning import DueEnrolment, Refusal, Send, first_refusal, next_due, plan
from nurture_controller.sequence import Published
from nurture_controller.store import people, save_deliveries

log = structlog.get_logger()
REFUSED_LISTED = 1000
"""How many refusals a job's answer names one by one; all are counted by reason."""
RUNNING: Final = "already_running"

HINTS = {
    "unknown_person": "Create them first with POST /admin/api/users.",
    RUNNING: "Wait until it ends, or cancel it with POST /admin/api/nurture/cancel.",
    "no_reachable_channel": "Give the person an address, or mend theirs; `nurture email suppressed` lists closed ones.",
}


class Begun(NamedTuple):
    """What became of a page of people who should start. `waits`: their sequence, or everything, is held."""

    started: list[Placed]
    running: dict[UUID, UUID]
    refused: dict[UUID, Refusal]
    waits: bool = False


class Starter:
    """Hears StartSequences and works off start jobs."""

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
        self.wake_jobs = lambda: None

    async def start(self, command: StartSequences) -> None:
        """Evaluate a start once; a redelivery is answered from the first time's result."""
        async with self._outbox.transaction() as tx:
            if await answered(tx, command.command_id, command.at):
                return
            if await tx.fetchval("start_cancelled", command.command_id):
                await settle(
                    tx,
                    command.command_id,
                    command.at,
                    409,
                    _problem("cancelled", "It was cancelled before it began.", "Trigger it again if it should run."),
                )
                return
            published = (
                canary.PUBLISHED
                if command.sequence_type == SEQUENCE and canary.is_for_it(command)
                else await self._library.latest(tx, command.sequence_type)
            )
            if published is None:
                result = await self._library.unknown(tx, command.sequence_type)
                await settle(tx, command.command_id, command.at, 422, result)
                return
            if command.single:
                await self._start_one(tx, command, published)
                return
            await tx.execute(
                "job_open", command.command_id, published.id, command.sequence_type,
                None if command.segment else command.user_ids, command.context, command.override_channel, command.at,
                traceparent(),
            )  # fmt: skip
        self.wake_jobs()

    async def _start_one(self, tx: Saying, command: StartSequences, published: Published) -> None:
        user_id = command.user_ids[0]
        begun = await self.begin(
            tx, command.command_id, published, [user_id], command.context, command.override_channel, self._clock.now()
        )
        refusal = begun.refused.get(user_id)
        if refusal is not None:
            result = _problem(refusal.code, refusal.detail, HINTS.get(refusal.code, ""))
            if user_id in begun.running:
                result["enrolment_id"] = begun.running[user_id]
            await settle(tx, command.command_id, command.at, refusal.status, {**result, "user_id": user_id})
            return
        (placed,) = begun.started
        log.info("sequence.started", people="one", sequence_type=command.sequence_type, enrolment_id=str(placed.id))
        first = await self._first_step(tx, command, published, placed)
        result = {
            "enrolment_id": placed.id,
            "user_id": user_id,
            "sequence_type": command.sequence_type,
            "version": published.version,
            **({"paused": True} if begun.waits else {}),
        }
        await settle(tx, command.command_id, command.at, 201, {**result, **first})

    async def _first_step(
        self, tx: Saying, command: StartSequences, published: Published, placed: Placed
    ) -> dict[str, Any]:
        if placed.delivery is not None:
            return {
                "step": 1, "channel": placed.delivery.channel, "scheduled_at": placed.delivery.scheduled_at,
                "delivery_id": placed.delivery.id,
            }  # fmt: skip
        # Not due yet: what would be decided if it were due with today's facts.
        assert placed.next_at is not None
        due = DueEnrolment(
            id=placed.id,
            user_id=placed.user_id,
            step=1,
            next_at=placed.next_at,
            override_channel=command.override_channel,
        )
        known = (await people(tx, [placed.user_id], placed.next_at))[placed.user_id]
        desk = await self._desks.desk(tx)
        decision = plan(due, published.sequence, known.person, known.contacts, placed.next_at, desk.available)
        return {
            "step": 1,
            "channel": decision.channel if isinstance(decision, Send) else None,
            "scheduled_at": placed.next_at,
        }

    async def begin(
        self,
        tx: Saying,
        command_id: UUID,
        published: Published,
        user_ids: list[UUID],
        context: dict[str, Any],
        override: Channel | None,
        now: datetime,
    ) -> Begun:
        """Enrol a page of people and plan what is due now, in this transaction. Six statements, however many people."""
        sequence = published.sequence
        known = await people(tx, user_ids, now)
        desk = await self._desks.desk(tx)
        held = await tx.fetchrow("start_held", sequence.type)
        assert held is not None
        waits = held["type"] or held["everything"]
        running = {
            row["user_id"]: row["id"] for row in await tx.fetch("enrolments_running_of", sequence.type, user_ids)
        }
        placed: list[Placed] = []
        refused: dict[UUID, Refusal] = {}
        for user_id in user_ids:
            one = known.get(user_id)
            refusal = first_refusal(
                sequence=sequence,
                person=one.person if one else None,
                contacts=one.contacts if one else {},
                running=running.get(user_id),
                override_channel=override,
                available_channels=desk.available,
            )
            if refusal is not None:
                refused[user_id] = refusal
            elif one is not None:
                placed.append(self._first(user_id, one, published, context, override, now, desk, waits))
        if placed:
            inserted = await tx.fetch(
                "enrolments_start", command_id, published.id, sequence.type, context, override, now,
                *(list(column) for column in zip(*(_enrolment_row(one) for one in placed), strict=True)), held["type"],
                traceparent(),
            )  # fmt: skip
            won = {row["id"] for row in inserted}
            lost = {one.user_id for one in placed if one.id not in won}
            if lost:
                # Somebody else started them between our question and our insert.
                placed = [one for one in placed if one.id in won]
                running.update(
                    {
                        row["user_id"]: row["id"]
                        for row in await tx.fetch("enrolments_running_of", sequence.type, list(lost))
                    }
                )
                for user_id in lost:
                    refused[user_id] = Refusal(code=RUNNING, detail="It was started a moment ago.", status=409)
            await save_deliveries(tx, placed, {one.id: sequence.type for one in placed}, now, self._config.page_size)
        return Begun(placed, running, refused, waits)

    def _first(
        self,
        user_id: UUID,
        one: Known,
        published: Published,
        context: dict[str, Any],
        override: Channel | None,
        now: datetime,
        desk: Desk,
        waits: bool,
    ) -> Placed:
        enrolment_id = uuid7()
        first_at = next_due(published.sequence, 0, now, one.person) or now
        if first_at > now or waits:
            return Placed(enrolment_id, user_id, 1, first_at, "active", None, None, None)
        due = DueEnrolment(
            id=enrolment_id, user_id=user_id, step=1, next_at=first_at, version=published.version, override_channel=override,
            context=context,
        )  # fmt: skip
        return place(due, published, one, now, desk, uuid7())

    async def work(self) -> bool:
        """One page of the oldest job. True when there may be more."""
        async with self._outbox.transaction() as tx:
            job = await tx.fetchrow("job_claim", self._config.plan_batch)
            if job is None:
                return False
            follow(job["traceparent"])
            published = (await self._library.versions(tx, {job["sequence_id"]}))[job["sequence_id"]]
            cancelled = await tx.fetchval("start_cancelled", job["command_id"])
            late = not cancelled and expired(job["command_id"])
            page = [] if cancelled or late else list(job["page"])
            begun = await self.begin(
                tx, job["command_id"], published, page, job["context"], job["override_channel"], self._clock.now()
            )
            running = sum(1 for refusal in begun.refused.values() if refusal.code == RUNNING)
            why = Counter(job["refused_by_reason"]) + Counter(r.code for r in begun.refused.values())
            named = [{"user": user, "reason": r.code} for user, r in begun.refused.items()]
            if late:
                why["expired"] += job["people"] - job["cursor"]
                named = [{"user": user, "reason": "expired"} for user in job["page"]]
            # Where not all can be named, those are who will not come by themselves.
            refused = sorted(job["refused"] + named, key=lambda one: one["reason"] == RUNNING)[:REFUSED_LISTED]
            started, running = job["started"] + len(begun.started), job["running"] + running
            cursor = job["people"] if late else job["cursor"] + len(page)
            done = cancelled or cursor >= job["people"]
            await tx.execute("job_advance", job["command_id"], cursor, started, running, dict(why), refused, done)
            if done:
                result = {"started": started, "running": running, "refused": refused, "refused_by_reason": dict(why)}
                await settle(tx, job["command_id"], self._clock.now(), 200, result)
                log.info(
                    "sequence.started",
                    people="many",
                    sequence_type=job["sequence_type"],
                    started=started,
                    refused=dict(why),
                )
        return True


def _enrolment_row(one: Placed) -> tuple[Any, ...]:
    delivery_id = one.delivery.id if one.delivery else None
    return one.id, one.user_id, one.step, one.next_at, one.state, delivery_id, one.ended_at, one.ended_reason


def _problem(code: str, detail: str, hint: str) -> dict[str, Any]:
    return {"code": code, "detail": detail, "hint": hint}
