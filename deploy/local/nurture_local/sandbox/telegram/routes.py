"""The routes: `/bot<token>/<method>`, and `/api/telegram/*` where a test plays a person."""

import asyncio
import re
import time
from collections.abc import Awaitable
from hashlib import sha256
from typing import Any, TypeVar

import msgspec
import structlog
from litestar import Request, Response, post, route
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from msgspec import Struct

from nurture_local.sandbox import calls
from nurture_local.sandbox.calls import Call
from nurture_local.sandbox.chaos import Chaos
from nurture_local.sandbox.errors import ApiError, BrokenUpstream, ConnectionDropped
from nurture_local.sandbox.ledger import Ledger
from nurture_local.sandbox.telegram import answers, arguments, rows
from nurture_local.sandbox.telegram.answers import BotError
from nurture_local.sandbox.telegram.methods import WRITES, Methods
from nurture_local.sandbox.telegram.people import CannotAct, People

HTTP = Request[Any, Any, State]
TOKEN = re.compile(r"bot([1-9]\d{0,15}):([A-Za-z0-9_-]{20,})")
_DESCRIPTIONS = {"setwebhook": "Webhook was set", "deletewebhook": "Webhook was deleted"}
T = TypeVar("T")
log = structlog.get_logger()


def _answer(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response[bytes]:
    return Response(body, media_type="application/json", status_code=status, headers=headers)


@route("/{token:str}/{method:str}", http_method=["GET", "POST"], status_code=200)
async def call_method(request: HTTP, token: str, method: str) -> Response[bytes]:
    """One call of the Bot API. The token is in the path, so nothing here may log it."""
    if not token.startswith("bot"):
        raise NotFoundException
    name = method.lower()
    try:
        match = TOKEN.fullmatch(token)
        if match is None or match[2].startswith("revoked"):
            raise answers.unauthorized()
        read = await arguments.read(request)
        result = await _unless_gone(request, _call(request, int(match[1]), name, read))
    except BotError as error:
        return _answer(error.body(), error.code, error.headers)
    except (ConnectionDropped, BrokenUpstream):
        raise
    except Exception:
        log.exception("bot_api_call_failed", method=name)
        return _answer(BotError(500, "Internal Server Error").body(), 500)
    return _answer(answers.success(result, _DESCRIPTIONS.get(name)))


async def _call(request: HTTP, bot_id: int, name: str, read: arguments.Arguments) -> Any:
    chaos: Chaos = request.app.state.chaos
    methods: Methods = request.app.state.telegram_methods
    faults = chaos.settings.telegram
    if name not in WRITES:
        return await methods.call(bot_id, name, read)
    try:
        fate = await faults.before_effect()
        result = await methods.call(bot_id, name, read)
        await faults.after_effect(fate)
    except (BotError, BrokenUpstream, ConnectionDropped) as error:
        await _note(request, read, error)
        raise
    return result


async def _note(request: HTTP, read: arguments.Arguments, error: BotError | BrokenUpstream | ConnectionDropped) -> None:
    """Write down a call that did not simply work."""
    ledger: Ledger = request.app.state.ledger
    reply = str(error.code) if isinstance(error, BotError) else str(getattr(error, "status", "lost"))
    line = Call(
        channel="telegram",
        real_at=time.time(),
        key=None,
        deliveries=[],
        recipients=[read.text("chat_id")],
        payload_sha256=sha256(await request.body()).hexdigest(),
        reply=reply,
        effective=error.effective,
    )
    await ledger.write(lambda connection: calls.keep(connection, line))


async def _unless_gone(request: HTTP, call: Awaitable[T]) -> T:
    """The result of `call`, which ends early when its caller hangs up: a poll that nobody hears must take no updates."""
    work = asyncio.ensure_future(call)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ConnectionDropped(effective=False)
        return work.result()
    finally:
        work.cancel()
        gone.cancel()


async def _disconnected(request: HTTP) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class Say(Struct, forbid_unknown_fields=True):
    """What a person writes; `/start <token>` and `/stop` are texts like any other."""

    chat_id: int
    text: str
    reply_to: int | None = None
    bot: int | None = None


class Press(Struct, forbid_unknown_fields=True):
    """Which callback button: its data, its wording or its place from 0; the first one without."""

    message_id: int
    button: str | int | None = None


class Whom(Struct, forbid_unknown_fields=True):
    """A chat, and the bot where there are several."""

    chat_id: int
    bot: int | None = None


async def _read(request: HTTP, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except msgspec.DecodeError as error:
        raise ApiError(422, "validation_error", str(error)) from None


async def _act(act: Awaitable[T]) -> T:
    try:
        return await act
    except CannotAct as error:
        raise ApiError(409, "cannot_act", str(error)) from None


@post("/api/telegram/say", status_code=200)
async def say(request: HTTP) -> dict[str, Any]:
    """A person writes to the bot."""
    people: People = request.app.state.people
    asked = await _read(request, Say)
    bot_id = await _act(people.bot_of(asked.chat_id, asked.bot))
    return {"bot": bot_id, "message_id": await _act(people.say(bot_id, asked.chat_id, asked.text, asked.reply_to))}


@post("/api/telegram/press", status_code=200)
async def press(request: HTTP) -> dict[str, str]:
    """A person presses a button."""
    people: People = request.app.state.people
    asked = await _read(request, Press)
    return {"callback_query_id": await _act(people.press(asked.message_id, asked.button))}


@post(["/api/telegram/block", "/api/telegram/unblock"], status_code=200)
async def block(request: HTTP) -> dict[str, Any]:
    """A person blocks or unblocks the bot; `changed` is false when it already was so."""
    people: People = request.app.state.people
    asked = await _read(request, Whom)
    bot_id = await _act(people.bot_of(asked.chat_id, asked.bot))
    blocked = request.url.path.endswith("/block")
    changed = await _act(people.set_blocked(bot_id, asked.chat_id, blocked=blocked))
    return {"bot": bot_id, "username": rows.username(bot_id), "changed": changed}
