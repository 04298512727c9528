"""Why did this person get, or not get, a message? The decisions as they were recorded, with what is known today."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from litestar import get
from litestar.params import FromPath, QueryParameter
from msgspec import Struct

from nurture_gateway.api.access import TheRoom
from nurture_gateway.api.described import made, problems
from nurture_gateway.api.holds import Hold, holds
from nurture_gateway.api.nurture import person

REFUSALS = 20


class Told(Struct):
    """One delivery and its decision. `fallback` is the verdict after a failure, if there was one."""

    id: UUID
    sequence_type: str
    step: int
    channel: str
    status: str
    failure_reason: str | None
    variant: str | None
    tier: str | None
    scheduled_at: datetime
    decided: str | None
    reasons: list[dict[str, Any]]
    inputs: dict[str, Any]
    fallback: dict[str, Any] | None


class Refused(Struct):
    """A start that was asked for and refused: `code` says why in short, `detail` in words where one person was asked for."""

    command_id: UUID
    at: datetime
    sequence_type: str
    code: str
    detail: str | None


class Why(Struct):
    """A person's facts, places in sequences, starts that were refused, what is held, and decisions, newest first."""

    person: dict[str, Any]
    contacts: list[dict[str, Any]]
    scores: dict[str, float]
    enrolments: list[dict[str, Any]]
    refusals: list[Refused]
    holds: list[Hold]
    deliveries: list[Told]


@get(
    "/users/{ref:str}/why",
    tags=["People"],
    summary="Explain a person's messages",
    description="Every decision with its reasons and inputs, also those after which nothing was sent, and every start that was "
    "refused.",
    responses={200: made(Why, "What was decided, and why"), **problems(404)},
)
async def why(
    room: TheRoom,
    ref: FromPath[str],
    sequence_type: Annotated[str | None, QueryParameter(name="sequence_type", required=False, max_length=100)] = None,
    limit: Annotated[int, QueryParameter(name="limit", required=False, ge=1, le=200)] = 50,
) -> Why:
    """What was decided about this person."""
    database = room.database
    user_id = await person(database, ref)
    about = await database.fetchrow("why_person", user_id)
    assert about is not None
    # As callers may have named them: by id, or by what they are called now.
    names = [str(user_id), *([about["external_id"]] if about["external_id"] else [])]
    decided = await database.fetch("why_deliveries", user_id, sequence_type, limit)
    return Why(
        person=dict(about.items()),
        contacts=[dict(row.items()) for row in await database.fetch("why_contacts", user_id)],
        scores={row["score_type"]: float(row["score"]) for row in await database.fetch("why_scores", user_id)},
        enrolments=[dict(row.items()) for row in await database.fetch("why_enrolments", user_id, sequence_type)],
        refusals=[
            Refused(**row) for row in await database.fetch("why_refusals", str(user_id), names, sequence_type, REFUSALS)
        ],
        holds=await holds(room),
        deliveries=[_told(row) for row in decided],
    )


def _told(row: Any) -> Told:
    decision = row["decision"] or {}
    return Told(
        id=row["id"],
        sequence_type=row["sequence_type"],
        step=row["message_step"],
        channel=row["channel"],
        status=row["status_detail"],
        failure_reason=row["failure_reason"],
        variant=row["variant"],
        tier=row["tier"],
        scheduled_at=row["scheduled_at"],
        decided=decision.get("decision"),
        reasons=decision.get("reasons", []),
        inputs=decision.get("inputs", {}),
        fallback=row["fallback"],
    )
