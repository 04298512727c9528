"""Telegram over HTTP: updates from its webhook or from another bot, and links that connect a person's chat."""

import asyncio
import hmac
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Annotated, Any

import structlog
from litestar import Request, Response, post
from litestar.params import PathParameter
from msgspec import Struct
from nurture_chassis.outbox import Saying

from nurture_gateway.api.access import TheRoom
from nurture_gateway.api.described import IdempotencyKey, made, problems, raw_body, refusals
from nurture_gateway.api.nurture import person
from nurture_gateway.idempotency import Answer, answer, once
from nurture_gateway.problems import Problem, field_errors
from nurture_gateway.room import Room
from nurture_gateway.telegram_updates import Malformed, updates

log = structlog.get_logger()
LINK_LIFE = timedelta(days=30)
SECRET_HEADER = "x-telegram-bot-api-secret-token"  # noqa: S105 - a header's name


class UpdatesTaken(Struct):
    """How many updates are stored and will be handled."""

    accepted: int


class ChatLink(Struct):
    """Opened by the person in Telegram, it connects their chat. It works once."""

    url: str
    expires_at: datetime


_UPDATE = {
    "update_id": 735114701,
    "message": {
        "message_id": 12,
        "date": 1767603600,
        "chat": {"id": 100200300, "type": "private"},
        "from": {"id": 100200300, "is_bot": False, "first_name": "Ada"},
        "text": "Thank you!",
    },
}


async def _keep(room: Room, found: list[dict[str, Any]]) -> None:
    results = await asyncio.gather(*(room.updates.put(update) for update in found), return_exceptions=True)
    failed = next((result for result in results if isinstance(result, BaseException)), None)
    if failed is not None:
        log.warning("updates.not_stored", updates=len(found), error=type(failed).__name__)
        raise Problem(
            "unavailable", "The updates could not be stored; send them again.", headers={"Retry-After": "5"}
        ) from None


@post(
    "/telegram/updates",
    tags=["Telegram"],
    summary="Pass on updates of the bot",
    description="For installations where another program receives the bot's updates (TELEGRAM_UPDATES=off): one update, a "
    'list of up to 1,000, or {"updates": [...]}, as the Bot API gives them. An update that comes again changes nothing.',
    status_code=202,
    operation_class=raw_body("The updates as received", {"application/json": _UPDATE}),
    responses={202: made(UpdatesTaken, "Stored, will be handled", {"accepted": 1}), **problems(413)},
)
async def pass_on_updates(request: Request[Any, Any, Any], room: TheRoom) -> UpdatesTaken:
    """Take updates that another program received."""
    try:
        found = updates(await request.body())
    except Malformed as error:
        raise field_errors([(error.field, error.reason)]) from None
    await _keep(room, found)
    return UpdatesTaken(len(found))


@post(
    "/telegram/webhook",
    tags=["Telegram"],
    summary="Take an update from Telegram",
    description="Carries TELEGRAM_WEBHOOK_SECRET in X-Telegram-Bot-Api-Secret-Token; needs no API key. Answered 200 when "
    "stored; 503 when it could not be, and Telegram tries again.",
    status_code=200,
    security=[],
    operation_class=raw_body("The update as sent", {"application/json": _UPDATE}),
    responses={200: made(dict[str, str], "Stored", {"status": "stored"}), **problems(413)},
)
async def take_update(request: Request[Any, Any, Any], room: TheRoom) -> Response[bytes]:
    """Check the secret, keep the update, answer once it is committed."""
    secret = room.config.telegram_webhook_secret.reveal()
    if not secret:
        raise Problem("telegram_secret_missing", "This gateway has no secret to know Telegram's webhooks by.")
    given = request.headers.get(SECRET_HEADER, "")
    if not hmac.compare_digest(_hashed(given), _hashed(secret)):
        room.rates.forged(request)
        raise Problem("bad_telegram_secret", "The secret token is missing or not the right one.")
    try:
        found = updates(await request.body())
    except Malformed as error:
        # Telegram would send it again for a day, and it would not become any better.
        log.warning("updates.unreadable", reason=error.reason)
        return Response(b'{"status":"ignored"}', status_code=200, media_type="application/json")
    await _keep(room, found)
    return Response(b'{"status":"stored"}', status_code=200, media_type="application/json")


@post(
    "/users/{ref:str}/telegram-link",
    tags=["Telegram"],
    summary="Make a link that connects a chat",
    description="Give the link to that person only. Whoever opens it first and presses Start gets the person's messages in "
    "their chat from then on, and has agreed to them. It works once, for 30 days.",
    status_code=200,
    responses={
        200: made(
            ChatLink,
            "The link",
            {"url": "https://t.me/acme_bot?start=AQAB…", "expires_at": "2026-02-04T09:00:00Z"},
        ),
        **refusals(404, 409),
    },
)
async def make_link(
    request: Request[Any, Any, Any],
    room: TheRoom,
    ref: Annotated[str, PathParameter(description="Id or external_id.", max_length=200)],
    idempotency_key: IdempotencyKey = None,
) -> Response[Any]:
    """A personal link to the bot."""

    async def effect(tx: Saying) -> Answer:
        user_id = await person(tx, ref)
        bot = await tx.fetchrow("telegram_bot")
        if bot is None or not bot["ready"] or not bot["bot_username"]:
            problem = bot["problem"] if bot else None
            raise Problem(
                "telegram_not_ready", f"There is no bot to link to: {problem or 'its name is not known yet'}."
            )
        made_at = int(room.clock.real().timestamp())
        token = room.tokens.chat_token(user_id, made_at)
        url = f"{room.config.telegram_link_url.rstrip('/')}/{bot['bot_username']}?start={token}"
        return answer(200, ChatLink(url, datetime.fromtimestamp(made_at, UTC) + LINK_LIFE))

    return await once(request, room, effect)


def _hashed(text: str) -> bytes:
    return sha256(text.encode()).digest()
