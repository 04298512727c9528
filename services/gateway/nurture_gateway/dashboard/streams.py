"""The streams behind the pages: one for each tab that moves."""

from collections.abc import AsyncIterator
from typing import Any

from litestar import Request, get
from litestar.response import Stream

from nurture_gateway.api.access import TheRoom
from nurture_gateway.dashboard import email, overview, sequences
from nurture_gateway.dashboard.live import Region
from nurture_gateway.dashboard.sequences import Text
from nurture_gateway.dashboard.signing_in import TheDoorkeeper
from nurture_gateway.problems import Problem
from nurture_gateway.room import Room


def _stream(request: Request[Any, Any, Any], room: Room, door: Any, regions: list[Region]) -> Stream:
    if room.live.full:
        raise Problem("unavailable", "Too many pages are being watched at the moment.", headers={"Retry-After": "5"})

    async def allowed() -> bool:
        return await door.knows(request)

    content: AsyncIterator[bytes] = room.live.stream(regions, allowed)
    # Nothing between us and the browser may collect events before it passes them on.
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return Stream(content, media_type="text/event-stream", headers=headers)


@get("/live", include_in_schema=False)
async def overview_stream(request: Request[Any, Any, Any], room: TheRoom, door: TheDoorkeeper) -> Stream:
    """Overview as it changes."""
    return _stream(request, room, door, overview.regions(room))


@get("/sequences/live", include_in_schema=False)
async def sequences_stream(
    request: Request[Any, Any, Any], room: TheRoom, door: TheDoorkeeper, user: Text = None, sequence_type: Text = None
) -> Stream:
    """Who is in which sequence, as they move."""
    return _stream(request, room, door, sequences.regions(room, user or None, sequence_type or None))


@get("/email/live", include_in_schema=False)
async def email_stream(request: Request[Any, Any, Any], room: TheRoom, door: TheDoorkeeper) -> Stream:
    """Test mails as their facts come in."""
    return _stream(request, room, door, email.regions(room))
