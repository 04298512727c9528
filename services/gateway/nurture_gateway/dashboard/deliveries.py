"""One message: its words, what became of it, and the decision behind it."""

from typing import Any
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.params import FromPath

from nurture_gateway.api import deliveries, operations
from nurture_gateway.api.access import TheRoom
from nurture_gateway.dashboard.forms import attempt, filled
from nurture_gateway.dashboard.shown import Refused, done, page
from nurture_gateway.room import Room

HOME = "/admin/dashboard/deliveries"


async def _page(
    request: Request[Any, Any, Any], room: Room, delivery_id: UUID, refused: Refused | None = None
) -> Response[Any]:
    told = await deliveries.show_delivery.fn(room, delivery_id)
    return await page(request, room, "users", "delivery.html", refused, home=f"{HOME}/{delivery_id}", **told)


@get("/deliveries/{delivery_id:uuid}", include_in_schema=False)
async def show_delivery(request: Request[Any, Any, Any], room: TheRoom, delivery_id: FromPath[UUID]) -> Response[Any]:
    """The page of a message."""
    return await _page(request, room, delivery_id)


@post("/deliveries/{delivery_id:uuid}/resend", include_in_schema=False)
async def resend(request: Request[Any, Any, Any], room: TheRoom, delivery_id: FromPath[UUID]) -> Response[Any]:
    """What POST /admin/api/deliveries/{id}/resend does."""
    values = await filled(request)

    async def work() -> Any:
        data = operations.Resend(may_have_arrived="may_have_arrived" in values)
        return await operations.resend_delivery.fn(request, room, delivery_id, data)

    told = await attempt(request, "resend", values, work)
    if isinstance(told, Refused):
        return await _page(request, room, delivery_id, told)
    if "delivery_id" not in told:
        return done(room, f"{HOME}/{delivery_id}", "Stored: the controller has not answered yet; it will be done.")
    return done(
        room, f"{HOME}/{told['delivery_id']}", f"This is round {told['round']}: sent once more by {told['channel']}."
    )
