"""Updates of the bot as they come over HTTP: one, a list, or a list under a name. Pure."""

from typing import Any

import msgspec

MOST = 1_000
_LONGEST_ID = 2**62


class Malformed(Exception):
    """The body is not updates; `field` is the place, the text is the reason."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field, self.reason = field, reason


def updates(body: bytes) -> list[dict[str, Any]]:
    """The updates in a request's body. Raises Malformed."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Malformed("body", "is not JSON") from None
    listed = found.get("updates", [found]) if isinstance(found, dict) else found
    if not isinstance(listed, list):
        raise Malformed("updates", "is not a list of updates")
    if len(listed) > MOST:
        raise Malformed("updates", f"has {len(listed)} entries; at most {MOST} are taken at once")
    for number, update in enumerate(listed):
        update_id = update.get("update_id") if isinstance(update, dict) else None
        if type(update_id) is not int or not 0 <= update_id < _LONGEST_ID:
            raise Malformed(f"updates[{number}]", "is not an update: it has no update_id")
    # PostgreSQL stores no NUL, and one update that cannot be stored would hold up all that came with it.
    return _without_nul(listed) if b"\\u0000" in body else listed


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\x00", "")
    if isinstance(value, list):
        return [_without_nul(item) for item in value]
    if isinstance(value, dict):
        return {_without_nul(name): _without_nul(item) for name, item in value.items()}
    return value
