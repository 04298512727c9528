"""A person's preferences over REST."""

from typing import Annotated, Any

from litestar import Request, Response, get, patch
from litestar.openapi.spec import Example
from litestar.params import Body
from nurture_chassis.outbox import Saying

from nurture_gateway.api.access import TheRoom
from nurture_gateway.api.described import IdempotencyKey, made, problems, refusals
from nurture_gateway.api.nurture import person
from nurture_gateway.api.users import PATH_REF
from nurture_gateway.idempotency import Answer, answer, once
from nurture_gateway.preferences import Preferences, PreferencesChange
from nurture_gateway.preferences import change_preferences as change
from nurture_gateway.preferences import preferences as preferences_of

_EXAMPLE = {
    "preferred_channel": "telegram",
    "preferred_time": "evening",
    "timezone": "Europe/Berlin",
    "email": {"opt_in_sequences": True, "opt_in_announcements": False},
}


@get(
    "/users/{ref:str}/preferences",
    tags=["People"],
    summary="Show a person's preferences",
    responses={200: made(Preferences, "The preferences"), **problems(404)},
)
async def show_preferences(room: TheRoom, ref: Annotated[str, PATH_REF]) -> Preferences:
    """Channel, time, time zone, and what is wanted where."""
    return await preferences_of(room.database, await person(room.database, ref))


@patch(
    "/users/{ref:str}/preferences",
    tags=["People"],
    summary="Change a person's preferences",
    description="What is left out stays. `opt_in_announcements` is about messages of type `announcement`, or of a type that "
    "begins so (`announcement-spring`); `opt_in_sequences` about all others. Wanting something on a channel that the person "
    'refused is a conflict, unless `"consent": "granted"` records that they have changed their mind.',
    responses={200: made(Preferences, "The preferences, changed"), **refusals(404, 409)},
)
async def change_preferences(
    request: Request[Any, Any, Any],
    room: TheRoom,
    ref: Annotated[str, PATH_REF],
    data: Annotated[PreferencesChange, Body(examples=[Example(value=_EXAMPLE)])],
    idempotency_key: IdempotencyKey = None,
) -> Response[Any]:
    """Change one person's preferences."""

    async def effect(tx: Saying) -> Answer:
        return answer(200, await change(tx, await person(tx, ref), data, room.clock.now()))

    return await once(request, room, effect)
