"""Bounces and complaints that come back as mail, for those who send over SMTP."""

import asyncio
from typing import Any, Literal
from uuid import UUID

from litestar import Request, post
from msgspec import Struct

from nurture_gateway.api.access import TheRoom
from nurture_gateway.api.described import made, problems, raw_body
from nurture_gateway.api.webhook import keep
from nurture_gateway.problems import Problem
from nurture_gateway.reports import NoReport, read

LARGEST = 32 * 1024 * 1024
"""A report may hold the whole mail that it is about."""
_EXAMPLE = """\
From: MAILER-DAEMON@mx.example.org
To: hello@example.com
Content-Type: multipart/report; report-type=delivery-status; boundary=cut

--cut
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.org

Final-Recipient: rfc822; ada@example.org
Action: failed
Status: 5.1.1

--cut
Content-Type: text/rfc822-headers

Message-ID: <0198b2f4-6c00-7000-8000-000000000001@example.com>

--cut--
"""


class Taken(Struct, kw_only=True):
    """What became of the mail: stored as an event of this delivery, or ignored, with the reason."""

    status: Literal["stored", "ignored"]
    event: str | None = None
    delivery_id: UUID | None = None
    detail: str | None = None


@post(
    "/email/reports",
    tags=["Email"],
    summary="Take a bounce or a complaint that came back as mail",
    description="The mail as it came, headers and all: delivery status notifications (RFC 3464) and abuse reports (RFC 5965) "
    "become events of the delivery that they are about, as a provider's webhooks do. Whatever else comes to that mailbox is "
    "answered 200 and ignored. The same report twice is one event.",
    status_code=200,
    request_max_body_size=LARGEST,
    operation_class=raw_body("The mail", {"message/rfc822": _EXAMPLE}),
    responses={
        200: made(
            Taken,
            "Stored, or ignored",
            {"status": "stored", "event": "bounced", "delivery_id": "0198b2f4-6c00-7000-8000-000000000001"},
        ),
        **problems(413),
    },
)
async def take_report(request: Request[Any, Any, Any], room: TheRoom) -> Taken:
    """Read it, keep the ids, answer once they are committed."""
    body = await request.body()
    if not body.strip():
        raise Problem(
            "malformed_request", "There is no mail in this request.", hint="Send it as the body, headers and all."
        )
    try:
        event = await asyncio.to_thread(read, body, room.clock.now())
    except NoReport as error:
        return Taken(status="ignored", detail=f"{error}.")
    await keep(room, event)
    return Taken(status="stored", event=event.type.removeprefix("email."), delivery_id=event.delivery_id)
