"""Keyset cursors: the place after the last row of a page, opaque to callers."""

import base64
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID


class Cursor(NamedTuple):
    """A row's place in a list that runs from new to old."""

    at: datetime
    id: UUID

    def text(self) -> str:
        """What a caller passes back."""
        raw = (
            int(self.at.timestamp()).to_bytes(8, "big", signed=True)
            + self.at.microsecond.to_bytes(3, "big")
            + self.id.bytes
        )
        return base64.urlsafe_b64encode(raw).decode()


NEWEST = Cursor(datetime(9999, 1, 1, tzinfo=UTC), UUID(int=(1 << 128) - 1))
"""Before the first row of any list."""


def read(text: str | None) -> Cursor:
    """The place that a cursor names; without one, the beginning. Raises ValueError on anything we did not make."""
    if text is None:
        return NEWEST
    raw = base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
    if len(raw) != 27:
        raise ValueError("a cursor has 27 bytes")
    seconds, micros = int.from_bytes(raw[:8], "big", signed=True), int.from_bytes(raw[8:11], "big")
    try:
        at = datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)
    except (OverflowError, OSError) as error:
        raise ValueError("a cursor names a time that does not exist") from error
    return Cursor(at, UUID(bytes=raw[11:]))
