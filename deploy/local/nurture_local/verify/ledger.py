"""Reads the sandbox's ledger: one SQLite file, opened for reading only, or over REST where the sandbox runs elsewhere."""

import sqlite3
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from nurture_local.sandbox import records
from nurture_local.verify.history import Effect


class NoLedger(Exception):
    """There is no ledger there, or it cannot be read; the text says which."""


def read(place: Path | str) -> list[Effect]:
    """Every effect, in the order in which they were taken, from a file or from the sandbox at a URL. Raises NoLedger."""
    return [_effect(row) for row in (_file(place) if isinstance(place, Path) else _asked(place))]


def _file(path: Path) -> list[tuple[Any, ...]]:
    if not path.is_file():
        raise NoLedger(f"there is no ledger at {path}")
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            return connection.execute(records.EFFECTS, (0, -1)).fetchall()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise NoLedger(f"{path} cannot be read: {error}") from None


def _asked(url: str) -> Iterator[list[Any]]:
    try:
        with httpx.Client(base_url=url, timeout=30, trust_env=False) as sandbox:
            last = 0
            while page := sandbox.get("/api/ledger/effects", params={"after": last}).raise_for_status().json():
                yield from page
                last = page[-1][0]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise NoLedger(f"the sandbox at {url} does not tell its ledger: {type(error).__name__}") from None


def _effect(row: Sequence[Any]) -> Effect:
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
