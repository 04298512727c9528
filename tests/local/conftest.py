"""Servers for this folder's tests, one of each per worker."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))  # for `tests.servers`, however pytest was started

from tests import servers


@pytest.fixture(scope="session")
def cluster() -> Iterator[servers.Cluster]:
    with servers.embedded_postgres() as running:
        yield running


@pytest.fixture
def database(cluster: servers.Cluster) -> Iterator[str]:
    """An empty database; the administrator's address."""
    with cluster.database() as url:
        yield url
