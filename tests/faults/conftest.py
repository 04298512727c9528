"""Stands for the rows: one of a kind at a time, shared by rows that follow each other, made anew after a failure."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults import row
from tests.faults.forkserver import Forks
from tests.faults.stand import ROOMS, Stand, standing
from tests.faults.workload import Clients

EMAILS_A_SECOND, CHATS_A_SECOND = 10, 10
MAILS_A_SECOND = 40
"""Over SMTP."""
PACED = 5
"""Of either in a second where each window of one is looked at: slots lie further apart than a busy machine's stalls."""


def _doubled(emails: int, chats: int) -> dict[str, Any]:
    return {
        "replicas": dict.fromkeys(ROOMS, 2),
        "env": {
            "sandbox": {"SANDBOX_RATE_LIMIT": str(emails)},
            "email": {"RESEND_RATE_LIMIT": str(emails)},
            "telegram": {"TELEGRAM_RATE_LIMIT": str(chats)},
        },
    }


KINDS: dict[str, dict[str, Any]] = {
    "single": {},
    "mutants": {},
    "wired": {"wires": ("nats", "postgres", "provider")},
    "clustered": {"clustered": True},
    "double": _doubled(EMAILS_A_SECOND, CHATS_A_SECOND),
    "paced": _doubled(PACED, PACED),
    "relayed": {
        "told": {"EMAIL_PROVIDER": "smtp"},
        "replicas": {"email": 2},
        "wires": ("postgres", "relay"),
        "env": {
            "sandbox": {"SANDBOX_RATE_LIMIT": str(MAILS_A_SECOND)},
            "email": {"SMTP_RATE_LIMIT": str(MAILS_A_SECOND)},
        },
    },
}
"""What stands there are: one of each service, the same for planted bugs, the same behind proxies, the same on a bus of three nodes,
two of each under limits that they meet, the same under limits whose seconds are counted, two of email over SMTP."""


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    server = Forks()
    yield server
    server.close()


class Stands:
    """The stand that is up. A worker's rows come grouped by kind, so one at a time is enough."""

    def __init__(self, forks: Forks, folder: Callable[[str], Path]) -> None:
        self._forks = forks
        self._folder = folder
        self._stack = contextlib.ExitStack()
        self._up: tuple[str, Stand, Clients] | None = None

    def get(self, kind: str) -> tuple[Stand, Clients]:
        """The stand of this kind, and its clients."""
        if self._up is None or self._up[0] != kind or self._up[1].spoilt:
            self.close()
            stand = self._stack.enter_context(standing(self._folder(kind), self._forks, **KINDS[kind]))
            self._up = kind, stand, Clients(stand)
        return self._up[1:]

    def close(self) -> None:
        self._stack.close()
        self._up = None


@pytest.fixture(scope="session")
def stands(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stands]:
    found = Stands(forks, tmp_path_factory.mktemp)
    yield found
    found.close()


Rows = Callable[..., row.Row]


def _rows(stands: Stands, kind: str) -> Rows:
    def begin(name: str, number: int | None = None) -> row.Row:
        stand, clients = stands.get(kind)
        return row.Row(stand, clients, name, number)

    return begin


@pytest.fixture
def single(stands: Stands) -> Rows:
    """Begins a row on a stand with one of each service."""
    return _rows(stands, "single")


@pytest.fixture
def mutants(stands: Stands) -> Rows:
    """The same on a stand of its own: what was done to it by a planted bug stays done."""
    return _rows(stands, "mutants")


@pytest.fixture
def wired(stands: Stands) -> Rows:
    """The same with proxies before NATS, PostgreSQL and the providers."""
    return _rows(stands, "wired")


@pytest.fixture
def clustered(stands: Stands) -> Rows:
    """The same on three NATS nodes."""
    return _rows(stands, "clustered")


@pytest.fixture
def double(stands: Stands) -> Rows:
    """The same with two of each service."""
    return _rows(stands, "double")


@pytest.fixture
def paced(stands: Stands) -> Rows:
    """The same with two of each service, under limits whose seconds are counted."""
    return _rows(stands, "paced")


@pytest.fixture
def relayed(stands: Stands) -> Rows:
    """The same with two of email that send over SMTP, and proxies before PostgreSQL and the relay."""
    return _rows(stands, "relayed")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """What a row had to say travels with its report, also from another process."""
    if call.when == "call":
        item.user_properties.extend(("row", line) for line in row.LINES)
        row.LINES.clear()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Every row in a line of its own."""
    reports = [one for end in ("passed", "failed") for one in terminalreporter.stats.get(end, [])]
    lines = [text for one in reports if one.when == "call" for name, text in one.user_properties if name == "row"]
    if lines:
        terminalreporter.section("fault matrix")
        for line in sorted(lines):
            terminalreporter.write_line(line)
