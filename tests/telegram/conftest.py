import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))  # for `tests.servers`, however pytest was started

from nurture_telegram import attempts
from telegram_stand import Postgres, Stand, standing

Play = Callable[[Callable[[Stand], Awaitable[None]]], None]


@pytest.fixture(scope="session")
def telegram_postgres() -> Iterator[Postgres]:
    with ExitStack() as stack:
        yield Postgres(stack)


@pytest.fixture
def play(telegram_postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Runs a scene in an event loop of its own, on empty tables, with a Bot API of its own."""
    # Waits of what is tried again are over when a test says so (`due`), not because the machine was busy for a second.
    monkeypatch.setattr(attempts, "BACKOFF_BASE", 20.0)

    def run(scene: Callable[[Stand], Awaitable[None]]) -> None:
        async def whole() -> None:
            async with asyncio.timeout(60), standing(telegram_postgres) as stand:
                await scene(stand)

        asyncio.run(whole())

    return run
