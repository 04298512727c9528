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

HERE = Path(__file__).parent
PAGE = 50
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


def _page(template: str, status: int = 200, **values: Any) -> Response[str]:
    text = _pages.get_template(template).render(**values)
    return Response(text, media_type="text/html", headers=PAGE_HEADERS, status_code=status)


async def _message(ledger: Ledger, email_id: str) -> records.Message:
    message = await ledger.read(lambda connection: records.find(connection, email_id))
    if message is None:
        raise ApiError(404, "not_found", f"The sandbox has no message {email_id}")
    return message


@get("/")
async def inbox(request: HTTP, to: str = "", before: Annotated[int | None, Parameter(ge=1)] = None) -> Response[str]:
    """Messages newest first; `to` narrows them to addresses that contain it."""
    ledger: Ledger = request.app.state.ledger
    wanted = to.strip()
    found = await ledger.read(lambda connection: records.lines(connection, before=before, limit=PAGE + 1, to=wanted))
    counts = await ledger.read(records.totals)
    shown = found[:PAGE]
    query = {"to": wanted} if wanted else {}
    older = f"?{urlencode(query | {'before': shown[-1].seq})}" if len(found) > PAGE else None
    newest = f"?{urlencode(query)}" if before is not None else None
    return _page("inbox.html", lines=shown, to=wanted, older=older, newest=newest, counts=counts, title="Sandbox inbox")


@get("/messages/{email_id:str}")
async def message_page(request: HTTP, email_id: str) -> Response[str]:
    """One message, what happened to it, and the buttons."""
    ledger: Ledger = request.app.state.ledger
    message = await _message(ledger, email_id)
    timeline = await ledger.read(lambda connection: records.timeline(connection, message.seq))
    found = links.find(message.html, message.headers)
    return _page("message.html", message=message, timeline=timeline, links=found, title=message.subject)


@get("/messages/{email_id:str}/html")
async def message_html(request: HTTP, email_id: str) -> Response[str]:
    """The mail's HTML for the frame on its page: no scripts, no images, no forms."""
    message = await _message(request.app.state.ledger, email_id)
    return Response(message.html or "", media_type="text/html", headers=MAIL_HEADERS)


@post("/messages/{email_id:str}/play", status_code=303)
async def play(request: HTTP, email_id: str) -> Response[str]:
    """Do what the pressed button says, then show the message again."""
    # A page elsewhere must not be able to press these buttons in the visitor's browser.
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise ApiError(403, "invalid_permission", "This form can only be sent from the sandbox's own page.")
    form = parse_qs((await request.body()).decode("utf-8", "replace"))
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
