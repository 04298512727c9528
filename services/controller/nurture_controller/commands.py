"""Commands other than starts: each is answered once, in the transaction of its effect."""

from typing import Any
from uuid import UUID

import structlog
from nurture_chassis.outbox import Outbox, Saying
from nurture_contracts.base import Instant
from nurture_contracts.commands import CancelEnrolments, PauseSequence, PublishSequence
from nurture_contracts.events import CommandSettled
from nurture_contracts.life import BEGUN_WITHIN, COMMAND_LIFE, made_ago

from nurture_controller.library import Library

EVERYTHING = "*"
RESTORED_MEANS = (
    "What was sent between the backup and now is not known here and would be sent again, unless it is later than its "
    "max_lateness allows."
)
RESTORED_HINT = (
    "Compare with the provider's log and cancel what must not go out again. If this database is the one to go on with, and "
    'no other copy of it sends, resume with "confirm_restored": true (nurture resume --confirm-restored).'
)

EXPIRED = {
    "code": "expired",
    "detail": f"It waited longer than {COMMAND_LIFE.days} days for somebody to execute it, and was not executed.",
    "hint": "Ask again, with a new Idempotency-Key, if it is still wanted.",
}
log = structlog.get_logger()


def expired(command_id: UUID) -> bool:
    """Whether a command is too old to be taken up. Ids of commands tell the real time, whatever business time is."""
    age = made_ago(command_id)
    return age is not None and age > BEGUN_WITHIN


async def answered(tx: Saying, command_id: UUID, at: Instant) -> bool:
    """True when nothing is to be done: the command was executed before, and its answer is said again in case it was lost; or
    it comes so late that it is refused here."""
    await tx.fetchval("command_lock", command_id)
    before = await tx.fetchrow("command_result", command_id)
    if before is None:
        if not expired(command_id):
            return False
        # A job that was begun in time ends, and answers, where its pages are worked off.
        if not await tx.execute("job_wait", command_id):
            await settle(tx, command_id, at, 422, EXPIRED)
            log.warning("command.expired", command_id=str(command_id))
        return True
    tx.say(CommandSettled(command_id=command_id, at=at, status=before["status"], result=before["result"]))
    return True


async def settle(tx: Saying, command_id: UUID, at: Instant, status: int, result: dict[str, Any]) -> None:
    """Write the answer beside the effect and say it. `status` is the HTTP status that the caller gets."""
    await tx.execute("command_settle", command_id, status, result, at)
    tx.say(CommandSettled(command_id=command_id, at=at, status=status, result=result))


class Commands:
    """Cancel, pause and publish."""

    def __init__(self, outbox: Outbox, library: Library) -> None:
        self._outbox = outbox
        self._library = library

    async def cancel(self, command: CancelEnrolments) -> None:
        """End running enrolments. A cancel by start command also forestalls a start that has not come yet; of one whose
        last message waits, that message is cancelled."""
        async with self._outbox.transaction() as tx:
            if await answered(tx, command.command_id, command.at):
                return
            if command.start_command_id is not None:
                await tx.fetchval("command_lock", command.start_command_id)
                await tx.execute("job_wait", command.start_command_id)
                await tx.execute("start_forestall", command.start_command_id, command.at)
            ended = await tx.fetch(
                "enrolments_cancel",
                command.at,
                command.enrolment_id,
                command.start_command_id,
                command.user_id,
                command.sequence_type,
            )
            if command.waiting:
                await tx.execute("jobs_cancel", command.at)
                ended += await tx.fetch("enrolments_cancel_waiting", command.at)
                ended += await tx.fetch("requests_cancel_waiting", command.at)
            if command.user_id is not None:
                ended += await tx.fetch("requests_cancel", command.at, command.user_id, command.sequence_type)
            await settle(tx, command.command_id, command.at, 200, {"cancelled": len(ended)})

    async def pause(self, command: PauseSequence) -> None:
        """Hold or release a type, or with `*` everything: who is in it, and who is started meanwhile."""
        async with self._outbox.transaction() as tx:
            if await answered(tx, command.command_id, command.at):
                return
            status, result = await self._hold(tx, command) if command.paused else await self._release(tx, command)
            await settle(tx, command.command_id, command.at, status, result)

    async def _hold(self, tx: Saying, command: PauseSequence) -> tuple[int, dict[str, Any]]:
        if unknown := await self._unknown(tx, command.sequence_type):
            return 404, unknown
        await tx.execute("hold", command.sequence_type, command.at)
        return 200, await self._moved(tx, command)

    async def _release(self, tx: Saying, command: PauseSequence) -> tuple[int, dict[str, Any]]:
        if unknown := await self._unknown(tx, command.sequence_type):
            return 404, unknown
        if command.confirm_restored:
            await tx.execute("installation_confirm")
        holds = await tx.fetch("holds_of", command.sequence_type)
        restored = next((hold for hold in holds if hold["reason"] == "restored"), None)
        if restored is not None:
            detail, hint = f"Everything is held: {restored['detail']}. {RESTORED_MEANS}", RESTORED_HINT
            return 409, {"code": "database_restored", "detail": detail, "hint": hint}
        await tx.execute("release", command.sequence_type)
        return 200, await self._moved(tx, command)

    async def _unknown(self, tx: Saying, sequence_type: str) -> dict[str, Any] | None:
        if sequence_type in (EVERYTHING, *await self._library.types(tx)):
            return None
        return await self._library.unknown(tx, sequence_type)

    async def _moved(self, tx: Saying, command: PauseSequence) -> dict[str, Any]:
        """The answer: whom it concerned, and what still holds them. Everything is held by one row, a type by its people."""
        if command.sequence_type == EVERYTHING:
            people = await tx.fetchval("enrolments_running")
        else:
            people = await tx.execute("enrolments_hold", command.sequence_type, command.paused)
        holds = [
            # In the order in which jsonb keeps them, so that a repeated answer is the same to the byte.
            {name: hold[name] for name in ("at", "reason", "sequence_type")}
            for hold in await tx.fetch("holds_of", command.sequence_type)
        ]
        return {"type": command.sequence_type, "paused": command.paused, "enrolments": people, "holds": holds}

    async def publish(self, command: PublishSequence) -> None:
        """Check a sequence; publish it unless it has errors or this is a dry run."""
        async with self._outbox.transaction() as tx:
            if await answered(tx, command.command_id, command.at):
                return
            status, result = await self._library.publish(tx, command.toml, command.at, dry_run=command.dry_run)
            await settle(tx, command.command_id, command.at, status, result)
