"""Where the shared `system` of the journeys runs: as processes on embedded servers, or as containers.

`pytest --backend containers -m containers tests/journeys` runs every journey of that fixture on the images, but those marked `processes`.
"""

from collections.abc import Iterator

import pytest

from tests.journeys.system import System, running

OPTION = "--backend"


def pytest_addoption(parser: pytest.Parser) -> None:
    told = "where the shared system of tests/journeys runs (default: processes)"
    parser.addoption(OPTION, choices=("processes", "containers"), default="processes", help=told)


def in_containers(config: pytest.Config) -> bool:
    return config.getoption(OPTION) == "containers"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In containers there is the one shared system: journeys with one of their own start processes, and are left out."""
    if not in_containers(config):
        return
    here = [
        item for item in items if item.path.parent.name == "containers" or "system" in getattr(item, "fixturenames", ())
    ]
    config.hook.pytest_deselected(items=[item for item in items if item not in here])
    items[:] = here
    for item in here:
        item.add_marker("containers")
        if needs := item.get_closest_marker("processes"):
            item.add_marker(pytest.mark.skip(reason=f"needs processes: {needs.args[0]}"))


@pytest.fixture(scope="session")
def system(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A quiet instance, shared by a worker's tests: each makes its own people and looks only at them."""
    folder = tmp_path_factory.mktemp("shared")
    if in_containers(request.config):
        # Its module needs Docker's library, which most runs need not read.
        from tests.containers.system import well_spoken

        with well_spoken(folder) as system:
            yield system
    else:
        with running(folder / "data") as system:
            yield system
