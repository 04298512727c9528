"""Reads the bus: how its streams and consumers stand, and, if wanted, every message, without making a consumer."""

import asyncio
import base64
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec

from nurture_local import bus_state
from nurture_local.addresses import bus_servers
from nurture_local.verify.files import addresses_in
from nurture_local.verify.history import Bus, BusMessage, Consumer, Stream

_AT_ONCE = 500
_PATIENCE = 30.0
_MSG_ID = re.compile(rb"^Nats-Msg-Id:\s*(.+?)\s*$", re.MULTILINE | re.IGNORECASE)


class _Stored(msgspec.Struct, frozen=True):
    subject: str
    seq: int
    time: datetime
    data: str = ""
    hdrs: str = ""


class _Got(msgspec.Struct, frozen=True):
    message: _Stored | None = None
    error: dict[str, Any] | None = None


async def stand(url: str) -> Bus:
    """Streams and consumers as they are now. Raises BusSilent."""
    read_at = datetime.now(UTC)
    state = await bus_state.look(url)
    return Bus(
        read_at=read_at,
        streams=[
            Stream(
                name=one.config.name,
                messages=one.state.messages,
                first_seq=one.state.first_seq,
                last_seq=one.state.last_seq,
                created_at=one.created,
                max_age=one.config.max_age / 1e9,
                duplicate_window=one.config.duplicate_window / 1e9,
            )
            for one in state.streams
        ],
        consumers=[
            Consumer(
                durable=one.durable,
                stream=one.stream,
                pending=one.num_pending,
                ack_pending=one.num_ack_pending,
                delivered_seq=one.delivered.stream_seq,
            )
            for one in state.consumers
        ],
    )


async def messages(url: str, streams: Iterable[Stream], known: frozenset[str]) -> list[BusMessage]:
    """Every message of these streams, by number; `known` are the addresses that must not be in one. Raises BusSilent."""
    import nats
    from nats.errors import Error

    found: list[BusMessage] = []
    try:
        connection = await nats.connect(bus_servers(url), allow_reconnect=False, connect_timeout=3, error_cb=_quiet)
        try:
            for stream in streams:
                for start in range(max(1, stream.first_seq), stream.last_seq + 1, _AT_ONCE):
                    numbers = range(start, min(start + _AT_ONCE, stream.last_seq + 1))
                    got = await asyncio.gather(*(_get(connection, stream.name, number) for number in numbers))
                    found += [_message(stream.name, one, known) for one in got if one is not None]
        finally:
            await connection.close()
    except (OSError, Error, TimeoutError):
        raise bus_state.BusSilent("the bus went away while its messages were read") from None
    return found


async def _get(connection: Any, stream: str, number: int) -> _Stored | None:
    """None for a number whose message is gone: too old, or deleted."""
    asked = msgspec.json.encode({"seq": number})
    answer = await connection.request(f"$JS.API.STREAM.MSG.GET.{stream}", asked, timeout=_PATIENCE)
    return msgspec.json.decode(answer.data, type=_Got).message


def _message(stream: str, one: _Stored, known: frozenset[str]) -> BusMessage:
    found = _MSG_ID.search(base64.b64decode(one.hdrs)) if one.hdrs else None
    return BusMessage(
        stream=stream,
        seq=one.seq,
        at=one.time,
        subject=one.subject,
        msg_id=found[1].decode() if found else None,
        personal=tuple(sorted(addresses_in(base64.b64decode(one.data), known))),
    )


async def _quiet(_: Exception) -> None:
    """nats-py would log what the caller reports itself."""
