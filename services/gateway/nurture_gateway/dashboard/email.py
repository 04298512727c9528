"""Email: test mails and what became of them, the queue, the numbers."""

from collections.abc import Awaitable, Callable
from typing import Any

from litestar import Request, Response, get, post

from nurture_gateway import numbers
from nurture_gateway.api import numbers as numbers_api
from nurture_gateway.api import operations, test_emails
from nurture_gateway.api.access import TheRoom
from nurture_gateway.dashboard.analytics import DAYS, ENGAGED, GONE_WRONG, STRETCHES, by_day
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
        inbox = room.config.nurture_sandbox_url.rstrip("/")
        return rendered("dashboard/tests.html", tests=await _tests(room), now=room.clock.now(), inbox=inbox)

    async def queue() -> str:
        told = await numbers.queue(room.database, "email")
        return rendered("dashboard/queue.html", queue=told, now=room.clock.now(), real=room.clock.real())

    return [Region("tests", (), tests), Region("queue", (), queue, every=2.0)]


async def _page(
    request: Request[Any, Any, Any], room: Room, refused: Refused | None = None, days: int = 7
) -> Response[Any]:
    stats = await numbers_api.show_email_stats.fn(room, days)
    return await page(
        request,
        room,
        "email",
        "email.html",
        refused,
        tests=await _tests(room),
        stats=stats,
        queue=stats.queue,
        days=days,
        stretches=sorted({*STRETCHES, days}),
        engaged=by_day(stats.by_day, ENGAGED, f"Delivered, opened and clicked mails of {days} days"),
        wrong=by_day(stats.by_day, GONE_WRONG, f"Bounced and failed mails and complaints of {days} days"),
        names=(ENGAGED, GONE_WRONG),
        real=room.clock.real(),
    )


@get("/email", include_in_schema=False)
async def show_email(request: Request[Any, Any, Any], room: TheRoom, days: DAYS = 7) -> Response[Any]:
    """The page."""
    return await _page(request, room, days=days)


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
    return done(room, f"{HOME}#tests", f"A test mail to {values['email_address']} is on its way.")


async def _queue(
    request: Request[Any, Any, Any],
    room: Room,
    act: Callable[..., Awaitable[Any]],
    words: Callable[[dict[str, Any]], str],
) -> Response[Any]:
    async def work() -> Any:
        return await act(request, room)

    told = await attempt(request, "queue", await filled(request), work)
    if isinstance(told, Refused):
        return await _page(request, room, told)
    later = "Stored: the controller has not answered yet; it will be done."
    return done(room, f"{HOME}#queue", later if "status_url" in told else words(told))


@post("/email/queue/process", include_in_schema=False)
async def process(request: Request[Any, Any, Any], room: TheRoom) -> Response[Any]:
    """What POST /admin/api/email/queue/process does."""

    def words(told: dict[str, Any]) -> str:
        if not told["planned"]:
            return "Nothing was due."
        return (
            f"{told['planned']} due: {told['sent']} handed to their channel, {told['skipped']} not to be sent, "
            f"{told['failed']} failed."
        )

    return await _queue(request, room, operations.process_queue.fn, words)


@post("/email/queue/clear-failed", include_in_schema=False)
async def clear_failed(request: Request[Any, Any, Any], room: TheRoom) -> Response[Any]:
    """What POST /admin/api/email/queue/clear-failed does."""
    return await _queue(
        request,
        room,
        operations.clear_email_queue.fn,
        lambda told: f"{told['archived']} failed mails left the queue. Their rows and every count stay.",
    )


@post("/email/queue/retry", include_in_schema=False)
async def retry(request: Request[Any, Any, Any], room: TheRoom) -> Response[Any]:
    """What POST /admin/api/email/queue/retry does."""

    def words(told: dict[str, Any]) -> str:
        rest = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in told["refused_by_reason"].items())
        more = f" {told['remaining']} more wait for another press." if told["remaining"] else ""
        return f"{told['retried']} mails are sent once more." + (f" Not sent again: {rest}." if rest else "") + more

    return await _queue(request, room, operations.retry_email_queue.fn, words)
