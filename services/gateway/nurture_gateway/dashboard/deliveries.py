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
    telegram = told["delivery"]["channel"] == "telegram"
    for event in told["events"]:
        link = (event["detail"] or {}).get("link")
        event["words"] = words(event, await room.links.url(link, telegram=telegram) if link else None)
    return await page(
        request,
        room,
        "users",
        "delivery.html",
        refused,
        home=f"{HOME}/{delivery_id}",
        # As it stands in Markdown: with a token behind it, it would be somebody's key to their preferences.
        personal=f"{room.config.public_url.rstrip('/')}/p/)",
        **told,
    )


def words(event: dict[str, Any], url: str | None = None) -> str:
    """What is known of an event beside its kind and time. `url` is where the link leads that was followed."""
    detail = {name: value for name, value in (event["detail"] or {}).items() if value not in (None, False)}
    link, signal, attempts = detail.pop("link", None), detail.pop("signal", None), detail.pop("attempts", 1)
    said = [url or f"link {link}"] if link else []
    if event["kind"] in _ANSWERS:
        said += [_MAKERS[signal]] if signal in _MAKERS else []
    elif signal:
        said.append("as the provider reports")
    reason = str(detail.pop("reason", ""))
    said += [reason.replace("_", " ")] if reason and reason not in _MORE else []
    said += [f"after {attempts} attempts"] if attempts > 1 else []
    said += [meaning for name, meaning in _MORE.items() if detail.pop(name, None)]
    return ", ".join([*said, *(f"{name} {value}" for name, value in detail.items())])


_ANSWERS = frozenset({"opened", "clicked", "pressed", "replied"})
_MAKERS = {"human": "by a person, as it seems", "machine": "by a machine"}
_MORE = {
    "arrived": "and arrived",
    "final": "nobody reports more of it",
    "possible_duplicate": "it may have come twice",
}


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
