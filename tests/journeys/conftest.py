"""The journeys that leave no trace on each other share the `system` of tests/backends.py; those that break things start their own."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from nurture_local.instance import DataDir

from tests.journeys.system import USED


@pytest.fixture(scope="session", autouse=True)
def _nothing_stays() -> Iterator[None]:
    """Clusters that lie outside of a test's own folder go with this process."""
    yield
    for data_dir in USED:
        home = DataDir(data_dir).state().postgres_home
        if home and not Path(home).is_relative_to(data_dir):
            shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Where a test's own instance lives."""
    return tmp_path / "data"
