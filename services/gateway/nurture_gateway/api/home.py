"""The front door: health for machines, a plain page for people."""

import asyncio
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from litestar import Request, Response, get
from litestar.response import Redirect
from nurture_chassis.database import UNREACHABLE

from nurture_gateway.api.access import TheKeyring, TheRoom
from nurture_gateway.api.deliveries import counts
from nurture_gateway.api.holds import EVERYTHING, Hold, holds
from nurture_gateway.cursors import NEWEST
from nurture_gateway.html import html
from nurture_gateway.room import Room

STYLE = files("nurture_gateway").joinpath("static", "nurture.css").read_bytes()


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


@get("/", tags=["Health"], summary="Health", security=[], sync_to_thread=False)
def home(request: Request[Any, Any, Any], room: TheRoom) -> Response[Any]:
    """Health as JSON; a browser is sent to the dashboard."""
    if "text/html" in request.headers.get("accept", ""):
        return Redirect("/admin/dashboard", status_code=302)
    return Response(health(room))


@get("/admin/dashboard", include_in_schema=False)
async def dashboard(request: Request[Any, Any, Any], room: TheRoom, keyring: TheKeyring) -> Response[bytes]:
    """State for everybody; counts and deliveries only for the holder of the key."""
    if not keyring.opens(request.headers.get("authorization")):
        return html(
            "dashboard.html",
            health=health(room),
            holds=await _for_everybody(room),
            signed_in=False,
            counts={},
            deliveries=[],
            url=room.config.public_url,
        )
    held = await holds(room)
    newest = await room.database.fetch("list_deliveries", NEWEST.id, 20, None, None, None, None, None, None)
    known = await counts(room)
    return html(
        "dashboard.html", health=health(room), holds=held, signed_in=True, counts=known, deliveries=newest, url=""
    )


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


@get("/static/nurture.css", include_in_schema=False, sync_to_thread=False)
def stylesheet() -> Response[bytes]:
    """The one stylesheet."""
    return Response(STYLE, media_type="text/css; charset=utf-8", headers={"Cache-Control": "public, max-age=300"})
