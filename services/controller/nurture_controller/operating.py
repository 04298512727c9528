"""What operators ask for by hand: plan now, send once more, take failures out of the queue. Each is a command with one answer."""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import structlog
from nurture_chassis.clock import Clock
from nurture_chassis.database import Rows
from nurture_chassis.outbox import Outbox, Saying
from nurture_chassis.trace import traceparent
from nurture_contracts.commands import ArchiveDeliveries, ProcessDue, ResendDeliveries
from nurture_contracts.ids import uuid7

from nurture_controller.advancing import Planner, tell
from nurture_controller.commands import answered, settle
from nurture_controller.config import Config
from nurture_controller.requests import Requests
from nurture_controller.store import columns, wake

log = structlog.get_logger()
QUEUE_PAGE = 1000
"""Deliveries of a queue that one command sends once more; the answer says how many remain."""


class Obstacle(NamedTuple):
    """Why a delivery gets no new round: the HTTP status, what it is, and what to do. `{}` is the newer round, if any."""

    status: int
    detail: str
    hint: str


OBSTACLES = {
    "still_pending": Obstacle(409, "The delivery has not ended yet.", "Wait until it has."),
    "already_resent": Obstacle(409, "There is a newer round of it: {}.", "Resend that one."),
    "enrolment_cancelled": Obstacle(409, "Its enrolment was cancelled.", "Start the sequence again."),
    "may_have_arrived": Obstacle(
        409, "It arrived, or may have.", 'Repeat with "may_have_arrived": true if the person is to get it in any case.'
    ),
    "fell_back": Obstacle(
        409,
        "It was sent on the other channel instead.",
        'Repeat with "may_have_arrived": true if the person is to get it in any case.',
    ),
    "no_words": Obstacle(422, "It never had words: it was not planned to be sent.", "Start the sequence again."),
    "no_address": Obstacle(422, "The person has no address on this channel any more.", "Give the person an address."),
    "consent_refused": Obstacle(
        422, "The person wants no such messages on this channel.", "Only the person can change that."
    ),
    "address_unusable": Obstacle(
        422, "The address bounced, complained, is suppressed, or has blocked us.", "Give the person another address."
    ),
}
"""Everything that can be in the way of a new round, by the name that the statement `resend_facts` gives it."""


class Operations:
    """Hears ProcessDue, ResendDeliveries and ArchiveDeliveries."""

    def __init__(self, outbox: Outbox, clock: Clock, config: Config, planner: Planner, requests: Requests) -> None:
        self._outbox = outbox
        self._clock = clock
        self._config = config
        self._planner = planner
        self._requests = requests

    async def process(self, command: ProcessDue) -> None:
        """Plan a page of due steps and a page of single messages. What another transaction has claimed is its own."""
        async with self._outbox.transaction() as tx:
            if await answered(tx, command.command_id, command.at):
                return
            now = self._clock.now()
            pages = (await self._planner.page(tx, now), await self._requests.page(tx, now))
            made = [one.delivery for page in pages for one in page.placed if one.delivery is not None]
            sent = sum(one.to_send for one in made)
            failed = sum(one.failed_at is not None for one in made)
            result = {"planned": len(made), "sent": sent, "skipped": len(made) - sent - failed, "failed": failed}
            await settle(tx, command.command_id, command.at, 200, result)
        tell(pages[0], "schedule")
        tell(pages[1], "sql")

    async def resend(self, command: ResendDeliveries) -> None:
        """New rounds: of one delivery, or of what a channel's queue certainly did not send."""
        async with self._outbox.transaction() as tx:
            if await answered(tx, command.command_id, command.at):
                return
            if command.delivery_id is not None:
                status, result = await self._one(tx, command, command.delivery_id)
            else:
                status, result = 200, await self._queue(tx, command)
            await settle(tx, command.command_id, command.at, status, result)

    async def archive(self, command: ArchiveDeliveries) -> None:
        """Failures leave the queue. They stay where they are, and count as before."""
        async with self._outbox.transaction() as tx:
            if await answered(tx, command.command_id, command.at):
                return
            archived = await tx.execute("archive_failed", command.channel, command.command_id, command.at)
            await settle(tx, command.command_id, command.at, 200, {"archived": archived})

    async def _one(self, tx: Saying, command: ResendDeliveries, id: UUID) -> tuple[int, dict[str, Any]]:
        rows = await _locked(tx, [id])
        if not rows:
            return 404, {
                "code": "not_found",
                "detail": f"There is no delivery {id}.",
                "hint": "GET /admin/api/deliveries lists them.",
            }
        (row,) = rows
        code = row["forbidden"] or (None if command.may_have_arrived else row["doubt"])
        if code is not None:
            obstacle = OBSTACLES[code]
            detail = obstacle.detail.format(row["newer"])
            return obstacle.status, {"code": code, "detail": detail, "hint": obstacle.hint}
        (made,) = await self._again(tx, rows, command.command_id)
        return 201, {
            "delivery_id": made["id"],
            "resend_of": id,
            "round": made["round"],
            "channel": made["channel"],
            "sequence_type": made["sequence_type"],
        }

    async def _queue(self, tx: Saying, command: ResendDeliveries) -> dict[str, Any]:
        page = await tx.fetch("resend_page", command.channel, QUEUE_PAGE)
        rows = await _locked(tx, [row["id"] for row in page]) if page else []
        # Another operator may have been here between our look and our lock.
        rows = [row for row in rows if row["in_queue"] and row["forbidden"] is None and row["doubt"] is None]
        made = await self._again(tx, rows, command.command_id) if rows else []
        left = {row["reason"]: row["deliveries"] for row in await tx.fetch("resend_obstacles", command.channel)}
        remaining = left.pop(None, 0)
        return {"retried": len(made), "remaining": remaining, "refused_by_reason": left}

    async def _again(self, tx: Saying, rows: list[Any], command_id: UUID) -> list[Any]:
        now = self._clock.now()
        asked = [(row["id"], uuid7(), row["address"], _decision(row, command_id, now)) for row in rows]
        made = await tx.fetch("rounds_plan", now, *columns(asked), traceparent())
        wake(tx, ((row["channel"], row["sequence_type"], row["id"]) for row in made), self._config.page_size)
        log.info("deliveries.resent", deliveries=len(made))
        return made


async def _locked(tx: Rows, ids: list[UUID]) -> list[Any]:
    """The deliveries as they are once nobody else changes them."""
    await tx.fetch("deliveries_lock", ids)
    return list(await tx.fetch("resend_of", ids))


def _decision(row: Any, command_id: UUID, now: datetime) -> dict[str, Any]:
    """The decision record of a new round: who decided is the operator."""
    text = f"An operator asked for it once more; the round before, {row['id']}, ended as {row['status']}."
    return {
        "decision": "send",
        "channel": row["channel"],
        "reasons": [{"code": "operator", "text": text}],
        "inputs": {
            "step": row["step"],
            "now": now,
            "command_id": command_id,
            "contact": {"state": row["state"], "consent": row["consent"]},
        },
        "resend_of": row["id"],
    }
