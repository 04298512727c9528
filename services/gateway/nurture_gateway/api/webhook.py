"""The provider's webhooks: verified on their raw bytes, reduced to ids, stored before they are answered."""

from typing import Any

import structlog
from litestar import Request, Response, post
from nurture_contracts.events import WebhookReceived

from nurture_gateway.api.access import TheRoom
from nurture_gateway.api.described import made, problems, raw_body
from nurture_gateway.problems import Problem
from nurture_gateway.room import Room
from nurture_gateway.webhooks import Forged, parse, verify

log = structlog.get_logger()
_EXAMPLE = {
    "type": "email.delivered",
    "created_at": "2026-01-05T09:00:03Z",
    "data": {
        "email_id": "56761188-7520-42d8-8898-ff6fc54ce618",
        "tags": {"delivery_id": "0198b2f4-6c00-7000-8000-000000000001"},
    },
}


@post(
    "/admin/api/email/webhook",
    tags=["Email"],
    summary="Take an event from Resend",
    description="Signed with RESEND_WEBHOOK_SECRET (headers svix-id, svix-timestamp, svix-signature); needs no API key. "
    "Answered 200 when stored, also when it was stored before and for event types and ids that nobody here knows; 401 when it is "
    "forged or older than five minutes, 429 when that happens too often from one address; 503 when it could not be stored.",
    status_code=200,
    security=[],
    operation_class=raw_body("The event as sent", {"application/json": _EXAMPLE}),
    responses={200: made(dict[str, str], "Stored", {"status": "stored"}), **problems(413)},
)
async def take_webhook(request: Request[Any, Any, Any], room: TheRoom) -> Response[bytes]:
    """Verify, keep the ids, answer once they are committed."""
    if not room.webhook_keys:
        raise Problem("webhook_secret_missing", "This gateway has no secret to check a webhook's signature with.")
    body = await request.body()
    try:
        webhook_id = verify(room.webhook_keys, request.headers, body, room.clock.real().timestamp())
    except Forged as error:
        room.rates.forged(request)
        raise Problem("bad_signature", f"{error}.") from None
    event = parse(webhook_id, body, room.clock.now())
    if event is None:
        log.warning("webhook.unreadable", webhook_id=webhook_id)
        return Response(b'{"status":"ignored"}', status_code=200, media_type="application/json")
    await keep(room, event)
    return Response(b'{"status":"stored"}', status_code=200, media_type="application/json")


async def keep(room: Room, event: WebhookReceived) -> None:
    """Returns when the event is committed. Raises Problem 503 when it is not: it has to be sent again."""
    try:
        await room.webhooks.put(event)
    except Exception as error:
        log.warning("webhook.not_stored", webhook_id=event.webhook_id, error=type(error).__name__)
        raise Problem(
            "unavailable", "The event could not be stored; send it again.", headers={"Retry-After": "5"}
        ) from None
