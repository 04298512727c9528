"""Servers for this folder's tests, one of each per worker, and a gateway that a function plays."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from nurture_local.gateway import Gateway, Location

sys.path.insert(0, str(Path(__file__).parents[2]))  # for `tests.servers`, however pytest was started

from tests import servers

Handler = Callable[[httpx.Request], httpx.Response]


@pytest.fixture(scope="session")
def cluster() -> Iterator[servers.Cluster]:
    with servers.embedded_postgres() as running:
        yield running


@pytest.fixture
def database(cluster: servers.Cluster) -> Iterator[str]:
    """An empty database; the administrator's address."""
    with cluster.database() as url:
        yield url


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No instance in this folder and none named by the environment."""
    monkeypatch.chdir(tmp_path)
    for name in ("NURTURE_URL", "NURTURE_API_KEY", "NURTURE_DATA_DIR", "DATABASE_URL", "NATS_URL", "RESEND_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Callable[[Handler], list[httpx.Request]]:
    """Let a function play the gateway; gives the requests that it saw."""

    def serve(handler: Handler) -> list[httpx.Request]:
        seen: list[httpx.Request] = []

        def record(request: httpx.Request) -> httpx.Response:
            seen.append(request)
            return handler(request)

        transport = httpx.MockTransport(record)
        location = Location("http://gateway.test", "the-key")
        monkeypatch.setattr(Gateway, "at", classmethod(lambda cls, data_dir: cls(location, transport)))
        return seen

    return serve
