"""The order of the whole suite: what takes longest begins first, so that nobody waits for it at the end."""

import pytest
import structlog
from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is, and nothing about the code.
settings.register_profile("nurture", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("nurture")

# structlog's own renderer draws each traceback with all its locals, which takes seconds on a busy machine, in the test's
# own event loop.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S.%f", utc=False),
        structlog.processors.format_exc_info,
        structlog.dev.ConsoleRenderer(colors=False),
    ]
)

pytest_plugins = ["tests.backends", "tests.categories"]
LONG = ("test_at_speed_1440",)
SECOND = ("test_seed", "test_pages", "test_dashboard", "test_readme")
"""What shares the second of two instances, so that no worker has all of them to itself."""
STANDS = {"chassis", "controller", "database", "email", "gateway", "scoring", "telegram"}
"""Rooms whose tests share servers: on one worker these are made once."""


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_turn)
    for item in items:
        folder = item.path.parent.name
        if item.get_closest_marker("xdist_group"):
            continue
        if "system" in getattr(item, "fixturenames", ()):
            second = item.path.stem.startswith(SECOND)
            item.add_marker(pytest.mark.xdist_group("second-system" if second else "shared-system"))
        elif folder in STANDS:
            item.add_marker(pytest.mark.xdist_group(folder))


def _turn(item: pytest.Item) -> int:
    """What is one piece for its worker comes before what can fill the gaps that are left at the end."""
    folder = item.path.parent.name
    return 0 if item.name.startswith(LONG) else 1 if folder == "journeys" else 2 if folder in STANDS else 3
