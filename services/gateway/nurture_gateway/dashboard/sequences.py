"""Sequences: start them, watch who is where, hold them, and what a person wants."""

from collections import Counter
from typing import Annotated, Any

from litestar import Request, Response, get, post
from litestar.params import QueryParameter

from nurture_gateway.api import holds, nurture, preferences, sequences
from nurture_gateway.api.access import TheRoom
from nurture_gateway.dashboard.forms import attempt, filled, json_object, read, stated
from nurture_gateway.dashboard.live import Region
from nurture_gateway.dashboard.overview import type_choices
from nurture_gateway.dashboard.shown import Refused, done, page
from nurture_gateway.html import rendered
from nurture_gateway.people import PREFERRED_TIMES
from nurture_gateway.problems import Problem
from nurture_gateway.room import Room

HOME = "/admin/dashboard/sequences"
SHOWN = 20
Text = Annotated[str | None, QueryParameter(required=False, max_length=200)]


async def _active(room: Room, user: str | None, sequence_type: str | None) -> dict[str, Any]:
    """Who is in which sequence, with how many steps there are."""
    try:
        found = await nurture.active.fn(room, None, SHOWN, sequence_type, user)
    except Problem as problem:
        return {"rows": [], "more": False, "nobody": problem.detail, "held": set()}
    steps = {(row["type"], row["version"]): row["steps"] for row in await room.database.fetch("sequence_steps")}
    rows = [row | {"steps": steps.get((row["sequence_type"], row["version"]))} for row in found["items"]]
    held = {hold.sequence_type for hold in await holds.holds(room)}
    return {"rows": rows, "more": found["next"] is not None, "nobody": None, "held": held}


def regions(room: Room, user: str | None, sequence_type: str | None) -> list[Region]:
    """What moves on this page."""

    async def render() -> str:
        found = await _active(room, user, sequence_type)
        return rendered("dashboard/active.html", now=room.clock.now(), **found)

    return [Region("active", (user, sequence_type), render)]


async def _listed(room: Room) -> list[dict[str, Any]]:
    running = {row["sequence_type"]: row["enrolments"] for row in await room.database.fetch("count_active")}
    held = Counter(hold.sequence_type for hold in await holds.holds(room))
    return [
        {
            "type": one.type,
            "version": one.version,
            "published_at": one.published_at,
            "steps": one.steps,
            "people": running.get(one.type, 0),
            "paused": bool(held[one.type]),
        }
        for one in await sequences.list_sequences.fn(room)
    ]


async def sequences_page(
    request: Request[Any, Any, Any],
    room: Room,
    user: str | None = None,
    sequence_type: str | None = None,
    refused: Refused | None = None,
) -> Response[Any]:
    """The page as it is now, with a form that was refused as it was filled in."""
    active = await _active(room, user, sequence_type)
    # Whoever is being watched is usually whose wishes are asked for.
    wishes = await preferences.show_preferences.fn(room, user) if user and not active["nobody"] else None
    return await page(
        request,
        room,
        "sequences",
        "sequences.html",
        refused,
        wishes=wishes,
        home=f"/admin/dashboard/users/{wishes.user_id}" if wishes else "",
        times=PREFERRED_TIMES,
        user=user or "",
        sequence_type=sequence_type or "",
        types=await type_choices(room),
        sequences=await _listed(room),
        **active,
    )


@get("/sequences", include_in_schema=False)
async def show_sequences(
    request: Request[Any, Any, Any], room: TheRoom, user: Text = None, sequence_type: Text = None
) -> Response[Any]:
    """The page; `user` and `sequence_type` narrow whom it watches."""
    return await sequences_page(request, room, user or None, sequence_type or None)


@post("/sequences/trigger", include_in_schema=False)
async def trigger(request: Request[Any, Any, Any], room: TheRoom) -> Response[Any]:
    """What POST /admin/api/nurture/trigger does, for one person."""
    values = await filled(request)

    async def work() -> Any:
        asked = stated(values, "user_id", "sequence_type", "override_channel")
        data = read(nurture.Trigger, asked | {"context": json_object(values, "context")})
        return await nurture.trigger.fn(request, room, data)

    told = await attempt(request, "trigger", values, work)
    if isinstance(told, Refused):
        return await sequences_page(request, room, refused=told)
    user, type_name = values.get("user_id", ""), values.get("sequence_type", "")
    if "enrolment_id" not in told:
        return done(
            room, HOME, f"Stored: {type_name} for {user}. The controller has not answered yet; it will be done."
        )
    by = f" by {told['channel']}" if told.get("channel") else ""
    waits = " It is paused and waits." if told.get("paused") else ""
    text = f"{type_name} started for {user}: step {told['step']}{by}.{waits}"
    return done(room, f"{HOME}#active", text, link=("Their story", f"/admin/dashboard/users/{told['user_id']}"))


@post("/sequences/cancel", include_in_schema=False)
async def cancel(request: Request[Any, Any, Any], room: TheRoom) -> Response[Any]:
    """What POST /admin/api/nurture/cancel does, for one enrolment."""
    values = await filled(request)

    async def work() -> Any:
        return await nurture.cancel.fn(request, room, read(nurture.Cancel, stated(values, "enrolment_id")))

    told = await attempt(request, "active", values, work)
    if isinstance(told, Refused):
        return await sequences_page(request, room, refused=told)
    if "cancelled" not in told:
        return done(room, HOME, "Stored: it will be cancelled.")
    return done(room, f"{HOME}#active", "Cancelled." if told["cancelled"] else "It had ended already.")


async def _hold(request: Request[Any, Any, Any], room: Room, paused: bool) -> Response[Any]:
    values = await filled(request)
    named = stated(values, "sequence_type")

    async def work() -> Any:
        if paused:
            return await holds.pause.fn(request, room, read(holds.Pause, named))
        return await holds.resume.fn(request, room, read(holds.Resume, named))

    told = await attempt(request, "hold", values, work)
    if isinstance(told, Refused):
        return await sequences_page(request, room, refused=told)
    what = named.get("sequence_type", "Everything")
    return done(room, HOME, f"{what} is paused. Nobody is lost: who is in it waits." if paused else f"{what} goes on.")


@post("/sequences/pause", include_in_schema=False)
async def pause(request: Request[Any, Any, Any], room: TheRoom) -> Response[Any]:
    """Hold a sequence, or without a name everything."""
    return await _hold(request, room, paused=True)


@post("/sequences/resume", include_in_schema=False)
async def resume(request: Request[Any, Any, Any], room: TheRoom) -> Response[Any]:
    """Let it go on."""
    return await _hold(request, room, paused=False)
