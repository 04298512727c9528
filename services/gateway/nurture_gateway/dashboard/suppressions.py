"""Addresses that get no mail: look one up, close one, lift one."""

from typing import Annotated, Any

from litestar import Request, Response, get, post
from litestar.params import QueryParameter

from nurture_gateway.api import suppressions
from nurture_gateway.api.access import TheRoom
from nurture_gateway.api.described import CursorText
from nurture_gateway.dashboard.forms import attempt, filled, read, stated
from nurture_gateway.dashboard.shown import Refused, done, page
from nurture_gateway.room import Room

HOME = "/admin/dashboard/email/suppressions"
SHOWN = 50


async def _page(
    request: Request[Any, Any, Any],
    room: Room,
    q: str | None = None,
    cursor: str | None = None,
    refused: Refused | None = None,
) -> Response[Any]:
    found = await suppressions.list_suppressions.fn(room, cursor, SHOWN, q)
    return await page(
        request,
        room,
        "email",
        "suppressions.html",
        refused,
        q=q or "",
        cursor=cursor,
        closed=found,
        real=room.clock.real(),
    )


@get("/email/suppressions", include_in_schema=False)
async def show_suppressions(
    request: Request[Any, Any, Any],
    room: TheRoom,
    q: Annotated[str | None, QueryParameter(required=False, max_length=320)] = None,
    cursor: CursorText = None,
) -> Response[Any]:
    """Addresses, those closed last first, or those that begin so."""
    return await _page(request, room, (q or "").strip() or None, cursor)


@post("/email/suppressions", include_in_schema=False)
async def close_address(request: Request[Any, Any, Any], room: TheRoom) -> Response[Any]:
    """What POST /admin/api/email/suppressions does."""
    values = await filled(request)

    async def work() -> Any:
        data = read(suppressions.AddressClosed, stated(values, "address", "note"))
        return await suppressions.close_address.fn(request, room, data)

    told = await attempt(request, "close", values, work)
    if isinstance(told, Refused):
        return await _page(request, room, refused=told)
    return done(room, HOME, f"No mail goes to {told['address']} any more.")


@post("/email/suppressions/lift", include_in_schema=False)
async def lift_suppression(request: Request[Any, Any, Any], room: TheRoom) -> Response[Any]:
    """What DELETE /admin/api/email/suppressions/{address} does. The page asks before a complaint is lifted."""
    values = await filled(request)
    address = values.get("address", "")

    async def work() -> Any:
        return await suppressions.lift_suppression.fn(room, address, "although_complained" in values)

    told = await attempt(request, "lift", values, work)
    if isinstance(told, Refused):
        return await _page(request, room, refused=told)
    return done(room, HOME, f"Mails go to {told['address']} again.")
