"""A command is a row before it is a message: written, said, waited for, answered from its row ever after."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, cast
from uuid import UUID

import structlog
from litestar import Request, Response
from nurture_chassis.outbox import Saying
from nurture_contracts.base import Message
from nurture_contracts.events import CommandSettled
from nurture_contracts.ids import uuid7

from nurture_gateway import triggers
from nurture_gateway.answers import ordered, pending, status_url
from nurture_gateway.idempotency import Answer, Key, answer, key_of, reserve
from nurture_gateway.problems import Problem
from nurture_gateway.room import Room
from nurture_gateway.shell import request_id

log = structlog.get_logger()
PATIENCE = 2.0
"""Seconds that a caller waits for the controller before a 202."""


class Draft(NamedTuple):
    """A command as a request asks for it. With `status` it is refused, or done, on the spot and nobody hears of it."""

    kind: str
    request: dict[str, Any]
    message: Message | None = None
    status: int | None = None
    result: dict[str, Any] | None = None
    refused_early: tuple[dict[str, str], ...] = ()


def refusal(kind: str, request: dict[str, Any], problem: Problem) -> Draft:
    """A command that is recorded together with its refusal, so that its key gives the same answer again."""
    return Draft(
        kind,
        request,
        status=problem.status,
        result={"code": problem.code, "detail": problem.detail, "hint": problem.hint, **problem.members},
    )


async def submit(
    request: Request[Any, Any, Any], room: Room, draft: Callable[[Saying, UUID], Awaitable[Draft]]
) -> Response[bytes]:
    """Store the command that `draft` makes, pass it on, and answer: its result if it settles in time, else 202.

    A repeated key finds the earlier command; `draft` is then not called."""
    key = await key_of(request)
    command_id = uuid7()
    with room.waiters.expect(command_id) as settled:
        async with room.outbox.transaction() as tx:
            earlier = await reserve(tx, key) if key else None
            made = await _add(tx, request, command_id, key, draft) if earlier is None else None
        if made is not None:
            if made.status is not None or not _waits(made.kind, made.request):
                return _answer(command_id, made.kind, made.request, made.status, made.result)
            return await _await(room, command_id, made.kind, made.request, settled)
    return earlier.response() if isinstance(earlier, Answer) else await _repeat(room, cast(UUID, earlier))


async def _add(
    tx: Saying,
    request: Request[Any, Any, Any],
    command_id: UUID,
    key: Key | None,
    draft: Callable[[Saying, UUID], Awaitable[Draft]],
) -> Draft:
    made = await draft(tx, command_id)
    # A repeated answer names the request that was really executed.
    made.request["request_id"] = request_id(request.scope)
    await triggers.add(
        tx,
        command_id,
        made.kind,
        made.request,
        source=triggers.source_of(request),
        early=list(made.refused_early),
        status=made.status,
        result=made.result,
    )
    log.info("command.stored", command_id=str(command_id), kind=made.kind, status=made.status)
    if key:
        await tx.execute("bind_key", key.scope, key.key, command_id)
    if made.message is not None:
        tx.say(made.message)
    return made


async def _repeat(room: Room, command_id: UUID) -> Response[bytes]:
    with room.waiters.expect(command_id) as settled:
        row = await _find(room, command_id)
        if row["status"] is not None or not _waits(row["kind"], row["request"]):
            return _answer(command_id, row["kind"], row["request"], row["status"], row["result"])
        return await _await(room, command_id, row["kind"], row["request"], settled)


async def _find(room: Room, command_id: UUID) -> Any:
    row = await room.database.fetchrow("find_command", command_id)
    if row is None:
        raise Problem("not_found", f"There is no command {command_id}.")
    return row


def _waits(kind: str, request: dict[str, Any]) -> bool:
    return kind != "trigger" or bool(request.get("single"))


async def _await(
    room: Room, command_id: UUID, kind: str, asked: dict[str, Any], settled: asyncio.Future[CommandSettled]
) -> Response[bytes]:
    try:
        async with asyncio.timeout(PATIENCE):
            event = await settled
        return _answer(command_id, kind, asked, event.status, event.result)
    except TimeoutError:
        # The event may have passed another replica only; its durable twin has then filled the row.
        row = await _find(room, command_id)
        return _answer(command_id, kind, asked, row["status"], row["result"])


def _answer(command_id: UUID, kind: str, asked: dict[str, Any], status: int | None, result: Any) -> Response[bytes]:
    if status is None or (kind == "trigger" and not asked.get("single")):
        return answer(202, pending(command_id), status_url(command_id)).response()
    if status < 400:
        return answer(status, {"command_id": command_id} | ordered(result), status_url(command_id)).response()
    problem = refused(status, result, {"command_id": command_id})
    return answer(status, problem.body(asked.get("request_id"))).response()


def refused(status: int, result: dict[str, Any], members: dict[str, Any]) -> Problem:
    """The controller's refusal as a problem; findings about a sequence are its errors."""
    known = {"code", "detail", "hint", "errors"}
    errors = result.get("errors") or [
        {"field": finding["where"], "reason": finding["problem"]}
        for finding in result.get("findings", [])
        if finding.get("severity") == "error"
    ]
    return Problem(
        result.get("code", "refused"),
        result.get("detail", "The controller refused this command."),
        status=status,
        hint=result.get("hint"),
        errors=errors,
        members=members | ordered({name: value for name, value in result.items() if name not in known}),
    )
