"""One system in containers for all tests of this folder; without a Docker engine they are skipped."""

from collections.abc import Iterator

import pytest

from tests.containers.system import ContainerSystem, well_spoken


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/containers" in item.path.as_posix():
            item.add_marker("containers")
            item.add_marker(pytest.mark.xdist_group("containers"))


@pytest.fixture(scope="session")
def contained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContainerSystem]:
    with well_spoken(tmp_path_factory.mktemp("containers")) as system:
        yield system
