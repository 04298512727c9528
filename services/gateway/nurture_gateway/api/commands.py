"""What became of a command."""

from datetime import datetime
from typing import Any
from uuid import UUID

from litestar import get
from litestar.params import FromPath
from msgspec import Struct

from nurture_gateway.answers import report
from nurture_gateway.api.access import TheRoom
from nurture_gateway.api.described import made, problems
from nurture_gateway.problems import Problem


class Refusal(Struct):
    """Somebody who was not started, and why."""

    user: str
    reason: str


class CommandShown(Struct, kw_only=True):
    """A command: accepted, settled or expired. The counts belong to triggers and grow while they run."""

    id: UUID
    kind: str
    state: str
    status: int | None
    created_at: datetime
    settled_at: datetime | None
    expires_at: datetime
    started: int = 0
    running: int = 0
    refused_count: int = 0
    refused_by_reason: dict[str, int] = {}
    refused: list[Refusal] = []
    result: dict[str, Any] | None = None


@get(
    "/commands/{command_id:uuid}",
    tags=["Sequences in motion"],
    summary="Show a command",
    responses={200: made(CommandShown, "The command"), **problems(404)},
)
async def show_command(room: TheRoom, command_id: FromPath[UUID]) -> dict[str, Any]:
    """State, counts and refusals of a command."""
    row = await room.database.fetchrow("find_command", command_id)
    if row is None:
        raise Problem(
            "not_found", f"There is no command {command_id}.", hint="Commands are named by the 202 that accepted them."
        )
    shown = dict(row.items())
    if shown["result"] is None and shown["kind"] == "trigger" and not shown["request"].get("single"):
        progress = await room.database.fetchrow("command_progress", command_id)
        shown["result"] = dict(progress.items()) if progress else None
    return report(shown)
