"""What was asked for, from where, and what became of it."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from litestar import get
from litestar.params import FromPath, QueryParameter
from msgspec import Struct
from nurture_chassis.database import Rows

from nurture_gateway import triggers
from nurture_gateway.answers import report
from nurture_gateway.api.access import TheRoom
from nurture_gateway.api.described import CursorText, Limit, made, problems
from nurture_gateway.cursors import NEWEST, Cursor
from nurture_gateway.paging import page, start_of
from nurture_gateway.problems import Problem


class Refusal(Struct):
    """Somebody who was not started, and why."""

    user: str
    reason: str


class CommandShown(Struct, kw_only=True):
    """A command: accepted, settled or expired. The counts belong to triggers and grow while they run.

    Of those refused, `running` are in the sequence already. `refused` names up to 1,000, these last.
    """

    id: UUID
    kind: str
    state: str
    status: int | None
    created_at: datetime
    settled_at: datetime | None
    expires_at: datetime
    trace_id: str | None = None
    started: int = 0
    running: int = 0
    refused_count: int = 0
    refused_by_reason: dict[str, int] = {}
    refused: list[Refusal] = []
    result: dict[str, Any] | None = None


class CommandListed(Struct, kw_only=True):
    """A command, or a message that was asked for in SQL: `kind` is then `message`, and its id the delivery's.

    `people` is how many it names. `outcome` is a word: `waiting`, `started`, `nobody` of many could be, `refused`, `done`,
    `planned`, `cancelled` or `expired`.
    """

    id: UUID
    kind: str
    sequence_type: str | None
    source: str
    people: int | None
    state: str
    status: int | None
    outcome: str
    started: int | None
    reason: str | None
    created_at: datetime
    settled_at: datetime | None
    trace_id: str | None


class CommandPage(Struct):
    """A page of commands, newest first."""

    items: list[CommandListed]
    next: str | None


Kind = Literal[
    "trigger", "cancel", "publish", "lint", "pause", "resume", "process", "resend", "retry", "archive", "simulate", "message"
]  # fmt: skip
Source = Literal["rest", "cli", "client", "dashboard", "sql", "canary"]


@get(
    "/commands",
    tags=["Sequences in motion"],
    summary="List commands",
    description="What was asked for, from where, for how many people, and how it ended; with messages that were asked for "
    "in SQL. Those of the canary are listed with `source=canary` only.",
    responses={200: made(CommandPage, "A page"), **problems()},
)
async def list_commands(
    room: TheRoom,
    cursor: CursorText = None,
    limit: Limit = 50,
    kind: Annotated[Kind | None, QueryParameter(name="kind", required=False)] = None,
    source: Annotated[Source | None, QueryParameter(name="source", required=False)] = None,
    sequence_type: Annotated[str | None, QueryParameter(name="sequence_type", required=False, max_length=100)] = None,
) -> dict[str, Any]:
    """Commands, newest first."""
    return await listed(room.database, cursor, limit, kind, source, sequence_type)


async def listed(
    rows: Rows,
    cursor: str | None = None,
    limit: int = 50,
    kind: str | None = None,
    source: str | None = None,
    sequence_type: str | None = None,
) -> dict[str, Any]:
    """A page of `CommandListed` and the next one's cursor. Raises Problem."""
    found = await rows.fetch("list_commands", start_of(cursor).id, limit + 1, kind, sequence_type, source)
    shown = page(found, limit, lambda row: Cursor(NEWEST.at, row["id"]))
    return {**shown, "items": [_listed(row) for row in shown["items"]]}


def _listed(row: Any) -> dict[str, Any]:
    item = dict(row.items())
    single = item.pop("single")
    if item["kind"] == "message" or item["state"] == "expired":
        outcome = item["state"]
    elif item["reason"] == "expired":
        outcome = "expired"
    elif item["kind"] == "trigger":
        outcome = triggers.outcome(item["status"], bool(single), {"started": item["started"]})
    else:
        outcome = "waiting" if item["status"] is None else "refused" if item["status"] >= 400 else "done"
    if single and outcome == "started":
        item["started"] = 1
    item["outcome"] = outcome
    return {name: item[name] for name in CommandListed.__struct_fields__}


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
