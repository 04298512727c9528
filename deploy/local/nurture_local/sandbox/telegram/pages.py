"""Pages where a person is played by hand: a chat as the app shows it, and the stand-in for t.me."""

import re
import secrets
from collections.abc import Awaitable
from typing import Any

from litestar import Request, Response, get, post
from litestar.datastructures import State
from msgspec import Struct

from nurture_local.sandbox import inbox, records
from nurture_local.sandbox.behaviour import Deed
from nurture_local.sandbox.courier import Courier
from nurture_local.sandbox.errors import ApiError
from nurture_local.sandbox.ledger import Ledger
from nurture_local.sandbox.telegram import formatting, habits, markup, rows
from nurture_local.sandbox.telegram.people import CannotAct, People

TURNS = 100
ANSWER_SECONDS = 0.7
HTTP = Request[Any, Any, State]
_USERNAME = re.compile(r"sandbox_(\d+)_bot", re.IGNORECASE)
_PAYLOAD = re.compile(r"[A-Za-z0-9_-]{0,64}")
_WORDS = {"block": "blocked the bot", "unblock": "unblocked the bot"}


class Button(Struct, frozen=True):
    """A button in a bubble. `act` is what the page sends for it; without one it cannot be played here."""

    text: str
    hint: str
    act: str | None
    value: str


class Bubble(Struct, frozen=True):
    """A turn as the page shows it; `note` instead of a bubble for what was done and not said. `body` is safe HTML."""

    number: int
    by_bot: bool
    at: str
    edited: bool
    body: str
    note: str | None
    keyboard: list[list[Button]]
    state: str | None
    ledger_id: str | None
    delivery_id: str | None
    timeline: list[records.Event]


def _button(one: dict[str, Any], tracked: list[str]) -> Button:
    text = str(one.get("text", ""))
    if data := one.get("callback_data"):
        return Button(text, f"Sends callback data {data}", "press", data)
    url = str(one.get("url") or "")
    if url in tracked:
        return Button(f"{text} ↗", f"Follows {url}", "follow", url)
    return Button(f"{text} ↗" if url else text, f"Not one of our tracked links: {url}" if url else "", None, "")


def _bubble(connection: Any, turn: rows.Turn) -> Bubble:
    found = None
    if turn.message_seq is not None:
        (ledger_id,) = connection.execute("select id from messages where seq = ?", (turn.message_seq,)).fetchone()
        found = records.find(connection, ledger_id)
    said = turn.formatted
    buttons = markup.buttons(turn.keyboard)
    tracked = habits.tracked_links(said.entities, buttons)
    rows_of_buttons = (turn.keyboard or {}).get("inline_keyboard", [])
    note = f"pressed “{turn.text}”" if turn.kind == "press" else _WORDS.get(turn.kind)
    return Bubble(
        number=turn.message_id,
        by_bot=turn.kind == "bot",
        at=turn.at,
        edited=turn.edited_at is not None,
        body=formatting.as_html(said),
        note=note,
        keyboard=[[_button(one, tracked) for one in row] for row in rows_of_buttons],
        state=found.state if found else None,
        ledger_id=found.id if found else None,
        delivery_id=found.delivery_id if found else None,
        timeline=records.timeline(connection, turn.message_seq) if turn.message_seq is not None else [],
    )


@get("/chats/{bot_id:int}/{chat_id:int}")
async def chat_page(request: HTTP, bot_id: int, chat_id: int) -> Response[str]:
    """A chat with everything said in it, and ways to act in it."""
    return await _chat(request, bot_id, chat_id)


async def _chat(request: HTTP, bot_id: int, chat_id: int, refusal: str = "") -> Response[str]:
    ledger: Ledger = request.app.state.ledger

    def query(connection: Any) -> tuple[list[Bubble], bool]:
        turns = rows.conversation(connection, bot_id, chat_id, TURNS)
        return [_bubble(connection, turn) for turn in turns], rows.is_blocked(connection, bot_id, chat_id)

    bubbles, blocked = await ledger.read(query)
    name = habits.first_name(chat_id) if chat_id > 0 else f"Group {-chat_id}"
    return inbox.page(
        "chat.html",
        status=409 if refusal else 200,
        title=f"Chat {chat_id}",
        bot_id=bot_id,
        bot=rows.username(bot_id),
        chat_id=chat_id,
        name=name,
        habit=habits.habit(chat_id),
        bubbles=bubbles,
        blocked=blocked,
        playable=chat_id >= habits.FIRST_CHAT,
        refusal=refusal,
    )


@post("/chats/{bot_id:int}/{chat_id:int}/play", status_code=303)
async def play_chat(request: HTTP, bot_id: int, chat_id: int) -> Response[str]:
    """Do what was pressed or written, give the bot a moment to answer, and show the chat again."""
    form = {key: values[0] for key, values in (await inbox.own_form(request)).items()}
    people: People = request.app.state.people
    # Listening begins with the act: a bot may answer before the act's own call is back.
    async with people.listening(bot_id, chat_id) as answer:
        try:
            answers = await _played(request, bot_id, chat_id, form)
        except CannotAct as error:
            return await _chat(request, bot_id, chat_id, str(error))
        if answers:
            await answer(ANSWER_SECONDS)
    return Response("", status_code=303, headers={"location": f"/chats/{bot_id}/{chat_id}#end"})


async def _played(request: HTTP, bot_id: int, chat_id: int, form: dict[str, str]) -> bool:
    """Whether the bot hears of it. Raises CannotAct, ApiError."""
    people: People = request.app.state.people
    match form.get("act"):
        case "say":
            await people.say(bot_id, chat_id, form.get("text", ""))
        case "stop" | "start" as command:
            await people.say(bot_id, chat_id, f"/{command}")
        case "block" | "unblock" as act:
            await people.set_blocked(bot_id, chat_id, blocked=act == "block")
        case "press":
            await people.press(await _of_chat(request, bot_id, chat_id, form), form.get("value"))
        case "follow":
            await _follow(request, await _of_chat(request, bot_id, chat_id, form), form.get("value", ""))
            return False
        case _:
            raise ApiError(422, "validation_error", "act must be say, start, stop, block, unblock, press or follow")
    return True


async def _of_chat(request: HTTP, bot_id: int, chat_id: int, form: dict[str, str]) -> int:
    ledger: Ledger = request.app.state.ledger
    number = form.get("message", "")
    turn = None
    if number.isdigit():
        turn = await ledger.read(lambda connection: rows.turn(connection, bot_id, int(number)))
    if turn is None or turn.chat_id != chat_id or turn.message_seq is None:
        raise ApiError(404, "not_found", f"chat {chat_id} has no message {number} of this bot")
    return turn.message_id


async def _follow(request: HTTP, message_id: int, url: str) -> None:
    ledger: Ledger = request.app.state.ledger
    courier: Courier = request.app.state.courier
    turn = await ledger.read(lambda connection: rows.turn(connection, None, message_id))
    if turn is None or turn.message_seq is None:
        return
    if url not in habits.tracked_links(turn.formatted.entities, markup.buttons(turn.keyboard)):
        raise ApiError(422, "validation_error", "value must be one of the message's own tracked links")
    seq = await ledger.play(turn.message_seq, Deed("clicked", "visit", 0.0, url))
    await courier.carried_out(seq, inbox.PLAY_SECONDS)


async def _bot_named(request: HTTP, name: str) -> int:
    ledger: Ledger = request.app.state.ledger
    match = _USERNAME.fullmatch(name)
    known = await ledger.read(rows.bots)
    if match is None or int(match[1]) not in known:
        raise ApiError(404, "not_found", f"no bot named {name} has called the sandbox")
    return int(match[1])


@get("/t.me/{bot:str}")
async def invitation(request: HTTP, bot: str, start: str = "") -> Response[str]:
    """What a deep link leads to: who invites, and a Start button."""
    await _bot_named(request, bot)
    fresh = 10 * (10**8 + secrets.randbelow(9 * 10**8))
    valid = _PAYLOAD.fullmatch(start) is not None
    return inbox.page("invitation.html", title=f"Open {bot}", bot=bot, start=start, valid=valid, chat_id=fresh)


@post("/t.me/{bot:str}", status_code=303)
async def accept(request: HTTP, bot: str) -> Response[str]:
    """Start was pressed: the chat says `/start <token>` to the bot."""
    form = {key: values[0] for key, values in (await inbox.own_form(request)).items()}
    bot_id = await _bot_named(request, bot)
    start, chat = form.get("start", ""), form.get("chat_id", "").strip()
    if not _PAYLOAD.fullmatch(start):
        raise ApiError(422, "validation_error", "start takes up to 64 of A-Z, a-z, 0-9, _ and -")
    if not re.fullmatch(r"\d{1,16}", chat):
        raise ApiError(422, "validation_error", "chat_id is a whole number, 1000 or more")
    people: People = request.app.state.people
    async with people.listening(bot_id, int(chat)) as answer:
        await _or_refuse(people.say(bot_id, int(chat), f"/start {start}".strip()))
        await answer(ANSWER_SECONDS)
    return Response("", status_code=303, headers={"location": f"/chats/{bot_id}/{int(chat)}#end"})


async def _or_refuse(act: Awaitable[Any]) -> None:
    try:
        await act
    except CannotAct as error:
        raise ApiError(409, "cannot_act", str(error)) from None
