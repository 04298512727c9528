"""Calls that did not simply work: refused, failed, repeated, or left without their reply. A line each, beside the messages."""

import sqlite3
import time
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct


class Call(Struct, frozen=True, kw_only=True):
    """`effective`: a message was taken by this call. `reply`: the status and the error's name, `replayed` for the stored
    answer of an earlier call, or `lost`. `payload_sha256` is about the whole request."""

    channel: str
    real_at: float
    key: str | None
    deliveries: list[str]
    recipients: list[str]
    payload_sha256: str
    reply: str
    effective: bool


def keep(connection: sqlite3.Connection, call: Call) -> None:
    connection.execute(
        "insert into calls (channel, real_at, key, deliveries, recipients, payload_sha256, reply, effective) "
        "values (?,?,?,?,?,?,?,?)",
        (
            call.channel,
            call.real_at,
            call.key,
            msgspec.json.encode(call.deliveries).decode(),
            msgspec.json.encode(call.recipients).decode(),
            call.payload_sha256,
            call.reply,
            call.effective,
        ),
    )


def listed(connection: sqlite3.Connection, channel: str | None) -> list[dict[str, Any]]:
    """Every line, oldest first."""
    rows = connection.execute(
        "select channel, real_at, key, deliveries, recipients, payload_sha256, reply, effective from calls "
        "where :channel is null or channel = :channel order by seq",
        {"channel": channel},
    )
    return [
        {
            **dict(row),
            "deliveries": msgspec.json.decode(row["deliveries"]),
            "recipients": msgspec.json.decode(row["recipients"]),
            "effective": bool(row["effective"]),
        }
        for row in rows
    ]


def of_mails(body: bytes, key: str | None, payload_sha256: str, reply: str, effective: bool) -> Call:
    """A call to Resend's API, whatever its body was."""
    mails = _mails(body)
    tags = [_tag(mail) for mail in mails]
    to = [address for mail in mails for address in _list(mail.get("to"))]
    return Call(
        channel="email",
        real_at=time.time(),
        key=key,
        deliveries=[tag for tag in tags if tag],
        recipients=[str(address) for address in to],
        payload_sha256=payload_sha256,
        reply=reply,
        effective=effective,
    )


def _mails(body: bytes) -> Sequence[dict[str, Any]]:
    try:
        read = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return []
    return [mail for mail in (read if isinstance(read, list) else [read]) if isinstance(mail, dict)]


def _tag(mail: dict[str, Any]) -> str | None:
    tags = [tag for tag in _list(mail.get("tags")) if isinstance(tag, dict) and tag.get("name") == "delivery_id"]
    return str(tags[0].get("value")) if tags else None


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
