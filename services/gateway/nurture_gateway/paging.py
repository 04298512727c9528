"""Lists by keyset: one row more than asked for says whether there is a next page."""

from collections.abc import Callable, Sequence
from typing import Any

from asyncpg import Record

from nurture_gateway.cursors import Cursor, read
from nurture_gateway.problems import Problem


def start_of(cursor: str | None) -> Cursor:
    """Where the page begins. Raises Problem 400 on a cursor that is not ours."""
    try:
        return read(cursor)
    except ValueError:
        raise Problem("bad_cursor", "This cursor was not made by this API.") from None


def page(rows: Sequence[Record], limit: int, place: Callable[[Record], Cursor]) -> dict[str, Any]:
    """`rows` may hold one more than `limit`; `place` names a row's place in the list."""
    shown = rows[:limit]
    return {
        "items": [dict(row.items()) for row in shown],
        "next": place(shown[-1]).text() if len(rows) > limit else None,
    }
