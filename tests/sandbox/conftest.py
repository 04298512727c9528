from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sandbox_process import Receiver, SandboxProcess

Start = Callable[..., SandboxProcess]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def start(tmp_path: Path, receiver: Receiver) -> Iterator[Start]:
    """Starts sandboxes on this test's ledger and receiver, and stops what still runs."""
    started: list[SandboxProcess] = []

    def start(**settings: str) -> SandboxProcess:
        process = SandboxProcess(tmp_path / "sandbox", receiver, **settings)
        started.append(process)
        return process.ready()

    yield start
    for process in started:
        process.stop()


@pytest.fixture
def sandbox(start: Start) -> SandboxProcess:
    return start()


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    """One sandbox for tests that only look at answers."""
    process = SandboxProcess(tmp_path_factory.mktemp("sandbox"), None, SANDBOX_RATE_LIMIT="100000").ready()
    yield process
    process.stop()
