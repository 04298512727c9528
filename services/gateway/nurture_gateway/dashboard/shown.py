"""What every page shows around its own content, and what a form that was sent leaves behind."""

import base64
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from uuid import uuid4

import msgspec
from litestar import Request, Response
from litestar.datastructures import Cookie
from litestar.response import Redirect

from nurture_gateway.api.holds import holds
from nurture_gateway.api.home import health
from nurture_gateway.dashboard.access import FORM_TOKEN
from nurture_gateway.html import SCRIPTED, html
from nurture_gateway.room import Room

TABS = (
    ("overview", "Overview", "/admin/dashboard"),
    ("sequences", "Sequences", "/admin/dashboard/sequences"),
    ("email", "Email", "/admin/dashboard/email"),
    ("users", "Users", "/admin/dashboard/users"),
    ("analytics", "Analytics", "/admin/dashboard/analytics"),
)
NOTICE = "nurture_notice"


class Refused(NamedTuple):
    """A form that could not be done: which, what was in it, and the problem as the API tells it."""

    form: str
    values: dict[str, str]
    problem: dict[str, Any]


async def page(
    request: Request[Any, Any, Any], room: Room, tab: str, template: str, refused: Refused | None = None, **values: Any
) -> Response[Any]:
    """A page of the dashboard. With `refused`, its form is filled in as it was sent, beside what is wrong with it."""
    notice = _notice(request)
    response = html(
        f"dashboard/{template}",
        refused.problem["status"] if refused else 200,
        SCRIPTED,
        tab=tab,
        tabs=TABS,
        health=health(room),
        holds=await holds(room),
        form_token=request.scope["state"].get(FORM_TOKEN, ""),
        once=uuid4().hex,
        refused=refused,
        notice=notice,
        now=room.clock.now(),
        speed=room.clock.speed,
        inbox=room.config.nurture_sandbox_url.rstrip("/"),
        here=request.url.path,
        **values,
    )
    if notice is not None:
        response.cookies.append(_cookie(room, "", 0))
    return response


def done(room: Room, to: str, text: str, *, link: tuple[str, str] | None = None) -> Response[Any]:
    """Back to a page, which says once what was done. `link` is a word and where it leads."""
    response = Redirect(to, status_code=303)
    note = base64.urlsafe_b64encode(msgspec.json.encode([text[:1000], link])).decode()
    # Not a secret and not believed either: a text that the page shows, escaped.
    response.cookies.append(_cookie(room, note, 60))
    return response


def _cookie(room: Room, note: str, seconds: int) -> Cookie:
    secure = urlsplit(room.config.public_url).scheme == "https"
    return Cookie(NOTICE, value=note, path="/admin", httponly=True, samesite="lax", secure=secure, max_age=seconds)


def _notice(request: Request[Any, Any, Any]) -> tuple[str, tuple[str, str] | None] | None:
    given = request.cookies.get(NOTICE)
    if not given:
        return None
    try:
        text, link = msgspec.json.decode(base64.urlsafe_b64decode(given), type=tuple[str, tuple[str, str] | None])
    except (ValueError, msgspec.DecodeError):
        return None
    return text, link if link and link[1].startswith("/") and not link[1].startswith("//") else None
