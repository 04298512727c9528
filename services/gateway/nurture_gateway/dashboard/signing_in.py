"""In with the key or with a one-time link, and out again."""

import asyncio
from typing import Annotated, Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from litestar.response import Redirect
from nurture_chassis.database import UNREACHABLE

from nurture_gateway.api.access import TheKeyring, TheRoom
from nurture_gateway.api.holds import EVERYTHING, Hold, holds
from nurture_gateway.api.home import health
from nurture_gateway.dashboard.access import SIGN_IN, Doorkeeper, within
from nurture_gateway.html import SCRIPTED, html
from nurture_gateway.problems import Problem
from nurture_gateway.room import Room

TheDoorkeeper = NamedDependency[Doorkeeper]
Next = Annotated[str | None, QueryParameter(name="next", required=False, max_length=2000)]


async def _form(
    request: Request[Any, Any, Any], room: Room, door: Doorkeeper, status: int, to: str, wrong: str | None = None
) -> Response[Any]:
    token, cookie = door.greet(request)
    response = html(
        "dashboard/sign_in.html",
        status,
        SCRIPTED,
        health=health(room),
        holds=await _for_everybody(room),
        form_token=token,
        to=to,
        wrong=wrong,
        local=room.config.environment != "production",
    )
    response.cookies.append(cookie)
    return response


@get(SIGN_IN, include_in_schema=False)
async def show_sign_in(
    request: Request[Any, Any, Any], room: TheRoom, door: TheDoorkeeper, to: Next = None
) -> Response[Any]:
    """The form; how the system is, for everybody."""
    return await _form(request, room, door, 200, within(to))


@post(SIGN_IN, include_in_schema=False)
async def sign_in(
    request: Request[Any, Any, Any], room: TheRoom, door: TheDoorkeeper, keyring: TheKeyring
) -> Response[Any]:
    """A session for whoever has the key."""
    await door.expected(request)
    form = await request.form()
    to = within(str(form.get("to", "")))
    if not keyring.fits(str(form.get("key", "")).strip()):
        room.rates.sign_in(request)
        return await _form(request, room, door, 401, to, "This is not the API key of this instance.")
    response = Redirect(to, status_code=303)
    door.let_in(response, await door.sessions.open())
    return response


@get(SIGN_IN + "/{token:str}", include_in_schema=False)
async def follow_link(
    request: Request[Any, Any, Any], room: TheRoom, door: TheDoorkeeper, token: FromPath[str]
) -> Response[Any]:
    """A session for whoever comes first with a link of `nurture open`."""
    if "prefetch" in request.headers.get("sec-purpose", ""):
        raise Problem("unavailable", "This link is for opening, not for looking ahead.")
    session = await door.sessions.use_link(token)
    if session is None:
        room.rates.sign_in(request)
        wrong = "This link was used before or is too old. `nurture open` makes another."
        return await _form(request, room, door, 410, within(None), wrong)
    response = Redirect(within(None), status_code=303)
    door.let_in(response, session)
    return response


@post("/sign-out", include_in_schema=False)
async def sign_out(request: Request[Any, Any, Any], door: TheDoorkeeper) -> Response[Any]:
    """End the session, here and in the record."""
    await door.sessions.end(door.token(request))
    response = Redirect(SIGN_IN, status_code=303)
    door.show_out(response)
    return response


async def _for_everybody(room: Room) -> list[Hold]:
    """That everything is held is no secret; what else is there is not for strangers. The page comes without a database."""
    try:
        async with asyncio.timeout(1):
            return [
                Hold(one.sequence_type, one.reason, one.at)
                for one in await holds(room)
                if one.sequence_type == EVERYTHING
            ]
    except UNREACHABLE:
        return []
