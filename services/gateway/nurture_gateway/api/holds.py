"""Pausing and resuming a sequence or everything, and what is held at the moment."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.openapi.spec import Example
from litestar.params import Body
from msgspec import Struct
from nurture_chassis.outbox import Saying
from nurture_contracts.commands import PauseSequence

from nurture_gateway.api.access import TheRoom
from nurture_gateway.api.described import IdempotencyKey, made, problems, refusals
from nurture_gateway.api.nurture import Accepted, Type
from nurture_gateway.commands import Draft, submit
from nurture_gateway.problems import field_errors
from nurture_gateway.room import Room

EVERYTHING = "*"


class Pause(Struct, forbid_unknown_fields=True, kw_only=True):
    """Without `sequence_type`: everything."""

    sequence_type: Type | None = None


class Resume(Struct, forbid_unknown_fields=True, kw_only=True):
    """Without `sequence_type`: everything. `confirm_restored`: this database is the one to go on with."""

    sequence_type: Type | None = None
    confirm_restored: bool = False


class Hold(Struct):
    """What is held: a sequence type, or `*` for everything. `reason` is `paused` or `restored`."""

    sequence_type: str
    reason: str
    at: datetime
    detail: str | None = None


class Held(Struct):
    """How many running enrolments it concerned, and the holds that are in force on them now."""

    command_id: UUID
    type: str
    paused: bool
    enrolments: int
    holds: list[Hold]


_ID = "0198b2f4-6c00-7000-8000-000000000001"
_HOLD = {"sequence_type": "*", "reason": "paused", "at": "2026-01-05T09:00:00Z"}
_PAUSED = {"command_id": _ID, "type": "*", "enrolments": 940, "holds": [_HOLD], "paused": True}
_RESUMED = {"command_id": _ID, "type": "*", "enrolments": 940, "holds": [], "paused": False}
_LATER = made(Accepted, "The controller is away; see the status URL")
PAUSED = {200: made(Held, "Done", _PAUSED), 202: _LATER, **refusals(404)}
RESUMED = {200: made(Held, "Done", _RESUMED), 202: _LATER, **refusals(404, 409)}
_PAUSE_EXAMPLES = [
    Example(summary="Everything", value={}),
    Example(summary="One sequence", value={"sequence_type": "onboarding"}),
]


async def hold(
    request: Request[Any, Any, Any], room: Room, type_name: str, *, paused: bool, confirm_restored: bool = False
) -> Response[Any]:
    """Hold or release a type, or with `*` everything; answered as every command is."""

    async def draft(_tx: Saying, command_id: UUID) -> Draft:
        message = PauseSequence(
            command_id=command_id,
            at=room.clock.now(),
            sequence_type=type_name,
            paused=paused,
            confirm_restored=confirm_restored,
        )
        return Draft("pause", {"sequence_type": type_name, "paused": paused}, message)

    return await submit(request, room, draft)


@post(
    "/nurture/pause",
    tags=["Sequences in motion"],
    summary="Pause a sequence, or everything",
    description="Within a second no message is claimed for sending any more; what is under way at a provider may still arrive. "
    "Nobody is lost: triggers are taken and wait. Test mails go out all the same.",
    status_code=200,
    responses=PAUSED,
)
async def pause(
    request: Request[Any, Any, Any],
    room: TheRoom,
    data: Annotated[Pause | None, Body(examples=_PAUSE_EXAMPLES)] = None,
    idempotency_key: IdempotencyKey = None,
) -> Response[Any]:
    """Hold a sequence, or everything."""
    return await hold(request, room, (data and data.sequence_type) or EVERYTHING, paused=True)


@post(
    "/nurture/resume",
    tags=["Sequences in motion"],
    summary="Resume a sequence, or everything",
    description="What came due meanwhile goes out at the usual pace, or expires where it is later than its `max_lateness`. A "
    "database that was copied or restored is held until `confirm_restored` says that it is the one to go on with: without "
    "it the answer is 409 and says what was seen. Pauses of single sequences stay.",
    status_code=200,
    responses=RESUMED,
)
async def resume(
    request: Request[Any, Any, Any],
    room: TheRoom,
    data: Annotated[
        Resume | None,
        Body(examples=[*_PAUSE_EXAMPLES, Example(summary="A restored database", value={"confirm_restored": True})]),
    ] = None,
    idempotency_key: IdempotencyKey = None,
) -> Response[Any]:
    """Let a sequence, or everything, go on."""
    data = data or Resume()
    if data.confirm_restored and data.sequence_type:
        raise field_errors([("confirm_restored", "is about the whole database: leave sequence_type out")])
    return await hold(
        request, room, data.sequence_type or EVERYTHING, paused=False, confirm_restored=data.confirm_restored
    )


@get(
    "/nurture/holds",
    tags=["Sequences in motion"],
    summary="What is held, and why",
    responses={200: made(list[Hold], "All holds; empty when nothing is held", [_HOLD]), **problems()},
)
async def list_holds(room: TheRoom) -> list[Hold]:
    """Everything that is held at this moment."""
    return await holds(room)


async def holds(room: Room) -> list[Hold]:
    """All holds, those of everything first."""
    return [Hold(**dict(row.items())) for row in await room.database.fetch("list_holds")]
