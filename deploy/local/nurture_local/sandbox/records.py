"""What the ledger says: messages with their state, one message's timeline, counts."""

import sqlite3
import time
from typing import Any

import msgspec
from msgspec import Struct

from nurture_local.sandbox.behaviour import RANK
from nurture_local.sandbox.telegram import markup, update_rows

# An event has happened when its time has come and, for a visit, when the visit succeeded.
_HAPPENED = (
    "e.happens_at <= :now and (e.via in ('webhook', 'mailbox') or e.via = 'chat' and e.outcome not like 'nothing%' "
    "or e.outcome like '2%' or e.outcome like '3%')"
)
_RANK = "case e.kind " + " ".join(f"when '{kind}' then {rank}" for kind, rank in RANK.items()) + " else 0 end"
# Telegram tells a bot no more than that it has taken the message.
_STATE = (
    f"max(coalesce((select max({_RANK}) from events e where e.message_seq = m.seq and {_HAPPENED}), 0), "  # noqa: S608
    "case m.channel when 'telegram' then 2 else 0 end)"
)
_MESSAGES = (
    f"select m.*, {_STATE}, t.message_id, t.markup from messages m "  # noqa: S608
    "left join telegram_turns t on t.message_seq = m.seq"
)
_BY_RANK = {rank: kind for kind, rank in RANK.items()}


class Message(Struct, frozen=True):
    """One accepted message. `at` is business time, `real_at` Unix seconds; the last two are Telegram's."""

    seq: int
    id: str
    channel: str
    at: str
    real_at: float
    to: str
    sender: str
    subject: str
    delivery_id: str | None
    idempotency_key: str | None
    payload_sha256: str
    envelope: dict[str, list[str]]
    headers: dict[str, str]
    tags: list[dict[str, str]]
    attachments: list[str]
    text: str | None
    html: str | None
    state: str
    message_id: int | None
    buttons: list[dict[str, Any]]


class Event(Struct, frozen=True):
    """One line of a message's timeline; `outcome` tells how its webhook or visit went."""

    kind: str
    via: str
    link: str | None
    at: str
    attempts: int
    done: bool
    outcome: str | None


class Line(Struct, frozen=True):
    """A message as the inbox lists it."""

    seq: int
    id: str
    channel: str
    at: str
    to: str
    subject: str
    state: str


def _message(row: sqlite3.Row) -> Message:
    values: list[Any] = list(row)
    values[11:15] = [msgspec.json.decode(text) for text in values[11:15]]
    values[17] = _BY_RANK[values[17]]
    values[19] = markup.buttons(msgspec.json.decode(values[19])) if values[19] else []
    return Message(*values)


def find(connection: sqlite3.Connection, email_id: str) -> Message | None:
    """The message of that id."""
    row = connection.execute(
        f"{_MESSAGES} where m.id = :id",
        {"id": email_id, "now": time.time()},
    ).fetchone()
    return _message(row) if row else None


def timeline(connection: sqlite3.Connection, seq: int) -> list[Event]:
    """What happened to a message so far, in order."""
    rows = connection.execute(
        "select kind, via, link, at, attempts, done_at is not null as done, outcome from events "
        "where message_seq = ? and happens_at <= ? order by happens_at, seq",
        (seq, time.time()),
    )
    return [msgspec.convert(dict(row), Event, strict=False) for row in rows]


def page(
    connection: sqlite3.Connection, *, after: int, limit: int, channel: str | None = None, to: str | None = None
) -> list[Message]:
    """Messages accepted after number `after`, oldest first; `to` is one whole address, in any case."""
    rows = connection.execute(
        f"{_MESSAGES} where m.seq > :after "
        "and (:channel is null or m.channel = :channel) "
        "and (:to is null or instr(', ' || lower(m.recipient) || ', ', ', ' || :to || ', ')) order by m.seq limit :limit",
        {"after": after, "limit": limit, "channel": channel, "to": to.lower() if to else None, "now": time.time()},
    )
    return [_message(row) for row in rows]


EFFECTS = (
    "select m.seq, m.channel, m.at, m.real_at, m.recipient, m.id, m.payload_sha256, m.delivery_id, m.idempotency_key, "
    "t.message_id from messages m left join telegram_turns t on t.message_seq = m.seq where m.seq > ? order by m.seq limit ?"
)
"""What `nurture verify` compares, after a number; a limit of -1 is all."""


def effects(connection: sqlite3.Connection, *, after: int, limit: int) -> list[list[Any]]:
    """Messages accepted after number `after`, oldest first, without what they say."""
    return [list(row) for row in connection.execute(EFFECTS, (after, limit))]


def lines(
    connection: sqlite3.Connection, *, before: int | None, limit: int, to: str, channel: str | None = None
) -> list[Line]:
    """The inbox's lines, newest first; `to` is any part of an address."""
    rows = connection.execute(
        f"select m.seq, m.id, m.channel, m.at, m.recipient as [to], {_STATE} as state, "  # noqa: S608
        "case m.channel when 'telegram' then substr(m.text, 1, 200) else m.subject end as subject from messages m "
        "where (:before is null or m.seq < :before) and (:channel is null or m.channel = :channel) "
        "and instr(lower(m.recipient), :to) order by m.seq desc limit :limit",
        {"before": before, "limit": limit, "to": to.lower(), "channel": channel, "now": time.time()},
    )
    return [msgspec.convert({**dict(row), "state": _BY_RANK[row["state"]]}, Line) for row in rows]


def number_of(connection: sqlite3.Connection, email_id: str) -> int | None:
    """A message's place in the order of acceptance."""
    row = connection.execute("select seq from messages where id = ?", (email_id,)).fetchone()
    return row[0] if row else None


def summary(connection: sqlite3.Connection) -> dict[str, Any]:
    """Counts over the whole ledger. `repeats`: messages beyond the first of their delivery id on the same channel."""
    now = {"now": time.time()}
    messages, tagged, distinct = connection.execute(
        "select count(*), count(delivery_id), count(distinct delivery_id) from messages"
    ).fetchone()
    (sent,) = connection.execute(
        "select count(*) from (select distinct channel, delivery_id from messages where delivery_id is not null)"
    ).fetchone()
    states = connection.execute(
        f"select state, count(*) from (select {_STATE} as state from messages m) group by state",  # noqa: S608
        now,
    )
    pending, done = connection.execute(
        "select count(*) filter (where done_at is null), count(done_at) from events where via = 'webhook'"
    ).fetchone()
    return {
        "messages": messages,
        "delivery_ids": distinct,
        "repeats": tagged - sent,
        "by_state": {_BY_RANK[row[0]]: row[1] for row in states},
        "by_channel": dict(map(tuple, connection.execute("select channel, count(*) from messages group by channel"))),
        "webhooks": {"pending": pending, "done": done},
        "updates": {"pending": update_rows.waiting_updates(connection)},
    }


def totals(connection: sqlite3.Connection) -> dict[str, Any]:
    """The inbox's head line: messages by channel, webhooks that still wait for their 2xx, updates that wait for a bot."""
    now = time.time()
    channels = dict(map(tuple, connection.execute("select channel, count(*) from messages group by channel")))
    (waiting,) = connection.execute(
        "select count(*) from events where done_at is null and happens_at <= ? and via = 'webhook'", (now,)
    ).fetchone()
    return {
        "messages": sum(channels.values()),
        "channels": channels,
        "waiting": waiting,
        "updates": update_rows.waiting_updates(connection),
    }
