"""Bugs planted on purpose, each a way to break one promise: the checks must catch every one of them by name."""

from collections.abc import Callable

PLANTED: dict[str, Callable[[], None]] = {}


def plant(name: str) -> None:
    """Put the bug into this process."""
    PLANTED[name]()
