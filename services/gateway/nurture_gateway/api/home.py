"""The front door: health for machines, the dashboard for people."""

from importlib.metadata import version
from typing import Any

from litestar import Request, Response, get
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath
from litestar.response import Redirect
from msgspec import Struct

from nurture_gateway.api.access import TheRoom
from nurture_gateway.api.described import made, problems
from nurture_gateway.html import ASSETS, STATIC
from nurture_gateway.problems import Problem
from nurture_gateway.room import Room


class Health(Struct):
    """Whether the gateway works, and whether mails are real. `problems` are in words."""

    status: str
    service: str
    version: str
    email: str
    environment: str
    services: dict[str, str]
    problems: list[str]


def health(room: Room) -> dict[str, Any]:
    """What anybody may know: whether it works, and whether mails are real."""
    problems = room.why_not_ready()
    return {
        "status": "degraded" if problems else "ok",
        "service": "nurture",
        "version": version("nurture-gateway"),
        "email": room.config.mode,
        "environment": room.config.environment,
        "services": {"gateway": "not ready" if problems else "ready"},
        "problems": problems,
    }


@get(
    "/",
    tags=["Health"],
    summary="Health",
    security=[],
    sync_to_thread=False,
    responses={
        200: made(Health, "Whether it works"),
        302: ResponseSpec(None, description="A browser is sent to the dashboard", generate_examples=False),
        **problems(guarded=False),
    },
)
def home(request: Request[Any, Any, Any], room: TheRoom) -> Response[Any]:
    """Health as JSON; a browser is sent to the dashboard."""
    if "text/html" in request.headers.get("accept", ""):
        return Redirect("/admin/dashboard", status_code=302)
    return Response(health(room))


@get("/static/{name:str}", include_in_schema=False, sync_to_thread=False)
def asset(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[bytes]:
    """A file of the pages. Asked for with its version, it may be kept for ever."""
    if name not in STATIC:
        raise Problem("not_found", f"There is no file {name}.")
    age = "public, max-age=31536000, immutable" if "v" in request.query_params else "public, max-age=300"
    return Response(STATIC[name], media_type=ASSETS[name], headers={"Cache-Control": age})
