"""A whole system for a test: `nurture up` in a directory of its own, spoken to as a user would."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import asyncpg
import httpx
from nurture_local.ports import free_port

NURTURE = str(Path(sys.executable).parent / "nurture")
CLEAN = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("RESEND_", "SMTP_", "TELEGRAM_", "NURTURE_", "SANDBOX_"))
    and name
    not in {
        "DATABASE_URL",
        "NATS_URL",
        "ADMIN_API_KEY",
        "PORT",
        "PUBLIC_URL",
        "SECRET_KEY",
        "FROM_EMAIL",
        "EMAIL_PROVIDER",
        "ENVIRONMENT",
    }
}
"""What a test's processes see of the environment: nothing that could lead out of this machine."""

T = TypeVar("T")
USED: set[Path] = set()
"""Data directories whose clusters may lie elsewhere: PostgreSQL cannot be root, and cannot reach root's folders."""


def eventually(ask: Callable[[], T], *, within: float = 60, what: str = "") -> T:
    """The first truthy answer. Fails with the last one; asks often, since a busy machine is slow and a quick one is not."""
    tick, pause = threading.Event(), 0.05
    deadline = time.monotonic() + within
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what or 'it'} did not happen within {within:.0f} s; the last answer was {answer!r}")
        tick.wait(pause)
        # A long wait is asked about less often: the machine has other work.
        pause = min(pause * 1.2, 0.5)


class System:
    """A running instance. `cli` is the command line, `api` the gateway, `inbox` the sandbox."""

    def __init__(self, data_dir: Path, *options: str, env: dict[str, str] | None = None) -> None:
        self.data_dir = data_dir
        self.options = options
        self.env = {**CLEAN, **(env or {})}
        self.database = ""
        self.api: httpx.Client = httpx.Client()
        self.inbox: httpx.Client = httpx.Client()

    @property
    def environment(self) -> dict[str, str]:
        """What a command sees that is typed beside this instance."""
        return {**self.env, "NURTURE_DATA_DIR": str(self.data_dir)}

    def cli(self, *args: str, check: bool = True, timeout: float = 90, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run `nurture …` against this instance."""
        done = subprocess.run(
            [NURTURE, *args], env=self.environment, text=True, capture_output=True,
            timeout=timeout, cwd=self.data_dir.parent, **more,
        )  # fmt: skip
        assert not check or done.returncode == 0, (
            f"nurture {' '.join(args)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done

    def up(self) -> "System":
        # A port of its own: the usual one is asked for by every instance that starts at this moment.
        port = str(free_port())
        USED.add(self.data_dir)
        self.cli("up", "--detach", "--data-dir", str(self.data_dir), "--port", port, *self.options)
        self._connect()
        return self

    def _connect(self) -> None:
        status = self.status()
        self.database = status["database"]
        key = {"Authorization": f"Bearer {status['api_key']}"}
        self.api = httpx.Client(base_url=status["gateway"], headers=key, timeout=30)
        if status.get("sandbox"):
            self.inbox = httpx.Client(base_url=status["sandbox"], timeout=30)

    def down(self) -> None:
        self.api.close()
        self.inbox.close()
        self.cli("down", "--data-dir", str(self.data_dir))

    def status(self) -> dict[str, Any]:
        return json.loads(self.cli("status", "-o", "json", "--data-dir", str(self.data_dir)).stdout)

    def kill(self, service: str) -> int:
        """kill -9, by pid, as an accident would. Returns the pid that died."""
        pid = self.status()["services"][service]["pid"]
        os.kill(pid, signal.SIGKILL)
        return pid

    def back(self, service: str, not_pid: int) -> None:
        """Wait until the supervisor has replaced a process."""

        def replaced() -> bool:
            now = self.status()["services"][service]
            return now["pid"] not in (None, not_pid) and now["state"] == "ready"

        eventually(replaced, what=f"a new {service}")

    def service(self, action: str, name: str) -> None:
        self.cli("service", action, name, "--data-dir", str(self.data_dir))

    # What a user asks over REST.

    def post(self, path: str, body: Any = None, *, key: str | None = None, **more: Any) -> httpx.Response:
        headers = {"Idempotency-Key": key or str(uuid4()), **more.pop("headers", {})}
        return self.api.post(path, json=body, headers=headers, **more)

    def person(self, name: str, **fields: Any) -> str:
        """Register somebody; returns their id."""
        answer = self.post(
            "/admin/api/users", {"external_id": name, "first_name": name.split("-")[0].title(), **fields}
        )
        assert answer.status_code in (200, 201), answer.text
        return answer.json()["id"]

    def trigger(self, body: dict[str, Any], *, key: str | None = None) -> httpx.Response:
        return self.post("/admin/api/nurture/trigger", body, key=key)

    def command(self, path: str, body: Any = None, *, key: str | None = None, **more: Any) -> httpx.Response:
        """Ask for something and wait for the answer: a busy machine says 202 first, and the same key gives the answer later."""
        key = key or str(uuid4())
        first = self.post(path, body, key=key, **more)
        if first.status_code != 202:
            return first
        self.settled(first.json()["command_id"])
        return self.post(path, body, key=key, **more)

    def answer(self, body: dict[str, Any], *, key: str | None = None) -> httpx.Response:
        """Trigger and wait for the answer."""
        return self.command("/admin/api/nurture/trigger", body, key=key)

    def trigger_all(self, sequence_type: str = "onboarding") -> dict[str, Any]:
        """Start everybody and wait until the command is settled. Returns its answer."""
        started = self.trigger({"segment": "all", "sequence_type": sequence_type})
        assert started.status_code == 202, started.text
        return self.settled(started.json()["command_id"])

    def settled(self, command_id: str, within: float = 60) -> dict[str, Any]:
        def ask() -> dict[str, Any] | None:
            answer = self.api.get(f"/admin/api/commands/{command_id}").json()
            return answer if answer["state"] == "settled" else None

        return eventually(ask, within=within, what=f"the end of command {command_id}")

    def pages(self, path: str, **params: Any) -> Iterator[dict[str, Any]]:
        """Every item of a paged list."""
        cursor: str | None = None
        while True:
            page = self.api.get(path, params={"limit": 100, **params, **({"cursor": cursor} if cursor else {})}).json()
            yield from page["items"]
            cursor = page.get("next")
            if not cursor:
                return

    def deliveries(self, **params: Any) -> list[dict[str, Any]]:
        return list(self.pages("/admin/api/deliveries", **params))

    def counts(self) -> dict[str, int]:
        """Deliveries by status."""
        return self.api.get("/admin/api/deliveries/summary").json()

    def quiet(self, wanted: int, within: float = 90) -> dict[str, int]:
        """Wait until that many deliveries exist and none is pending."""

        def ask() -> dict[str, int] | None:
            counts = self.counts()
            return counts if sum(counts.values()) >= wanted and not counts.get("pending") else None

        return eventually(ask, within=within, what=f"{wanted} settled deliveries (now {self.counts()})")

    def rows(self, query: str, *args: Any) -> list[Any]:
        """Ask the record itself, as an operator with psql would."""

        async def ask() -> list[Any]:
            connection = await asyncpg.connect(self.database)
            try:
                return await connection.fetch(query, *args)
            finally:
                await connection.close()

        return asyncio.run(ask())

    # What the provider saw.

    def ledger(self) -> dict[str, Any]:
        return self.inbox.get("/api/ledger/summary").json()

    def messages(self, **params: Any) -> list[dict[str, Any]]:
        return self.inbox.get("/api/messages", params={"limit": 100_000, **params}).json()

    def chaos(self, **settings: Any) -> None:
        assert self.inbox.post("/api/chaos", json=settings).status_code < 300


@contextlib.contextmanager
def running(data_dir: Path, *options: str, env: dict[str, str] | None = None) -> Iterator[System]:
    """A system for the length of a block; on a failure its logs are in the data directory."""
    system = System(data_dir, *options, env=env)
    try:
        yield system.up()
    finally:
        system.down()
