"""Email: test mails and what became of them, the queue, the numbers."""

from typing import Any
from uuid import UUID

from litestar import Request, Response, get, post

from nurture_gateway.api import test_emails
from nurture_gateway.api.access import TheRoom
from nurture_gateway.dashboard.forms import attempt, filled, read, stated
from nurture_gateway.dashboard.live import Region
from nurture_gateway.dashboard.shown import Refused, done, page
from nurture_gateway.html import rendered
from nurture_gateway.room import Room

HOME = "/admin/dashboard/email"
SHOWN = 12


async def _tests(room: Room) -> list[dict[str, Any]]:
    rows = await room.database.fetch("list_test_messages", SHOWN)
    return [dict(row.items()) | {"status": test_emails.status_of(row)} for row in rows]


def regions(room: Room) -> list[Region]:
    """What moves on this page."""

    async def tests() -> str:
        return rendered(
            "dashboard/tests.html",
            tests=await _tests(room),
            now=room.clock.now(),
            inbox=room.config.nurture_sandbox_url.rstrip("/"),
        )

    return [Region("tests", (), tests)]


async def _page(request: Request[Any, Any, Any], room: Room, refused: Refused | None = None) -> Response[Any]:
    return await page(request, room, "email", "email.html", refused, tests=await _tests(room))


@get("/email", include_in_schema=False)
async def show_email(request: Request[Any, Any, Any], room: TheRoom) -> Response[Any]:
    """The page."""
    return await _page(request, room)


@post("/email/test", include_in_schema=False)
async def send_test(request: Request[Any, Any, Any], room: TheRoom) -> Response[Any]:
    """What POST /admin/api/email/test does."""
    values = await filled(request)

    async def work() -> Any:
        data = read(test_emails.TestEmail, stated(values, "email_address", "user_name", "template_type"))
        return await test_emails.send_test.fn(request, room, data)

    told = await attempt(request, "test", values, work)
    if isinstance(told, Refused):
        return await _page(request, room, told)
    return done(f"{HOME}#tests", f"A test mail to {values['email_address']} is on its way ({UUID(told['id'])}).")
