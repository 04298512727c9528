"""How engaged a person is, by the clock of now, and what that is made from."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from litestar import get
from litestar.params import PathParameter
from msgspec import Struct

from nurture_gateway.api.access import TheRoom
from nurture_gateway.api.described import made, problems
from nurture_gateway.api.nurture import person


class Score(Struct):
    """`factors`: answers (`r`) and messages or occasions (`n`) as they weigh now, the `mean` rate of everybody, whether the
    channel is `blocked`, how many messages or events there were, the `last` five answers with what each was worth."""

    score_type: str
    score: float
    factors: dict[str, Any]


class Scores(Struct):
    """Five scores, 0 to 100; somebody of whom nothing is known has those of everybody's mean."""

    user_id: UUID
    calculated_at: datetime
    scores: list[Score]


@get(
    "/users/{ref:str}/scores",
    tags=["People"],
    summary="Show a person's scores",
    responses={200: made(Scores, "The scores and what is behind them"), **problems(404)},
)
async def show_scores(
    room: TheRoom, ref: Annotated[str, PathParameter(description="Id or external_id.", max_length=200)]
) -> Scores:
    """Scores as of now."""
    user_id = await person(room.database, ref)
    now = room.clock.now()
    rows = await room.database.fetch("person_scores", user_id, now)
    scores = [Score(row["score_type"], float(row["score"]), row["factors"]) for row in rows]
    parts = {
        one.score_type: {"score": one.score, "n": one.factors["n"]}
        for one in scores
        if one.score_type in ("email", "telegram")
    }
    for one in scores:
        if one.score_type == "overall":
            one.factors["parts"] = parts
    return Scores(user_id, now, scores)
