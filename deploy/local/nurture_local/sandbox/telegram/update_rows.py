"""Updates that wait for a bot, as the ledger holds them. Called on the ledger's threads."""

import sqlite3
import time
from typing import Any

import msgspec
from msgspec import Struct

from nurture_local.sandbox.telegram import rows
from nurture_local.sandbox.telegram.answers import bad_request

KEPT_SECONDS = 24 * 3600.0


class Pending(Struct, frozen=True):
    """An update that waits to be posted."""

    bot_id: int
    update_id: int
    body: str
    attempts: int


def add_update(connection: sqlite3.Connection, bot_id: int, kind: str, content: dict[str, Any]) -> int | None:
    """Queue an update; its id, or None when the bot does not want this kind."""
    rows.know_bot(connection, bot_id)
    known, now = rows.bot(connection, bot_id), time.time()
    if not known.wants(kind):
        return None
    update_id = known.last_update_id + 1
    body = msgspec.json.encode({"update_id": update_id, kind: content}).decode()
    connection.execute("update telegram_bots set last_update_id = ? where bot_id = ?", (update_id, bot_id))
    connection.execute("insert into telegram_updates values (?,?,?,?,?,0)", (bot_id, update_id, body, now, now))
    connection.execute("delete from telegram_updates where bot_id = ? and made_at < ?", (bot_id, now - KEPT_SECONDS))
    return update_id


def updates(connection: sqlite3.Connection, bot_id: int, offset: int, limit: int) -> list[str]:
    found = connection.execute(
        "select body from telegram_updates where bot_id = ? and update_id >= ? order by update_id limit ?",
        (bot_id, offset, limit),
    )
    return [row[0] for row in found]


def confirm(connection: sqlite3.Connection, bot_id: int, offset: int) -> None:
    """Forget what an offset confirms: everything below it; with a negative one all but the last that many."""
    if offset < 0:
        connection.execute(
            "delete from telegram_updates where bot_id = ?1 and update_id not in "
            "(select update_id from telegram_updates where bot_id = ?1 order by update_id desc limit ?2)",
            (bot_id, -offset),
        )
    else:
        connection.execute("delete from telegram_updates where bot_id = ? and update_id < ?", (bot_id, offset))


def waiting_updates(connection: sqlite3.Connection, bot_id: int | None = None) -> int:
    return connection.execute(
        "select count(*) from telegram_updates where ?1 is null or bot_id = ?1", (bot_id,)
    ).fetchone()[0]


def to_post(connection: sqlite3.Connection, now: float, limit: int) -> list[tuple[rows.Bot, list[Pending]]]:
    """Updates that are due at webhooks, for each bot that has one."""
    with_webhook = [rows.Bot(*row) for row in connection.execute("select * from telegram_bots where webhook_url <> ''")]
    found = []
    for one in with_webhook:
        due = connection.execute(
            "select bot_id, update_id, body, attempts from telegram_updates where bot_id = ? and due_at <= ? "
            "order by update_id limit ?",
            (one.bot_id, now, min(limit, one.max_connections)),
        )
        found.append((one, [Pending(*row) for row in due]))
    return [pair for pair in found if pair[1]]


def remember_allowed(connection: sqlite3.Connection, bot_id: int, wanted: Any) -> None:
    """Keep `allowed_updates` for later calls; an empty list is the default set. Raises BotError."""
    if not isinstance(wanted, list) or not all(isinstance(kind, str) for kind in wanted):
        raise bad_request("can't parse allowed_updates: expected an Array of String")
    value = msgspec.json.encode(wanted).decode() if wanted else None
    connection.execute("update telegram_bots set allowed_updates = ? where bot_id = ?", (value, bot_id))
