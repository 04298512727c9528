"""What a measurement stands on: the sink, a whole Nurture, bare servers for the reference. What starts here is stopped here."""

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
from nurture_local import cluster_home, control, nats, postgres, servers
from nurture_local.instance import DataDir
from nurture_local.ports import free_port

WEBHOOK_SECRET = "whsec_bmV2ZXItdXNlZC1vdXRzaWRlLW9mLWEtYmVuY2g="
CLEAN = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("RESEND_", "TELEGRAM_", "NURTURE_", "SANDBOX_", "EMAIL_"))
    and name
    not in {
        "DATABASE_URL",
        "NATS_URL",
        "ADMIN_API_KEY",
        "PORT",
        "PUBLIC_URL",
        "SECRET_KEY",
        "FROM_EMAIL",
        "ENVIRONMENT",
    }
}
"""The environment without anything that could lead out of this machine."""

T = TypeVar("T")


class TookTooLong(Exception):
    """A measurement did not come to its end; the text says what it waited for."""


def wait_for(ask: Callable[[], T], what: str, *, within: float, every: float = 0.05) -> T:
    """The first truthy answer. Raises TookTooLong after `within` seconds."""
    deadline = time.monotonic() + within
    while not (answer := ask()):
        if time.monotonic() > deadline:
            raise TookTooLong(f"{what} did not come about within {within:.0f} s; the last answer was {answer!r}")
        time.sleep(every)
    return answer


class SinkProcess:
    """The provider and how to ask it."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.sink"],
            env={**CLEAN, "RESEND_WEBHOOK_SECRET": WEBHOOK_SECRET},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30, trust_env=False)

    @property
    def pid(self) -> int:
        return self.process.pid

    def ask(self, **setup: Any) -> dict[str, Any]:
        """Set it up; what it has counted so far."""
        return self._client.post("/bench", json=setup).raise_for_status().json()

    def arrivals(self, delivery_ids: list[str]) -> list[float | None]:
        """When each was first seen, seconds of the monotonic clock."""
        return self._client.post("/bench/arrivals", json=delivery_ids).raise_for_status().json()

    def calls(self) -> list[float]:
        """When each call began, without repeats of a key, seconds of the monotonic clock."""
        return self._client.get("/bench/calls").raise_for_status().json()

    def close(self) -> None:
        self._client.close()
        servers.stop(self.process)  # type: ignore[arg-type]
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder for the length of the block, passable for PostgreSQL's account."""
    made = Path(tempfile.mkdtemp(prefix="nurture-bench-"))
    made.chmod(0o711)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextlib.contextmanager
def sink() -> Iterator[SinkProcess]:
    process = SinkProcess()
    try:
        yield process
    finally:
        process.close()


class Servers:
    """A NATS server and a PostgreSQL server with the settings that Nurture ships."""

    def __init__(self, nats_url: str, nats_pid: int, database_url: str, postgres_pid: int) -> None:
        self.nats_url = nats_url
        self.database_url = database_url
        self.pids = {"postgres": postgres_pid, "nats": nats_pid}


@contextlib.contextmanager
def bare_servers(where: Path) -> Iterator[Servers]:
    """Servers of the reference's own, from the same programs and with the same settings as Nurture's."""
    where.mkdir(mode=0o711)
    home = cluster_home.choose(where)
    password = secrets.token_hex(16)
    try:
        postgres.prepare(home, password)
        port, bus, monitor = free_port(), free_port(), free_port()
        with (
            servers.running(postgres.spec(home, port), where / "postgres.log") as database,
            servers.running(nats.spec(where / "nats", bus, monitor), where / "nats.log") as broker,
        ):
            yield Servers(nats.url(bus), broker.pid, postgres.url(port, password, "postgres"), database.pid)
    finally:
        postgres.remove(home)


class System:
    """A running Nurture: where it is, and the processes that it is made of."""

    def __init__(self, data: DataDir, supervisor: int, sink: SinkProcess) -> None:
        state = data.running()
        assert state is not None
        self._control = state.control
        status = control.ask(state.control, "ready", seconds=120)
        self.sink = sink
        self.pids = {name: process["pid"] for name, process in status["processes"].items()}
        self.supervisor = supervisor
        self.database_url: str = status["database"]
        self.nats_url: str = status["nats"]
        self.gateway_port = urlsplit(status["gateway"]).port or 80
        self.api = httpx.Client(
            base_url=status["gateway"],
            headers={"Authorization": f"Bearer {status['api_key']}"},
            timeout=120,
            trust_env=False,
        )

    def service(self, verb: str, name: str) -> None:
        """Start or stop a process; its plain name is every replica of it. Raises RuntimeError."""
        answer = control.ask(self._control, verb, seconds=120, name=name)
        if not answer["ok"]:
            raise RuntimeError(f"{verb} {name}: {answer['error']}")

    def post(self, path: str, *, wanted: tuple[int, ...], **content: Any) -> dict[str, Any]:
        """POST with a fresh Idempotency-Key. Raises RuntimeError for any other status."""
        headers = {"Idempotency-Key": secrets.token_hex(12), **content.pop("headers", {})}
        answer = self.api.post(path, headers=headers, **content)
        if answer.status_code not in wanted:
            raise RuntimeError(f"POST {path} answered {answer.status_code}: {answer.text[:500]}")
        return answer.json()


def _answers(data: DataDir) -> bool:
    state = data.running()
    try:
        return state is not None and control.ask(state.control, "where", seconds=10)["ok"]
    except control.Unreachable:
        return False


@contextlib.contextmanager
def system(
    where: Path, provider: SinkProcess, replicas: dict[str, int] | None = None, **settings: str
) -> Iterator[System]:
    """A whole Nurture in `where`, sending to the sink instead of to Resend. `settings` are of its environment."""
    data = DataDir(where)
    data.create()
    environment = {
        **CLEAN,
        "RESEND_API_KEY": "re_bench_never_leaves_this_machine",
        "RESEND_API_URL": f"http://127.0.0.1:{provider.port}",
        "RESEND_WEBHOOK_SECRET": WEBHOOK_SECRET,
        "RESEND_RATE_LIMIT": "100000",
        "TELEGRAM_BOT_TOKEN": "1234567:bench_never_leaves_this_machine",
        "TELEGRAM_API_URL": f"http://127.0.0.1:{provider.port}",
        "TELEGRAM_UPDATES": "off",
        "TELEGRAM_RATE_LIMIT": "5000",
        "FROM_EMAIL": "Nurture <hello@example.com>",
        "PORT": str(free_port()),
        **settings,
    }
    log = where / "supervisor.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "nurture_local.launch",
                str(where),
                json.dumps({"replicas": replicas} if replicas else {}),
            ],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_for(lambda: process.poll() is not None or _answers(data), "the supervisor", within=30)
        try:
            running = System(data, process.pid, provider)
        except (AssertionError, control.Unreachable):
            raise RuntimeError(f"Nurture did not start:\n{log.read_text(errors='replace')[-3000:]}") from None
        try:
            yield running
        finally:
            running.api.close()
    finally:
        servers.stop(process, signal.SIGTERM, 60)
        with contextlib.suppress(OSError):
            data.wipe()
