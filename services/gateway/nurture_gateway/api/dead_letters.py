"""Messages that could not be handled: what they were, why, and once more."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.params import FromPath, QueryParameter
from msgspec import Struct
from nurture_chassis.outbox import Saying
from nurture_contracts.commands import REPLAY

from nurture_gateway.api.access import TheRoom
from nurture_gateway.api.described import CursorText, IdempotencyKey, Limit, made, problems, refusals
from nurture_gateway.cursors import Cursor
from nurture_gateway.idempotency import Answer, answer, once
from nurture_gateway.paging import page, start_of
from nurture_gateway.problems import Problem


class DeadLetter(Struct):
    """A message, or one item of a page, that its consumer could not read or obey."""

    id: UUID
    room: str
    durable: str
    subject: str
    payload: str
    reason: str
    at: datetime
    replayed_at: datetime | None


class DeadLetterPage(Struct):
    """A page of dead letters, newest first."""

    items: list[DeadLetter]
    next: str | None


class Replayed(Struct):
    """The letter is on its way back to its handler."""

    id: UUID
    room: str


Service = Literal["gateway", "controller", "email", "telegram", "scoring"]


@get(
    "/dead-letters",
    tags=["Health"],
    summary="List dead letters",
    responses={200: made(DeadLetterPage, "A page"), **problems()},
)
async def list_dead_letters(
    room: TheRoom,
    cursor: CursorText = None,
    limit: Limit = 50,
    service: Annotated[Service | None, QueryParameter(name="service", required=False)] = None,
) -> dict[str, Any]:
    """Messages that no handler could take, of every service."""
    start = start_of(cursor)
    rows = await room.database.fetch("list_dead_letters", start.at, start.id, limit + 1, service)
    return page(rows, limit, lambda row: Cursor(row["at"], row["id"]))


@post(
    "/dead-letters/{letter_id:uuid}/replay",
    tags=["Health"],
    summary="Replay a dead letter",
    status_code=202,
    responses={202: made(Replayed, "On its way"), **refusals(404)},
)
async def replay_dead_letter(
    request: Request[Any, Any, Any], room: TheRoom, letter_id: FromPath[UUID], idempotency_key: IdempotencyKey = None
) -> Response[Any]:
    """Hand the letter to its handler again, which recognises what it did before: a replay never does it twice. A letter that is
    refused once more stays open, with the new reason."""

    async def effect(tx: Saying) -> Answer:
        service = await tx.fetchval("dead_letter_room", letter_id)
        if service is None:
            raise Problem("not_found", f"There is no dead letter {letter_id}.")
        tx.say(REPLAY[service](items=[letter_id]))
        return answer(202, {"id": letter_id, "room": service})

    return await once(request, room, effect)
