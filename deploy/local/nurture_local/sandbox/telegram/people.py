"""The people behind the chats: what they say and press, and whether they have blocked the bot.

Each act is one transaction: what was done, and the update that tells the bot.
"""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar
from uuid import uuid4

from nurture_local.sandbox.behaviour import Deed
from nurture_local.sandbox.ledger import Due, Ledger, insert_events
from nurture_local.sandbox.telegram import habits, markup, rows, update_rows
from nurture_local.sandbox.telegram.formatting import Entity, Formatted, units
from nurture_local.sandbox.telegram.updates import Updates

REPLIES = ("Thank you!", "Sounds good, thanks.", "Got it.", "I will have a look this evening.", "Nice 🙂 thank you")
_TOLD = "the bot is told"
T = TypeVar("T")


class CannotAct(Exception):
    """The person cannot do this now; the text says why and what would have to be done first."""


class People:
    """Acts of people, by hand or by habit, at the business time now."""

    def __init__(self, ledger: Ledger, updates: Updates) -> None:
        self._ledger = ledger
        self._updates = updates
        self._listening: dict[tuple[int, int], set[asyncio.Event]] = {}

    async def bot_of(self, chat_id: int, named: int | None = None) -> int:
        """Which bot a chat talks to: the named one, the only one it knows, else the only one there is. Raises CannotAct."""
        if named is not None:
            return named
        in_chat = await self._ledger.read(lambda connection: rows.bots_of_chat(connection, chat_id))
        found = in_chat if len(in_chat) == 1 else await self._ledger.read(rows.bots)
        if len(found) == 1:
            return found[0]
        if not found:
            raise CannotAct("no bot has called the sandbox yet: start one, or name it with `bot`")
        raise CannotAct(f"several bots have called: name one of {', '.join(map(str, found))} with `bot`")

    async def say(self, bot_id: int, chat_id: int, text: str, reply_to: int | None = None) -> int:
        """Write to the bot; the message's number. `/start` unblocks first, as the button in the app does.

        Raises CannotAct from a chat that has blocked the bot, and for a text that is empty or too long.
        """
        _check_chat(chat_id)
        text = text.strip()
        if not text or units(text) > 4096:
            raise CannotAct("a message has 1 to 4096 characters")

        def change(connection: sqlite3.Connection) -> int:
            if rows.is_blocked(connection, bot_id, chat_id):
                if text.partition(" ")[0] != "/start":
                    raise CannotAct(f"chat {chat_id} has blocked the bot: unblock it, or say /start")
                self._set_blocked(connection, bot_id, chat_id, blocked=False)
            return self._say(connection, bot_id, chat_id, text, reply_to)

        return await self._act(bot_id, change)

    async def press(self, message_id: int, button: str | int | None = None) -> str:
        """Press a callback button, by its data, its wording or its place from 0; without any, the first one.

        The query's id. Raises CannotAct when there is no such message or button, or the bot is blocked.
        """
        pressed = await self._ledger.read(lambda connection: rows.turn(connection, None, message_id))
        if pressed is None or pressed.kind != "bot":
            raise CannotAct(f"no bot has sent a message {message_id}")
        data = _data_of(pressed, button)

        def change(connection: sqlite3.Connection) -> str:
            if rows.is_blocked(connection, pressed.bot_id, pressed.chat_id):
                raise CannotAct(f"chat {pressed.chat_id} has blocked the bot: unblock it first")
            if pressed.message_seq is not None:
                deed = Deed("pressed", "chat", 0.0, data)
                insert_events(connection, [self._ledger.event_row(pressed.message_seq, deed, time.time())])
                connection.execute(
                    "update events set done_at = happens_at, attempts = 1, outcome = ? where seq = last_insert_rowid()",
                    (_TOLD,),
                )
            return self._press(connection, pressed, data)

        return await self._act(pressed.bot_id, change)

    async def set_blocked(self, bot_id: int, chat_id: int, *, blocked: bool) -> bool:
        """Block or unblock the bot; whether that changed anything."""
        _check_chat(chat_id)

        def change(connection: sqlite3.Connection) -> bool:
            if rows.is_blocked(connection, bot_id, chat_id) == blocked:
                return False
            self._set_blocked(connection, bot_id, chat_id, blocked=blocked)
            return True

        return await self._act(bot_id, change)

    async def carry_out(self, event: Due) -> str:
        """Do what was planned with a message; how it went. The event is done with the act, in one transaction."""

        def change(connection: sqlite3.Connection) -> tuple[int | None, str]:
            turn = rows.turn_of(connection, event.email_id)
            if turn is None:
                return None, "nothing to do: the message is gone"
            done = connection.execute(
                "update events set done_at = ? where seq = ? and done_at is null", (time.time(), event.seq)
            )
            if not done.rowcount:
                return None, "nothing to do: it was done"
            return turn.bot_id, self._by_habit(connection, event, turn)

        bot_id, outcome = await self._ledger.write(change)
        if bot_id is not None:
            self._updates.arrived(bot_id)
        return outcome

    def _by_habit(self, connection: sqlite3.Connection, event: Due, turn: rows.Turn) -> str:
        if event.kind == "read":
            return "bots are not told"
        if rows.is_blocked(connection, turn.bot_id, turn.chat_id):
            return "nothing to do: the chat has blocked the bot"
        match event.kind:
            case "replied":
                self._say(connection, turn.bot_id, turn.chat_id, REPLIES[turn.message_id % len(REPLIES)], None)
            case "pressed":
                if not any(button.get("callback_data") == event.link for button in markup.buttons(turn.keyboard)):
                    return "nothing to press: the button is gone"
                self._press(connection, turn, event.link or "")
            case _:
                self._set_blocked(connection, turn.bot_id, turn.chat_id, blocked=True)
        return _TOLD

    @asynccontextmanager
    async def listening(self, bot_id: int, chat_id: int) -> AsyncIterator[Callable[[float], Awaitable[None]]]:
        """Gives a wait for the bot's next message to this chat, or for so many seconds."""
        heard = asyncio.Event()
        events = self._listening.setdefault((bot_id, chat_id), set())
        events.add(heard)

        async def answer(seconds: float) -> None:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await heard.wait()

        try:
            yield answer
        finally:
            events.discard(heard)
            if not events:
                self._listening.pop((bot_id, chat_id), None)

    def written_to(self, bot_id: int, chat_id: int) -> None:
        """The bot has written to this chat."""
        for event in self._listening.get((bot_id, chat_id), ()):
            event.set()

    async def _act(self, bot_id: int, change: Callable[[sqlite3.Connection], T]) -> T:
        result = await self._ledger.write(change)
        self._updates.arrived(bot_id)
        return result

    def _say(self, connection: sqlite3.Connection, bot_id: int, chat_id: int, text: str, reply_to: int | None) -> int:
        word = text.split(maxsplit=1)[0]
        entities = [Entity("bot_command", 0, units(word))] if word.startswith("/") and len(word) > 1 else []
        said = rows.add_turn(
            connection,
            bot_id,
            chat_id,
            "text",
            self._ledger.business_time(),
            Formatted(text, entities),
            reply_to=reply_to,
        )
        content = rows.message(said)
        answered = rows.turn(connection, bot_id, reply_to) if reply_to is not None else None
        if answered is not None and answered.chat_id == chat_id:
            content["reply_to_message"] = rows.message(answered)
        if not rows.is_blocked(connection, bot_id, chat_id):
            rows.set_blocked(connection, bot_id, chat_id, blocked=False)  # so that the chat is known to be the bot's
        update_rows.add_update(connection, bot_id, "message", content)
        return said.message_id

    def _press(self, connection: sqlite3.Connection, turn: rows.Turn, data: str) -> str:
        wording = next(
            (str(one["text"]) for one in markup.buttons(turn.keyboard) if one.get("callback_data") == data), data
        )
        at = self._ledger.business_time()
        rows.add_turn(connection, turn.bot_id, turn.chat_id, "press", at, Formatted(wording), reply_to=turn.message_id)
        query_id = str(uuid4().int >> 65)
        connection.execute(
            "insert into telegram_queries values (?,?,?,?,null)", (query_id, turn.bot_id, turn.message_id, time.time())
        )
        content: dict[str, Any] = {
            "id": query_id,
            "from": rows.person_user(turn.chat_id),
            "message": rows.message(turn),
            "chat_instance": str(turn.chat_id * 7919 + turn.bot_id),
            "data": data,
        }
        update_rows.add_update(connection, turn.bot_id, "callback_query", content)
        return query_id

    def _set_blocked(self, connection: sqlite3.Connection, bot_id: int, chat_id: int, *, blocked: bool) -> None:
        at = self._ledger.business_time()
        rows.set_blocked(connection, bot_id, chat_id, blocked)
        rows.add_turn(connection, bot_id, chat_id, "block" if blocked else "unblock", at, Formatted(""))
        user = rows.bot_user(bot_id)
        kicked, member = {"user": user, "status": "kicked", "until_date": 0}, {"user": user, "status": "member"}
        content = {
            "chat": rows.chat_object(chat_id),
            "from": rows.person_user(chat_id),
            "date": rows.unix(at),
            "old_chat_member": member if blocked else kicked,
            "new_chat_member": kicked if blocked else member,
        }
        update_rows.add_update(connection, bot_id, "my_chat_member", content)


def _check_chat(chat_id: int) -> None:
    if chat_id < habits.FIRST_CHAT:
        raise CannotAct(f"chat {chat_id} is nobody's: people have chat ids from {habits.FIRST_CHAT} up")


def _data_of(turn: rows.Turn, button: str | int | None) -> str:
    found = [one for one in markup.buttons(turn.keyboard) if one.get("callback_data")]
    if isinstance(button, int) and 0 <= button < len(markup.buttons(turn.keyboard)):
        found = [one for one in [markup.buttons(turn.keyboard)[button]] if one.get("callback_data")]
    elif button is not None:
        found = [one for one in found if button in (one["callback_data"], one["text"])]
    if not found:
        raise CannotAct(f"message {turn.message_id} has no such callback button")
    return found[0]["callback_data"]
