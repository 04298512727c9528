"""Asking a person whether an address is theirs, and their answer: a page with a button, since scanners follow every link."""

from typing import Annotated, Any

from litestar import Request, Response, get, post
from litestar.params import FromPath
from nurture_chassis.outbox import Saying

from nurture_gateway.api.access import TheRoom
from nurture_gateway.api.described import IdempotencyKey, made, refusals
from nurture_gateway.api.nurture import person
from nurture_gateway.api.users import PATH_REF
from nurture_gateway.html import html
from nurture_gateway.idempotency import Answer, answer, once
from nurture_gateway.room import Room
from nurture_gateway.verification import VerificationSent, ask_to_verify, hashed


@post(
    "/users/{ref:str}/verification",
    tags=["People"],
    summary="Ask whether an email address is the person's",
    description="Sends a mail with a link, good for seven days; `is_verified` of their preferences says whether it was followed. "
    "One mail a minute.",
    status_code=202,
    responses={202: made(VerificationSent, "Stored, will be sent"), **refusals(404, 409)},
)
async def send_verification(
    request: Request[Any, Any, Any],
    room: TheRoom,
    ref: Annotated[str, PATH_REF],
    idempotency_key: IdempotencyKey = None,
) -> Response[Any]:
    """Send the mail."""

    async def effect(tx: Saying) -> Answer:
        sent = await ask_to_verify(tx, room.tokens, await person(tx, ref), room.clock.now())
        return answer(202, sent, sent.status_url)

    return await once(request, room, effect)


@get("/v/{token:str}", include_in_schema=False)
async def show_verification(room: TheRoom, token: FromPath[str]) -> Response[bytes]:
    """The page with the button."""
    return _page(await _state(room, token))


@post("/v/{token:str}", status_code=200, include_in_schema=False)
async def verify(room: TheRoom, token: FromPath[str]) -> Response[bytes]:
    """The button: stored before this answers."""
    state = await _state(room, token)
    if state == "ask":
        async with room.outbox.transaction() as tx:
            await tx.execute("verify_address", hashed(token), room.clock.now())
        state = "done"
    return _page(state)


async def _state(room: Room, token: str) -> str:
    # The signature first: what is not ours costs no question to the database.
    if room.tokens.read_verify(token) is None:
        return "unknown"
    return await room.database.fetchval("verification_state", hashed(token), room.clock.now()) or "unknown"


def _page(state: str) -> Response[bytes]:
    return html("verify.html", {"unknown": 404, "expired": 410}.get(state, 200), state=state)
