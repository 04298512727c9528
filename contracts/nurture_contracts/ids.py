"""Identifiers: UUIDv7 for what is born here, UUIDv5 for what must come out the same twice."""

import os
import time
from uuid import UUID, uuid5

NAMESPACE = UUID("6f1c2a9e-7d0b-5b7e-9d55-6e757274757e")


_spare = bytearray()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_spare.clear)


def _random() -> int:
    """80 random bits; the system is asked for many at once, since planning makes thousands of ids."""
    if len(_spare) < 10:
        _spare.extend(os.urandom(4000))
    taken = int.from_bytes(_spare[-10:], "big")
    del _spare[-10:]
    return taken


def uuid7(at_ms: int | None = None) -> UUID:
    """A time-ordered UUID (RFC 9562 §5.7): 48 bits of Unix milliseconds, 74 random bits."""
    ms = time.time_ns() // 1_000_000 if at_ms is None else at_ms
    random = _random()
    return UUID(int=(ms << 80) | (7 << 76) | ((random >> 62 & 0xFFF) << 64) | (2 << 62) | (random & ((1 << 62) - 1)))


def derived(*parts: object) -> UUID:
    """The same id for the same parts, in every process and after every restart."""
    return uuid5(NAMESPACE, "\x1f".join(str(part) for part in parts))
