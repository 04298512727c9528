"""The sandbox's own JSON: what was sent, counts, faults on demand, health."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.datastructures import State
from litestar.response import Stream

from nurture_local.sandbox import calls, records
from nurture_local.sandbox.chaos import Chaos, ChaosChange
from nurture_local.sandbox.courier import Courier
from nurture_local.sandbox.errors import ApiError, invalid
from nurture_local.sandbox.ledger import Ledger
from nurture_local.sandbox.telegram.poster import Poster

PAGE = 200
EFFECTS_PAGE = 2_000
HTTP = Request[Any, Any, State]


def _shown(message: records.Message) -> bytes:
    return msgspec.json.encode(
        {
            "id": message.id,
            "channel": message.channel,
            "to": message.to,
            "from": message.sender,
            "subject": message.subject,
            "text": message.text,
            "html": message.html,
            "delivery_id": message.delivery_id,
            "idempotency_key": message.idempotency_key,
            "at": message.at,
            "state": message.state,
            "tags": {tag["name"]: tag["value"] for tag in message.tags},
            "headers": message.headers,
            "payload_sha256": message.payload_sha256,
            "message_id": message.message_id,
            "buttons": message.buttons,
        }
    )


@get("/api/messages")
async def messages(
    request: HTTP, channel: str | None = None, to: str | None = None, limit: int | None = None, after: str | None = None
) -> Stream:
    """Every accepted message, oldest first; `after` is the id of the last one already seen."""
    ledger: Ledger = request.app.state.ledger
    seq = 0
    if after:
        known = await ledger.read(lambda connection: records.number_of(connection, after))
        if known is None:
            raise invalid(f"after={after}: no message has this id")
        seq = known
    if limit is not None and limit < 1:
        raise invalid("limit must be 1 or more")

    async def parts() -> AsyncIterator[bytes]:
        last, left, separator = seq, limit, b"["
        while left is None or left > 0:
            size = PAGE if left is None else min(PAGE, left)
            found = await ledger.read(partial(records.page, after=last, limit=size, channel=channel, to=to))
            for message in found:
                yield separator + _shown(message)
                separator = b",\n"
            if len(found) < size:
                break
            last = found[-1].seq
            left = None if left is None else left - size
        yield b"[]" if separator == b"[" else b"]"

    return Stream(parts(), media_type="application/json")


@get("/api/ledger/summary")
async def ledger_summary(request: HTTP) -> dict[str, Any]:
    """Counts over the whole ledger."""
    ledger: Ledger = request.app.state.ledger
    return await ledger.read(records.summary)


@get("/api/ledger/effects")
async def ledger_effects(request: HTTP, after: int = 0) -> list[list[Any]]:
    """A page of what `nurture verify` compares, in the order in which it was taken; `after` is the last number already seen."""
    ledger: Ledger = request.app.state.ledger
    return await ledger.read(partial(records.effects, after=after, limit=EFFECTS_PAGE))


@get("/api/calls")
async def troubled_calls(request: HTTP, channel: str | None = None) -> list[dict[str, Any]]:
    """Every call that did not simply work, oldest first."""
    ledger: Ledger = request.app.state.ledger
    return await ledger.read(partial(calls.listed, channel=channel))


def _chaos(request: HTTP) -> Response[bytes]:
    chaos: Chaos = request.app.state.chaos
    courier: Courier = request.app.state.courier
    courier.wake()
    return Response(msgspec.json.encode(chaos.settings), media_type="application/json", status_code=200)


@get("/api/chaos")
async def show_chaos(request: HTTP) -> Response[bytes]:
    """The faults in force."""
    return _chaos(request)


@post("/api/chaos", status_code=200)
async def change_chaos(request: HTTP) -> Response[bytes]:
    """Set some faults; fields that are not named stay."""
    try:
        change = msgspec.json.decode(await request.body(), type=ChaosChange)
    except msgspec.DecodeError as error:
        raise ApiError(422, "validation_error", f"chaos: {error}") from None
    chaos: Chaos = request.app.state.chaos
    chaos.change(change)
    return _chaos(request)


@delete("/api/chaos", status_code=200)
async def reset_chaos(request: HTTP) -> Response[bytes]:
    """No faults."""
    chaos: Chaos = request.app.state.chaos
    chaos.reset()
    return _chaos(request)


@get("/health/live")
async def live() -> dict[str, str]:
    return {"status": "ok"}


@get("/health/ready")
async def ready(request: HTTP) -> Response[dict[str, Any]]:
    """Ready when the ledger answers and the courier runs."""
    ledger: Ledger = request.app.state.ledger
    courier: Courier = request.app.state.courier
    poster: Poster = request.app.state.poster
    reasons = [] if courier.running else ["the webhook courier is not running"]
    reasons += [] if poster.running else ["the poster of Telegram updates is not running"]
    await ledger.next_due()
    body = {"status": "ok" if not reasons else "unavailable", "reasons": reasons, "provider": "sandbox"}
    return Response(body, status_code=503 if reasons else 200)
