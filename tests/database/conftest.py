"""One server for this folder's tests on each worker, and a database of its own for each test."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))  # for `tests.servers`, however pytest was started

from database_stand import Stand, standing

from tests.servers import Cluster, embedded_postgres, external_postgres

Play = Callable[[Callable[[Stand], Awaitable[None]]], None]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with embedded_postgres() as running:
        yield running


@pytest.fixture
def play(cluster: Cluster) -> Iterator[Play]:
    """Runs a scene in an event loop of its own, on a migrated database of its own."""
    with cluster.migrated() as url:

        def run(scene: Callable[[Stand], Awaitable[None]]) -> None:
            async def whole() -> None:
                async with asyncio.timeout(90), standing(url) as stand:
                    await scene(stand)

            asyncio.run(whole())

        yield run


@pytest.fixture(scope="session")
def external() -> Iterator[Cluster]:
    """A server of somebody else's, as old as may be."""
    with external_postgres() as running:
        yield running


@pytest.fixture
def foreign(external: Cluster) -> Iterator[str]:
    """An empty database there; its owner's address."""
    with external.database("template0") as url:
        yield url
