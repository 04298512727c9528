"""A whole system of which the test holds every process: what the supervisor would run, with proxies where wanted."""

import asyncio
import contextlib
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx
import msgspec
from nurture_contracts.topology import CONSUMERS
from nurture_local import configuration, migrate, plan, postgres
from nurture_local.configuration import Options
from nurture_local.instance import DataDir
from nurture_local.ports import free_port
from nurture_local.processes import SERVERS, ChildSpec
from nurture_local.verify import snapshot
from nurture_local.verify.history import Snapshot

from tests.faults import cluster, power
from tests.faults.block_device import BlockDevice
from tests.faults.database import Database
from tests.faults.forkserver import Forks
from tests.faults.haste import Haste
from tests.faults.process import Process
from tests.faults.proxy import Proxy, before

T = TypeVar("T")
ROOMS = ("gateway", "controller", "email", "telegram", "scoring")
QUICK = Haste(lease=4.0, call=2.0, margin=0.5, ticks=0.4, sweep=1.5, ack_wait=3.0, park=2.0)
"""Waits that a test can afford. A lease still outlives the longest call, as it does in earnest."""
DOUBTFUL = {"email": 0, "telegram": 4}
"""Deliveries that one death of a process may leave `unknown`: an email is asked again under its key, a Telegram message of
the volley in flight is not."""
DOUBTFUL_OVER_SMTP = {**DOUBTFUL, "email": 8}
"""The same where a relay takes the emails, which knows no keys either."""


class TookTooLong(AssertionError):
    """Something that should have happened by itself has not; the text says what, and the last answer."""


def eventually(ask: Callable[[], T], what: str | Callable[[], str], within: float = 60) -> T:
    """The first truthy answer; asks every 50 ms, less often when it takes long. `what` is for the failure's text."""
    tick, pause, deadline = threading.Event(), 0.05, time.monotonic() + within
    while not (answer := ask()):
        if time.monotonic() > deadline:
            what = what if isinstance(what, str) else what()
            raise TookTooLong(f"{what} did not happen within {within:.0f} s; the last answer was {answer!r}")
        tick.wait(pause)
        pause = min(pause * 1.1, 0.3)
    return answer


class Stand:
    """`wires` are proxies by what they stand before: nats, postgres, provider, relay. `told`: settings of the whole
    installation. `disk`: where both servers keep what they hold; the provider and its ledger are not of this machine."""

    def __init__(
        self,
        folder: Path,
        forks: Forks,
        *,
        replicas: Mapping[str, int] | None = None,
        haste: Haste | None = QUICK,
        wires: tuple[str, ...] = (),
        told: Mapping[str, str] | None = None,
        env: Mapping[str, Mapping[str, str]] | None = None,
        clustered: bool = False,
        disk: Path | None = None,
    ) -> None:
        self.folder = folder
        self.logs = folder / "logs"
        self.data = DataDir((disk or folder) / "data")
        self.wires: dict[str, Proxy] = {}
        self.processes: dict[str, Process] = {}
        self.spoilt = False
        self._forks = forks
        self._replicas = dict(replicas or {})
        self._haste = haste
        self._wanted = wires
        self._told = told or {}
        self._env = env or {}
        self._clustered = clustered
        self._stack = contextlib.ExitStack()
        self._database: Database | None = None

    def open(self) -> "Stand":
        """Start everything; returns when all of it is ready."""
        self.folder.chmod(0o711)
        self.data.create()
        self.logs.mkdir()
        options = Options(port=free_port(), replicas=self._replicas)
        nodes, told, self.monitors = cluster.documented(self.data.path / "nats") if self._clustered else ([], {}, {})
        settings = configuration.load({**told, **self._told})
        self.doubtful = DOUBTFUL_OVER_SMTP if settings.email_provider == "smtp" else DOUBTFUL
        self.plan = plan.make(self.data, settings, options, {"PATH": "/usr/bin:/bin", **told, **self._told})
        ports = self.plan.state.ports
        self.monitors = self.monitors or {"nats": ports["nats-monitor"]}
        self.sandbox_url = f"http://127.0.0.1:{ports['sandbox']}"
        self.nats_url = self.plan.state.nats
        self.admin_url = self.plan.admin_url
        self.ledger_path = self.folder / "sandbox" / "ledger.sqlite3"
        servers = {"nats": ports.get("nats"), "postgres": ports["postgres"], "provider": ports["sandbox"]}
        servers["relay"] = ports.get(plan.POSTBOX)
        for wire in self._wanted:
            self.wires[wire] = self._stack.enter_context(before(servers[wire]))
        for spec in (*nodes, *self.plan.specs):
            self.processes[spec.name] = Process(self._own(spec), self._forks, self.logs / f"{spec.name}.log")
        self._begin([one for one in self.processes.values() if one.spec.stage in SERVERS])
        asyncio.run(migrate.migrate(self.admin_url, self.plan.secret_key, self.plan.publish_schema, own_server=True))
        self._begin([one for one in self.processes.values() if one.spec.stage not in SERVERS])
        key = {"Authorization": f"Bearer {self.plan.api_key}"}
        self.gateways = [
            self._stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{one.port}", headers=key, timeout=10))
            for one in self.room("gateway")
        ]
        self.provider = self._stack.enter_context(httpx.Client(base_url=self.sandbox_url, timeout=10))
        return self

    def _own(self, spec: ChildSpec) -> ChildSpec:
        """The supervisor's child with the test's proxies, haste and settings."""
        env, room = dict(spec.env), spec.name.partition("-")[0]
        for wire, names in (
            ("nats", ("NATS_URL",)),
            ("postgres", ("DATABASE_URL",)),
            ("provider", ("RESEND_API_URL", "TELEGRAM_API_URL")),
        ):
            for name in names:
                if wire in self.wires and env.get(name):
                    env[name] = _through(env[name], self.wires[wire].port)
        if "relay" in self.wires and room == "email":
            env["SMTP_PORT"] = str(self.wires["relay"].port)
        if room == "gateway":
            env["PORT"] = env["NURTURE_HTTP_PORT"] = env["PORT"] if spec.name == "gateway" else env["NURTURE_HTTP_PORT"]
        if self._haste is not None and spec.argv[1:2] == ("-m",):
            env["FAULT_HASTE"] = msgspec.json.encode(self._haste).decode()
        if room == "sandbox":
            env |= {"SANDBOX_DATA": str(self.ledger_path.parent.resolve()), "SANDBOX_READING_SECONDS": "0.2"}
        return msgspec.structs.replace(spec, env={**env, **self._env.get(room, {})})

    def _begin(self, processes: list[Process]) -> None:
        for process in processes:
            process.start()
        for process in processes:
            process.wait_ready()

    def close(self) -> None:
        """kill -9 for all of it."""
        for process in reversed(self.processes.values()):
            process.end()
        if self._database is not None:
            self._database.close()
        self._stack.close()
        if self.plan.home:
            postgres.remove(self.plan.home)

    # Processes.

    def __getattr__(self, name: str) -> Process:
        """`stand.email` is the first email process."""
        try:
            return self.__dict__["processes"][name]
        except KeyError:
            raise AttributeError(name) from None

    def room(self, name: str) -> list[Process]:
        """Every replica."""
        return [one for one in self.processes.values() if one.room == name]

    @property
    def services(self) -> list[Process]:
        return [one for one in self.processes.values() if one.room in ROOMS]

    def off(self, *disks: BlockDevice) -> None:
        """The power goes: services and servers stand still at one moment and are gone, and what `disks` had not synced."""
        ours = [one for one in self.processes.values() if one.room != "sandbox"]
        for process in ours:
            process.leave()
        power.cut([one.pid for one in ours if one.pid is not None], *disks)
        for process in ours:
            process.wait_gone()

    def on(self) -> None:
        """The power is back: everything starts at once, in no order."""
        if self.plan.home:
            postgres.prepare(self.plan.home, self.plan.postgres_password)
        self._begin([one for one in self.processes.values() if one.room != "sandbox"])

    def all_ready(self, within: float = 60) -> None:
        """Wait until every service says so."""
        for process in self.services:
            process.wait_ready(within)

    def unready(self) -> dict[str, tuple[str, ...]]:
        """Who says that it is not ready, and why."""
        said = {one.name: one.ready() for one in self.services}
        return {name: ready.problems for name, ready in said.items() if not ready.ok}

    # The record, the bus, the provider.

    def rows(self, query: str, *args: Any) -> list[asyncpg.Record]:
        """Ask the record itself."""
        if self._database is None:
            self._database = Database(self.admin_url)
        return self._database.fetch(query, *args)

    def value(self, query: str, *args: Any) -> Any:
        return self.rows(query, *args)[0][0]

    def jsz(self) -> dict[str, dict[str, Any]]:
        """What NATS says of each consumer, by durable, with its stream beside it; of several nodes, the one that leads it.
        Raises httpx.HTTPError."""
        return {
            consumer["name"]: {**consumer, "stream": stream["state"], "replicas": stream["config"]["num_replicas"]}
            for node, port in self.monitors.items()
            if not self._clustered or self.processes[node].pid is not None
            for account in cluster.jsz(port).get("account_details", [])
            for stream in account.get("stream_detail", [])
            for consumer in stream.get("consumer_detail", [])
            if not self._clustered or consumer.get("cluster", {}).get("leader") == node
        }

    def chaos(self, **settings: Any) -> None:
        """Faults of the provider; none given: no faults."""
        answer = self.provider.post("/api/chaos", json=settings) if settings else self.provider.delete("/api/chaos")
        assert answer.status_code == 200, answer.text

    def messages(self, **params: Any) -> list[dict[str, Any]]:
        """What the provider took, oldest first."""
        return self.provider.get("/api/messages", params={"limit": 100_000, **params}).json()

    def snapshot(self, *, messages: bool = False) -> Snapshot:
        """Everything that the checks look at."""
        return asyncio.run(
            snapshot.take(self.admin_url, self.plan.publish_schema, self.ledger_path, self.nats_url, messages=messages)
        )

    def unfinished(self) -> dict[str, Any]:
        """What is still under way; empty when the backlog has drained."""
        left: dict[str, Any] = dict(self.rows(_UNFINISHED)[0].items())
        try:
            consumers = self.jsz()
        except (httpx.HTTPError, json.JSONDecodeError):
            return {**left, "bus": "does not answer"}
        left["consumers missing"] = max(0, len(CONSUMERS) - len(consumers))
        left["pending"] = sum(one["num_pending"] for one in consumers.values())
        left["ack_pending"] = sum(one["num_ack_pending"] for one in consumers.values())
        left |= self._outside()
        return {what: count for what, count in left.items() if count}

    def _outside(self) -> dict[str, int]:
        """What the provider has yet to report, and people have yet to do."""
        with contextlib.closing(sqlite3.connect(f"file:{self.ledger_path}?mode=ro", uri=True, timeout=10)) as ledger:
            events, updates = ledger.execute(
                "select (select count(*) from events where done_at is null), (select count(*) from telegram_updates)"
            ).fetchone()
        return {"events": events, "updates": updates}

    def quiet(self, within: float = 60) -> None:
        """Wait until the backlog has drained, of itself, and every service is ready."""
        deadline = time.monotonic() + within
        while True:
            eventually(
                lambda: not self.unfinished(), lambda: f"the end of {self.unfinished()}", deadline - time.monotonic()
            )
            # Twice: between two stations something is on no list.
            if not self.unfinished():
                break
        self.all_ready(max(5.0, deadline - time.monotonic()))


_UNFINISHED = """
select (select count(*) from controller.deliveries where unsettled) as deliveries,
    (select count(*) from controller.start_jobs where not done) as jobs,
    (select count(*) from controller.enrolments where state = 'active' and not paused and next_at <= now()) as due,
    (select count(*) from email.pages where claim_id is null) as pages,
    (select count(*) from email.claims where state = 'open') as claims,
    (select count(*) from telegram.claims where state <> 'settled') as messages,
    (select count(*) from gateway.commands where state = 'accepted') as commands,
    (select count(*) from (
        select from gateway.outbox where published_at is null union all select from controller.outbox where published_at is null
        union all select from email.outbox where published_at is null union all select from telegram.outbox where published_at is null
        union all select from scoring.outbox where published_at is null) as o) as letters
"""


def _through(url: str, port: int) -> str:
    parts = urlsplit(url)
    user, at, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}{at}127.0.0.1:{port}"))


@contextlib.contextmanager
def standing(folder: Path, forks: Forks, **options: Any) -> Iterator[Stand]:
    """A stand for the length of a `with`."""
    stand = Stand(folder, forks, **options)
    try:
        yield stand.open()
    finally:
        stand.close()
