"""sendMessage and editing: what a bot writes into chats, in the ledger before the bot hears that it went."""

import sqlite3
import time
from hashlib import sha256
from typing import Any
from uuid import uuid4

import msgspec

from nurture_local.sandbox.courier import Courier
from nurture_local.sandbox.ledger import Ledger, insert_events
from nurture_local.sandbox.telegram import formatting, habits, markup, rows
from nurture_local.sandbox.telegram.answers import bad_request, blocked
from nurture_local.sandbox.telegram.arguments import Arguments
from nurture_local.sandbox.telegram.limits import FloodLimits
from nurture_local.sandbox.telegram.people import People

_NOT_MODIFIED = (
    "message is not modified: specified new message content and reply markup are exactly the same as a current "
    "content and reply markup of the message"
)
_MESSAGE = "insert into messages values (?,?,'telegram',?,?,?,?,'',?,null,?,?,'{}','[]','[]',?,?)"


def check_chat(chat_id: int | None) -> int:
    """A chat that exists. Raises BotError."""
    if chat_id is None or 0 <= chat_id < habits.FIRST_CHAT:
        raise bad_request("chat not found")
    if habits.SUPERGROUPS < chat_id < 0:
        raise bad_request(
            "group chat was upgraded to a supergroup chat", migrate_to_chat_id=habits.SUPERGROUPS + chat_id
        )
    return chat_id


class Sending:
    """What bots write. `reading_seconds` is how long a person takes to read, and again to act."""

    def __init__(
        self, ledger: Ledger, courier: Courier, people: People, limits: FloodLimits, reading_seconds: float
    ) -> None:
        self._ledger = ledger
        self._courier = courier
        self._people = people
        self._limits = limits
        self._reading_seconds = reading_seconds

    async def send(self, bot_id: int, arguments: Arguments) -> dict[str, Any]:
        """sendMessage: the Message. Raises BotError, and then nothing was sent."""
        chat_id = check_chat(arguments.chat())
        mode, source = arguments.text("parse_mode"), arguments.text("text")
        said = formatting.parse(source, mode, arguments.structure("entities"))
        keyboard = markup.check(arguments.structure("reply_markup"))
        self._limits.take(bot_id, chat_id)
        buttons = markup.buttons(keyboard)
        links = habits.tracked_links(said.entities, buttons)
        delivery = habits.delivery_id(links, buttons)
        at, real = self._ledger.business_time(), time.time()
        to = str(chat_id)
        digest = sha256(msgspec.json.encode([to, source, mode, keyboard])).hexdigest()
        envelope = msgspec.json.encode({"to": [to], "cc": [], "bcc": [], "reply_to": []}).decode()
        html = source if mode.lower() == "html" else None

        def change(connection: sqlite3.Connection) -> rows.Turn:
            if rows.is_blocked(connection, bot_id, chat_id):
                raise blocked()
            last = rows.last_kind(connection, bot_id, chat_id)
            (seq,) = connection.execute("select coalesce(max(seq), 0) + 1 from messages").fetchone()
            sender = rows.username(bot_id)
            row = (seq, str(uuid4()), at, real, to, sender, delivery, digest, envelope, said.text, html)
            connection.execute(_MESSAGE, row)
            rows.set_blocked(connection, bot_id, chat_id, blocked=False)
            turn = rows.add_turn(connection, bot_id, chat_id, "bot", at, said, markup=keyboard, message_seq=seq)
            # A bot that answers what people do must not set them off again, or the two would never stop.
            if delivery is not None or last in (None, "bot", "unblock"):
                planned = habits.deeds(
                    chat_id, habits.first_press(buttons), next(iter(links), None), self._reading_seconds
                )
                insert_events(connection, [self._ledger.event_row(seq, deed, real) for deed in planned])
            return turn

        turn = await self._ledger.write(change)
        self._courier.wake()
        self._people.written_to(bot_id, chat_id)
        return rows.message(turn)

    async def check_not_blocked(self, bot_id: int, chat_id: int) -> None:
        """Raises BotError (403) when the person has blocked the bot."""
        if await self._ledger.read(lambda connection: rows.is_blocked(connection, bot_id, chat_id)):
            raise blocked()

    async def edit(self, bot_id: int, arguments: Arguments, *, text: bool) -> dict[str, Any]:
        """editMessageText, or editMessageReplyMarkup without `text`: the Message as it is then. Raises BotError."""
        chat_id = check_chat(arguments.chat())
        message_id = arguments.integer("message_id")
        keyboard = markup.check(arguments.structure("reply_markup"))
        said = None
        if text:
            mode = arguments.text("parse_mode")
            said = formatting.parse(arguments.text("text"), mode, arguments.structure("entities"))
        at = self._ledger.business_time()

        def change(connection: sqlite3.Connection) -> rows.Turn:
            before = rows.turn(connection, bot_id, message_id)
            if before is None or before.chat_id != chat_id or before.kind != "bot":
                raise bad_request("message to edit not found")
            now = said or before.formatted
            if now == before.formatted and keyboard == before.keyboard:
                raise bad_request(_NOT_MODIFIED)
            after = msgspec.structs.replace(
                before,
                text=now.text,
                entities=msgspec.json.encode(now.entities).decode(),
                markup=msgspec.json.encode(keyboard).decode() if keyboard else None,
                edited_at=at,
            )
            rows.edit(connection, after)
            return after

        return rows.message(await self._ledger.write(change))
