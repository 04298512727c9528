"""Links in messages: the pixel, tracked links, unsubscribing. Tokens carry ids and a signature, nothing else."""

from typing import Any, Literal

from litestar import Request, Response, get, post, route
from litestar.enums import HttpMethod
from litestar.params import FromPath
from nurture_chassis.outbox import Saying
from nurture_chassis.tokens import Clicked, Opened
from nurture_contracts.events import Hit, TrackingHit
from nurture_contracts.ids import derived, uuid7

from nurture_gateway.api.access import TheRoom
from nurture_gateway.html import html
from nurture_gateway.problems import Problem
from nurture_gateway.room import Room
from nurture_gateway.signals import classify

GIF = bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b")
NO_STORE = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}


def _hit(
    request: Request[Any, Any, Any], room: Room, kind: Literal["opened", "clicked"], token: Opened | Clicked
) -> None:
    headers = request.headers
    purpose = " ".join(headers.get(name, "") for name in ("sec-purpose", "purpose", "x-purpose"))
    room.hits.drop_in(
        Hit(
            event_id=uuid7(),
            kind=kind,
            delivery_id=token.delivery_id,
            at=room.clock.now(),
            link=token.link if isinstance(token, Clicked) else None,
            signal=classify(kind, headers.get("user-agent", ""), purpose),
            test=token.test,
            channel="telegram" if isinstance(token, Clicked) and token.telegram else "email",
        )
    )


@route("/t/o/{token:str}", http_method=[HttpMethod.GET, HttpMethod.HEAD], include_in_schema=False)
async def pixel(request: Request[Any, Any, Any], room: TheRoom, token: FromPath[str]) -> Response[bytes]:
    """A transparent pixel, whatever the token: a mail never shows a broken image."""
    opened = room.tokens.read_open(token)
    if opened is not None and request.method == "GET":
        _hit(request, room, "opened", opened)
    return Response(GIF, status_code=200, media_type="image/gif", headers=NO_STORE)


@route("/t/c/{token:str}", http_method=[HttpMethod.GET, HttpMethod.HEAD], include_in_schema=False)
async def click(request: Request[Any, Any, Any], room: TheRoom, token: FromPath[str]) -> Response[bytes]:
    """On to the stored target; nothing in the address can change where that is."""
    clicked = room.tokens.read_click(token)
    url = await room.links.url(clicked.link, telegram=clicked.telegram) if clicked is not None else None
    if clicked is None or url is None:
        raise _unknown()
    if request.method == "GET":
        _hit(request, room, "clicked", clicked)
    if url == room.preference_page and not clicked.test:
        # Stored once for everybody; whose page it is is known by the message that it stood in.
        url += room.tokens.preferences_token(clicked.delivery_id)
    return Response(b"", status_code=302, headers={**NO_STORE, "Location": url}, media_type="text/plain")


def _unknown() -> Problem:
    return Problem(
        "not_found",
        "This link is not one of ours.",
        hint="Use the link exactly as it stands in the message.",
        headers=NO_STORE,
    )


@get("/u/{token:str}", tags=["Email"], summary="Show the unsubscribe page", security=[], include_in_schema=False)
async def show_unsubscribe(room: TheRoom, token: FromPath[str]) -> Response[bytes]:
    """The page with the button. Looking changes nothing: scanners look at every link."""
    named = room.tokens.read_unsubscribe(token)
    if named is None:
        return html("unsubscribe.html", 404, state="unknown")
    state = await _state(room, named)
    return html("unsubscribe.html", 404 if state == "unknown" else 200, state=state)


@post("/u/{token:str}", status_code=200, include_in_schema=False)
async def unsubscribe(room: TheRoom, token: FromPath[str]) -> Response[bytes]:
    """One click (RFC 8058), or the page's button: consent is taken back before this answers. The body does not matter."""
    named = room.tokens.read_unsubscribe(token)
    if named is None:
        return html("unsubscribe.html", 404, state="unknown")
    if named.test and await _state(room, named) == "test":
        return html("unsubscribe.html", state="test")
    async with room.outbox.transaction() as tx:
        known = await _refuse(tx, room, named)
    return html("unsubscribe.html", state="done") if known else html("unsubscribe.html", 404, state="unknown")


async def _state(room: Room, named: Opened) -> str:
    """What the page says before anything is done. A test's reader is nobody whose consent there is, unless it asked for their
    address."""
    kind = await room.database.fetchval("mail_known", named.delivery_id)
    if named.test and kind != "verification":
        return "test"
    return "ask" if kind else "unknown"


async def _refuse(tx: Saying, room: Room, named: Opened) -> bool:
    now = room.clock.now()
    if await tx.fetchval("refuse_email", named.delivery_id, now) is None:
        return False
    if named.test:
        # A mail that asked whose mailbox it is belongs to no sequence, which would have something to learn from it.
        return True
    # The same id at each repeat: one unsubscription, however often the button is pressed.
    event_id = derived("unsubscribed", named.delivery_id)
    hit = Hit(event_id=event_id, kind="unsubscribed", delivery_id=named.delivery_id, at=now, signal="human")
    tx.say(TrackingHit(items=[hit]))
    return True
