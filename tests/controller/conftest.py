"""One PostgreSQL per worker; a database, migrated, for each scene."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest
from controller_stand import Stand, standing

from tests import servers

Play = Callable[[Callable[[Stand], Awaitable[None]]], None]


@pytest.fixture(scope="session")
def controller_cluster() -> Iterator[servers.Cluster]:
    with servers.embedded_postgres() as cluster:
        yield cluster


@pytest.fixture
def play(controller_cluster: servers.Cluster) -> Iterator[Play]:
    """Runs a scene in an event loop of its own, on a database of its own."""
    with controller_cluster.migrated() as url:

        def run(scene: Callable[[Stand], Awaitable[None]]) -> None:
            async def whole() -> None:
                async with asyncio.timeout(60), standing(url) as stand:
                    await scene(stand)

            asyncio.run(whole())

        yield run
