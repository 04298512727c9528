"""The inbox page: what was sent, and buttons that play the person who got it."""

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.params import Parameter

from nurture_local.sandbox import links, records
from nurture_local.sandbox.behaviour import Deed
from nurture_local.sandbox.courier import Courier
from nurture_local.sandbox.errors import ApiError
from nurture_local.sandbox.ledger import Ledger
from nurture_local.sandbox.telegram import rows

HERE = Path(__file__).parent
PAGE = 50
COLUMN = 25
CHANNELS = {"email": "Email", "telegram": "Telegram"}
PLAY_SECONDS = 2.0
HTTP = Request[Any, Any, State]

PAGE_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; frame-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}
# Shown inside the message page only. No images: looking at a mail here must not count as opening it.
MAIL_HEADERS = PAGE_HEADERS | {
    "content-security-policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'"
}
ACTS = {
    "open": Deed("opened", "visit"),
    "click": Deed("clicked", "visit"),
    "unsubscribe": Deed("unsubscribed", "visit"),
    "bounce": Deed("bounced", "webhook"),
    "complain": Deed("complained", "webhook"),
}

_pages = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
)
_pages.filters["minute"] = lambda at: f"{at[:10]} {at[11:19]}"


def page(template: str, status: int = 200, **values: Any) -> Response[str]:
    """A rendered template with the headers that every page here has."""
    text = _pages.get_template(template).render(**values)
    return Response(text, media_type="text/html", headers=PAGE_HEADERS, status_code=status)


async def _message(ledger: Ledger, email_id: str) -> records.Message:
    message = await ledger.read(lambda connection: records.find(connection, email_id))
    if message is None:
        raise ApiError(404, "not_found", f"The sandbox has no message {email_id}")
    return message


@get("/")
async def inbox(
    request: HTTP, to: str = "", channel: str = "", before: Annotated[int | None, Parameter(ge=1)] = None
) -> Response[str]:
    """Messages newest first, of one channel or of both side by side; `to` narrows them to addresses that contain it."""
    ledger: Ledger = request.app.state.ledger
    wanted = to.strip()
    counts = await ledger.read(records.totals)
    chosen = channel if channel in CHANNELS else None

    async def lines_of(of: str | None, limit: int) -> list[records.Line]:
        return await ledger.read(
            lambda connection: records.lines(connection, before=before, limit=limit, to=wanted, channel=of)
        )

    query = ({"to": wanted} if wanted else {}) | ({"channel": chosen} if chosen else {})
    columns: dict[str, list[records.Line]] = {}
    older = newest = None
    found: list[records.Line] = []
    if chosen is None and len(counts["channels"]) > 1:
        columns = {one: await lines_of(one, COLUMN + 1) for one in CHANNELS}
    else:
        found = await lines_of(chosen, PAGE + 1)
        older = f"?{urlencode(query | {'before': found[PAGE - 1].seq})}" if len(found) > PAGE else None
        newest = f"?{urlencode(query)}" if before is not None else None
    tabs = [
        (
            name,
            "?" + urlencode(({"to": wanted} if wanted else {}) | ({"channel": one} if one else {})),
            one == channel,
            number,
        )
        for one, name, number in (
            ("", "Both", counts["messages"]),
            *((one, CHANNELS[one], counts["channels"].get(one, 0)) for one in CHANNELS),
        )
    ]
    return page(
        "inbox.html",
        lines=found[:PAGE],
        columns=columns,
        column_size=COLUMN,
        channels=CHANNELS,
        tabs=tabs,
        to=wanted,
        channel=chosen or "",
        older=older,
        newest=newest,
        counts=counts,
        title="Sandbox inbox",
    )


async def own_form(request: HTTP) -> dict[str, list[str]]:
    """The fields of a form on one of our own pages. Raises ApiError (403) for one from elsewhere."""
    # A page elsewhere must not be able to press these buttons in the visitor's browser.
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise ApiError(403, "invalid_permission", "This form can only be sent from the sandbox's own page.")
    return parse_qs((await request.body()).decode("utf-8", "replace"))


@get("/messages/{email_id:str}")
async def message_page(request: HTTP, email_id: str) -> Response[str]:
    """One message, what happened to it, and the buttons."""
    ledger: Ledger = request.app.state.ledger
    message = await _message(ledger, email_id)
    if message.channel == "telegram":
        turn = await ledger.read(lambda connection: rows.turn_of(connection, message.id))
        if turn is not None:
            place = f"/chats/{turn.bot_id}/{turn.chat_id}#m{turn.message_id}"
            return Response("", status_code=303, headers={"location": place})
    timeline = await ledger.read(lambda connection: records.timeline(connection, message.seq))
    found = links.find(message.html, message.headers)
    return page(
        "message.html",
        message=message,
        timeline=timeline,
        links=found,
        over_smtp="Message-ID" in message.headers,
        title=message.subject,
    )


@get("/messages/{email_id:str}/html")
async def message_html(request: HTTP, email_id: str) -> Response[str]:
    """The mail's HTML for the frame on its page: no scripts, no images, no forms."""
    message = await _message(request.app.state.ledger, email_id)
    return Response(message.html or "", media_type="text/html", headers=MAIL_HEADERS)


@post("/messages/{email_id:str}/play", status_code=303)
async def play(request: HTTP, email_id: str) -> Response[str]:
    """Do what the pressed button says, then show the message again."""
    form = await own_form(request)
    deed = ACTS.get(form.get("act", [""])[0])
    if deed is None:
        raise ApiError(422, "validation_error", f"act must be one of {', '.join(ACTS)}")
    ledger: Ledger = request.app.state.ledger
    courier: Courier = request.app.state.courier
    message = await _message(ledger, email_id)
    link = form.get("link", [None])[0]
    if link is not None and link not in {href for href, _ in links.find(message.html, message.headers).clicks}:
        raise ApiError(422, "validation_error", "link must be one of the mail's own tracked links")
    seq = await ledger.play(message.seq, Deed(deed.kind, deed.via, 0.0, link))
    await courier.carried_out(seq, PLAY_SECONDS)
    return Response("", status_code=303, headers={"location": f"/messages/{message.id}#timeline"})


@get("/inbox.css")
async def stylesheet() -> Response[bytes]:
    return Response(
        (HERE / "static" / "inbox.css").read_bytes(),
        media_type="text/css",
        headers={"cache-control": "no-cache", "x-content-type-options": "nosniff"},
    )
