"""One system for the journeys that leave no trace on each other; those that break things start their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.system import System, running


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A quiet instance, shared by a worker's tests: each makes its own people and looks only at them."""
    with running(tmp_path_factory.mktemp("shared") / "data") as system:
        yield system


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Where a test's own instance lives."""
    return tmp_path / "data"
