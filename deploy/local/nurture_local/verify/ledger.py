"""Reads the sandbox's ledger: one SQLite file, opened for reading only."""

import sqlite3
from datetime import datetime
from pathlib import Path
from uuid import UUID

from nurture_local.verify.history import Effect

_EFFECTS = (
    "select m.seq, m.channel, m.at, m.real_at, m.recipient, m.id, m.payload_sha256, m.delivery_id, m.idempotency_key, "
    "t.message_id from messages m left join telegram_turns t on t.message_seq = m.seq order by m.seq"
)


class NoLedger(Exception):
    """There is no ledger there, or it cannot be read; the text says which."""


def read(path: Path) -> list[Effect]:
    """Every effect, in the order in which they were taken. Raises NoLedger."""
    if not path.is_file():
        raise NoLedger(f"there is no ledger at {path}")
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            return [_effect(row) for row in connection.execute(_EFFECTS)]
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise NoLedger(f"{path} cannot be read: {error}") from None


def _effect(row: tuple) -> Effect:
    seq, channel, at, real_at, recipient, id, digest, delivery, key, message_id = row
    return Effect(
        seq=seq,
        channel=channel,
        at=datetime.fromisoformat(at),
        real_at=real_at,
        recipient=recipient,
        # As the telegram room names a message; ids of messages are unique in their chat only.
        provider_id=id if channel == "email" else f"{recipient}:{message_id}",
        payload_sha256=digest[:32],
        delivery_id=_uuid(delivery),
        key=key,
    )


def _uuid(text: str | None) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        return None
