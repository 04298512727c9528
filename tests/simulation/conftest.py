"""One PostgreSQL for the statements that are run on both sides; a database, migrated, for each walk."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator

import pytest

from tests import servers
from tests.simulation.two_databases import Both, both

Scene = Callable[[Both, random.Random], Awaitable[None]]


@pytest.fixture(scope="session")
def simulation_cluster() -> Iterator[servers.Cluster]:
    with servers.embedded_postgres() as cluster:
        yield cluster


@pytest.fixture
def walk(simulation_cluster: servers.Cluster) -> Iterator[Callable[[Scene], None]]:
    with simulation_cluster.migrated() as url:

        async def whole(scene: Scene) -> None:
            async with asyncio.timeout(120), both(url) as pair:
                await scene(pair, random.Random(1))

        yield lambda scene: asyncio.run(whole(scene))
