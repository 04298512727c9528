"""Bots, chats and what was said in them, as the ledger holds it. Called on the ledger's threads."""

import secrets
import sqlite3
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from nurture_local.sandbox.telegram import habits
from nurture_local.sandbox.telegram.formatting import Entity, Formatted

NOT_BY_DEFAULT = frozenset({"chat_member", "message_reaction", "message_reaction_count"})
_TURN = "message_id, bot_id, chat_id, kind, at, message_seq, edited_at, reply_to, text, entities, markup"


class Bot(Struct, frozen=True):
    """A bot that has called. `allowed_updates` None is Telegram's default set; `last_error_at` is in real Unix seconds."""

    bot_id: int
    last_update_id: int
    allowed_updates: str | None
    webhook_url: str
    webhook_secret: str
    max_connections: int
    last_error_at: int | None
    last_error: str | None
    commands: str

    @property
    def wanted(self) -> list[str]:
        return msgspec.json.decode(self.allowed_updates) if self.allowed_updates else []

    def wants(self, kind: str) -> bool:
        return kind in self.wanted if self.wanted else kind not in NOT_BY_DEFAULT


class Turn(Struct, frozen=True):
    """One thing said or done in a chat."""

    message_id: int
    bot_id: int
    chat_id: int
    kind: str
    at: str
    message_seq: int | None
    edited_at: str | None
    reply_to: int | None
    text: str
    entities: str
    markup: str | None

    @property
    def formatted(self) -> Formatted:
        return Formatted(self.text, msgspec.json.decode(self.entities, type=list[Entity]))

    @property
    def keyboard(self) -> dict[str, Any] | None:
        return msgspec.json.decode(self.markup) if self.markup else None


def username(bot_id: int) -> str:
    return f"sandbox_{bot_id}_bot"


def bot_user(bot_id: int) -> dict[str, Any]:
    return {"id": bot_id, "is_bot": True, "first_name": "Nurture sandbox", "username": username(bot_id)}


def person_user(chat_id: int) -> dict[str, Any]:
    return {"id": chat_id, "is_bot": False, "first_name": habits.first_name(chat_id), "language_code": "en"}


def chat_object(chat_id: int) -> dict[str, Any]:
    if chat_id < 0:
        return {"id": chat_id, "type": "supergroup", "title": f"Group {-chat_id}"}
    return {"id": chat_id, "type": "private", "first_name": habits.first_name(chat_id)}


def unix(at: str) -> int:
    return int(datetime.fromisoformat(at).timestamp())


def message(turn: Turn) -> dict[str, Any]:
    """A turn as the Bot API's Message."""
    sender = bot_user(turn.bot_id) if turn.kind == "bot" else person_user(turn.chat_id)
    shown: dict[str, Any] = {
        "message_id": turn.message_id,
        "from": sender,
        "chat": chat_object(turn.chat_id),
        "date": unix(turn.at),
        "text": turn.text,
    }
    if turn.entities != "[]":
        shown["entities"] = msgspec.json.decode(turn.entities)
    if turn.edited_at:
        shown["edit_date"] = unix(turn.edited_at)
    if turn.keyboard and "inline_keyboard" in turn.keyboard:
        shown["reply_markup"] = turn.keyboard
    return shown


def bot(connection: sqlite3.Connection, bot_id: int) -> Bot:
    """The bot; one that has not called yet is as Telegram would have it."""
    row = connection.execute("select * from telegram_bots where bot_id = ?", (bot_id,)).fetchone()
    return Bot(*row) if row else Bot(bot_id, 0, None, "", "", 40, None, None, "{}")


def know_bot(connection: sqlite3.Connection, bot_id: int) -> None:
    # A random start: whoever remembers updates of an earlier ledger must not take new ones for repeats.
    first = 100_000_000 + secrets.randbelow(800_000_000)
    connection.execute("insert or ignore into telegram_bots (bot_id, last_update_id) values (?, ?)", (bot_id, first))


def bots(connection: sqlite3.Connection) -> list[int]:
    return [row[0] for row in connection.execute("select bot_id from telegram_bots order by bot_id")]


def bots_of_chat(connection: sqlite3.Connection, chat_id: int) -> list[int]:
    return [row[0] for row in connection.execute("select bot_id from telegram_chats where chat_id = ?", (chat_id,))]


def is_blocked(connection: sqlite3.Connection, bot_id: int, chat_id: int) -> bool:
    row = connection.execute(
        "select blocked from telegram_chats where bot_id = ? and chat_id = ?", (bot_id, chat_id)
    ).fetchone()
    return bool(row[0]) if row else habits.habit(chat_id) == "has blocked the bot"


def set_blocked(connection: sqlite3.Connection, bot_id: int, chat_id: int, blocked: bool) -> None:
    connection.execute("insert or replace into telegram_chats values (?, ?, ?)", (bot_id, chat_id, blocked))


def add_turn(
    connection: sqlite3.Connection,
    bot_id: int,
    chat_id: int,
    kind: str,
    at: str,
    said: Formatted,
    *,
    markup: dict[str, Any] | None = None,
    message_seq: int | None = None,
    reply_to: int | None = None,
) -> Turn:
    """Write one turn down; it has a number then."""
    entities = msgspec.json.encode(said.entities).decode()
    keyboard = msgspec.json.encode(markup).decode() if markup else None
    values = (bot_id, chat_id, kind, at, message_seq, None, reply_to, said.text, entities, keyboard)
    connection.execute(
        "insert into telegram_turns (bot_id, chat_id, kind, at, message_seq, edited_at, reply_to, text, entities, markup) "
        "values (?,?,?,?,?,?,?,?,?,?)",
        values,
    )
    (number,) = connection.execute("select last_insert_rowid()").fetchone()
    return Turn(number, *values)


def turn(connection: sqlite3.Connection, bot_id: int | None, message_id: int) -> Turn | None:
    """By number, of any bot where none is named."""
    row = connection.execute(
        f"select {_TURN} from telegram_turns where message_id = ?1 and (?2 is null or bot_id = ?2)",  # noqa: S608
        (message_id, bot_id),
    ).fetchone()
    return Turn(*row) if row else None


def turn_of(connection: sqlite3.Connection, ledger_id: str) -> Turn | None:
    """The turn of a message, by the message's id in the ledger."""
    row = connection.execute(
        f"select {_TURN} from telegram_turns where message_seq = (select seq from messages where id = ?)",  # noqa: S608
        (ledger_id,),
    ).fetchone()
    return Turn(*row) if row else None


def last_kind(connection: sqlite3.Connection, bot_id: int, chat_id: int) -> str | None:
    """What kind of thing happened last in a chat."""
    row = connection.execute(
        "select kind from telegram_turns where bot_id = ? and chat_id = ? order by message_id desc limit 1",
        (bot_id, chat_id),
    ).fetchone()
    return row[0] if row else None


def conversation(connection: sqlite3.Connection, bot_id: int, chat_id: int, limit: int) -> list[Turn]:
    """The last turns of a chat, oldest first."""
    rows = connection.execute(
        f"select {_TURN} from telegram_turns where bot_id = ? and chat_id = ? order by message_id desc limit ?",  # noqa: S608
        (bot_id, chat_id, limit),
    )
    return [Turn(*row) for row in rows][::-1]


def edit(connection: sqlite3.Connection, changed: Turn) -> None:
    connection.execute(
        "update telegram_turns set text = ?, entities = ?, markup = ?, edited_at = ? where message_id = ?",
        (changed.text, changed.entities, changed.markup, changed.edited_at, changed.message_id),
    )
