"""What a start would do, shown before anybody is started: the answer of a simulation as a page of its own."""

from typing import Any
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.params import FromPath

from nurture_gateway.api import commands, simulate
from nurture_gateway.api.access import TheRoom
from nurture_gateway.dashboard.forms import attempt, filled, json_object, read, stated
from nurture_gateway.dashboard.sequences import sequences_page
from nurture_gateway.dashboard.shown import Refused, done, page
from nurture_gateway.problems import Problem

HOME = "/admin/dashboard/sequences/simulations"


@post("/sequences/simulate", include_in_schema=False)
async def ask(request: Request[Any, Any, Any], room: TheRoom) -> Response[Any]:
    """What POST /admin/api/nurture/simulate does, for the person in the trigger's form, or without one for everybody."""
    values = await filled(request)

    async def work() -> Any:
        asked = stated(values, "user_id", "sequence_type", "override_channel")
        asked |= {"context": json_object(values, "context")} | ({} if "user_id" in asked else {"segment": "all"})
        if failing := values.get("failing"):
            asked["failing"] = [failing]
        return await simulate.simulate.fn(request, room, read(simulate.Simulate, asked))

    told = await attempt(request, "trigger", values, work)
    if isinstance(told, Refused):
        return await sequences_page(request, room, refused=told)
    return done(room, f"{HOME}/{told['command_id']}", "Nobody was started.")


@get("/sequences/simulations/{command_id:uuid}", include_in_schema=False)
async def show_simulation(request: Request[Any, Any, Any], room: TheRoom, command_id: FromPath[UUID]) -> Response[Any]:
    """The page; it asks again by itself until there is an answer."""
    found = await commands.show_command.fn(room, command_id)
    if found["kind"] != "simulate":
        raise Problem("not_found", f"There is no simulation {command_id}.")
    told = found["result"]
    shown = [UUID(one["user_id"]) for one in (told or {}).get("timelines", [])]
    names = {str(row["id"]): row["called"] for row in await room.database.fetch("call_people", shown)} if shown else {}
    response = await page(request, room, "sequences", "simulation.html", state=found["state"], told=told, names=names)
    if found["state"] == "accepted":
        response.headers["Refresh"] = "1"
    return response
