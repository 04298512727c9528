import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from email_sandbox import Sandbox
from email_stand import Postgres, Stand, standing
from nurture_email import attempts

Play = Callable[[Callable[[Stand], Awaitable[None]]], None]


@pytest.fixture(scope="session")
def email_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with ExitStack() as stack:
        yield Postgres(Path(tmp_path_factory.mktemp("email")), stack)


@pytest.fixture
def play(email_postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Runs a scene in an event loop of its own, on empty tables."""
    # Waits of what is tried again are over when a test says so (`due`), not because the machine was busy for seconds.
    monkeypatch.setattr(attempts, "BACKOFF_BASE", 20.0)

    def run(scene: Callable[[Stand], Awaitable[None]]) -> None:
        async def whole() -> None:
            async with asyncio.timeout(60), standing(email_postgres) as stand:
                await scene(stand)

        asyncio.run(whole())

    return run


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    started = Sandbox(tmp_path)
    try:
        yield started.ready()
    finally:
        started.stop()
