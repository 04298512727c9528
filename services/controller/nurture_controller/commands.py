"""Commands other than starts: each is answered once, in the transaction of its effect."""

from typing import Any
from uuid import UUID

from nurture_chassis.outbox import Outbox, Saying
from nurture_contracts.base import Instant
from nurture_contracts.commands import CancelEnrolments, PauseSequence, PublishSequence
from nurture_contracts.events import CommandSettled

from nurture_controller.library import Library


async def answered(tx: Saying, command_id: UUID, at: Instant) -> bool:
    """True when this command was executed before; its answer is said again, in case it was lost."""
    await tx.fetchval("command_lock", command_id)
    before = await tx.fetchrow("command_result", command_id)
    if before is None:
        return False
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
        """End running enrolments. A cancel by start command also forestalls a start that has not come yet."""
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
            if command.user_id is not None:
                ended += await tx.fetch("requests_cancel", command.at, command.user_id, command.sequence_type)
            await settle(tx, command.command_id, command.at, 200, {"cancelled": len(ended)})

    async def pause(self, command: PauseSequence) -> None:
        """Hold or release a type: everybody in it, and everybody who starts meanwhile."""
        async with self._outbox.transaction() as tx:
            if await answered(tx, command.command_id, command.at):
                return
            types = await self._library.types(tx)
            if command.sequence_type not in types:
                detail, hint = f"There is no sequence {command.sequence_type!r}.", f"There are: {', '.join(types)}."
                result: dict[str, Any] = {"code": "unknown_sequence", "detail": detail, "hint": hint}
                await settle(tx, command.command_id, command.at, 404, result)
                return
            if command.paused:
                await tx.execute("type_hold", command.sequence_type, command.at)
            else:
                await tx.execute("type_release", command.sequence_type)
            held = await tx.execute("enrolments_hold", command.sequence_type, command.paused)
            result = {"type": command.sequence_type, "paused": command.paused, "enrolments": held}
            await settle(tx, command.command_id, command.at, 200, result)

    async def publish(self, command: PublishSequence) -> None:
        """Check a sequence; publish it unless it has errors or this is a dry run."""
        async with self._outbox.transaction() as tx:
            if await answered(tx, command.command_id, command.at):
                return
            status, result = await self._library.publish(tx, command.toml, command.at, dry_run=command.dry_run)
            await settle(tx, command.command_id, command.at, status, result)
