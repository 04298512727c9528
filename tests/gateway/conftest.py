import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))  # for `tests.servers`, however pytest was started

from gateway_stand import Controller, Gateway, Servers


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Servers(Path(tmp_path_factory.mktemp("gateway")), stack)


@pytest.fixture(scope="session")
def gateway(servers: Servers) -> Iterator[Gateway]:
    with ExitStack() as stack:
        yield Gateway(servers, stack)


@pytest.fixture
def controller(servers: Servers) -> Iterator[Controller]:
    played = Controller(servers.nats_url)
    yield played
    played.close()
