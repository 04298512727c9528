"""Commands as rows, with where each came from; and what is told of one that set messages going, once it is settled."""

from collections.abc import Mapping
from typing import Any, Literal
from uuid import UUID

from litestar import Request
from nurture_chassis.outbox import Saying
from nurture_chassis.trace import trace_id
from nurture_chassis.triggers import note
from nurture_contracts.life import COMMAND_LIFE

Source = Literal["rest", "cli", "client", "dashboard", "canary"]
TELLS: dict[str, Source] = {"nurture-cli/": "cli", "nurture-client/": "client"}
"""How our own programs begin their User-Agent."""


def source_of(request: Request[Any, Any, Any]) -> Source:
    """Where a request comes from: a form of the dashboard, a program of ours, or anybody's."""
    if request.scope["path"].startswith("/admin/dashboard"):
        return "dashboard"
    agent = request.headers.get("user-agent", "")
    for start, source in TELLS.items():
        if agent.startswith(start):
            return source
    return "rest"


async def add(
    tx: Saying,
    command_id: UUID,
    kind: str,
    asked: dict[str, Any],
    *,
    source: Source,
    early: list[dict[str, str]] | None = None,
    status: int | None = None,
    result: dict[str, Any] | None = None,
) -> None:
    """Write a command down. With `status` it is settled already."""
    people = 1 if asked.get("single") else asked.get("people")
    given = (command_id, kind, asked, early or [], status, result, source, people, trace_id(), COMMAND_LIFE)
    await tx.execute("add_command", *given)
    if status is not None and kind == "trigger":
        # Refused before anybody looked for the sequence.
        note(None, source, people, outcome(status, bool(asked.get("single")), result), trace_id=trace_id())


def settled(row: Mapping[str, Any], status: int, result: dict[str, Any]) -> None:
    """Tell of a command that the controller has answered just now; of one that sets nothing going, nothing."""
    if row["kind"] == "trigger":
        ended = outcome(status, bool(row["single"]), result)
        count = 1 if row["single"] else result.get("started", 0)
        note(row["sequence_type"], row["source"], count, ended, trace_id=row["trace_id"])


def outcome(status: int | None, single: bool, result: dict[str, Any] | None) -> str:
    """In a word: `started`, `nobody` of many could be, `refused`; `waiting` while it is not settled."""
    if status is None:
        return "waiting"
    if status >= 400:
        return "refused"
    return "started" if single or (result or {}).get("started") else "nobody"
