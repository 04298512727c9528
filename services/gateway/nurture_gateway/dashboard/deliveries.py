"""One message: its words, what became of it, and the decision behind it."""

from typing import Any
from uuid import UUID

from litestar import Request, Response, get
from litestar.params import FromPath

from nurture_gateway.api import deliveries
from nurture_gateway.api.access import TheRoom
from nurture_gateway.dashboard.shown import page


@get("/deliveries/{delivery_id:uuid}", include_in_schema=False)
async def show_delivery(request: Request[Any, Any, Any], room: TheRoom, delivery_id: FromPath[UUID]) -> Response[Any]:
    """The page of a message."""
    told = await deliveries.show_delivery.fn(room, delivery_id)
    return await page(request, room, "users", "delivery.html", **told)
