"""The gateway as a process on real PostgreSQL and NATS; the test plays the controller, the provider and the reader."""

import asyncio
import base64
import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import msgspec
import nats
from browser import Browser
from nurture_chassis.bus import Bus
from nurture_chassis.database import Database
from nurture_chassis.queries import Queries
from nurture_chassis.settings import Secret, ServiceSettings
from nurture_chassis.tokens import Tokens
from nurture_chassis.topology import ensure
from nurture_gateway.webhooks import signature
from nurture_local.ports import free_port
from nurture_local.probes import http_ok
from nurture_local.processes import ChildSpec, Stage
from nurture_local.servers import running

from tests.servers import SECRET_KEY, embedded_nats, embedded_postgres, role_url

KEY = "test-admin-key-0123456789"
WEBHOOK_KEY = b"a webhook secret of thirty-two b"
WEBHOOK_SECRET = "whsec_" + base64.b64encode(WEBHOOK_KEY).decode()
TELEGRAM_SECRET = "a-secret_for-telegram"
PUBLIC = "http://nurture.test"
TOKENS = Tokens(SECRET_KEY)
EARLIER = ("the key before", "and the one before that")


class Servers:
    """PostgreSQL with every schema, NATS with every stream and consumer."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.admin_url = stack.enter_context(stack.enter_context(embedded_postgres()).migrated())
        self.nats_url = stack.enter_context(embedded_nats())
        asyncio.run(self._make_topology())

    @classmethod
    def beside(cls, other: "Servers", stack: ExitStack) -> "Servers":
        """The same database with a NATS of its own, which may be taken away."""
        servers = cls.__new__(cls)
        servers.folder, servers.admin_url = other.folder, other.admin_url
        servers.nats_url = stack.enter_context(embedded_nats())
        asyncio.run(servers._make_topology())
        return servers

    async def _make_topology(self) -> None:
        settings = ServiceSettings(database_url=Secret(""), nats_url=self.nats_url, secret_key=Secret(SECRET_KEY))
        bus = Bus(self.nats_url, "test", Database(settings, "gateway", Queries("", "public")))
        await bus.connect()
        await bus.broker.start()
        await ensure(bus)
        await bus.broker.stop()

    def sql(self, statement: str, *args: Any) -> list[asyncpg.Record]:
        """One statement as the administrator."""

        async def run() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(self.admin_url)
            try:
                await connection.set_type_codec(
                    "jsonb",
                    schema="pg_catalog",
                    encoder=lambda v: msgspec.json.encode(v).decode(),
                    decoder=msgspec.json.decode,
                )
                return await connection.fetch(statement, *args)
            finally:
                await connection.close()

        return asyncio.run(run())

    def delivery(self, user_id: UUID | str, address: str, **columns: Any) -> UUID:
        """A delivery as the controller would have made it."""
        delivery_id, enrolment_id, sequence_id = uuid4(), uuid4(), uuid4()
        person = UUID(str(user_id))
        self.sql(
            "insert into controller.sequences values ($1, $2, 1, '{\"steps\": []}', 'x', now())",
            sequence_id, f"s{delivery_id.hex}",
        )  # fmt: skip
        self.sql(
            "insert into controller.enrolments (id, command_id, user_id, sequence_id, sequence_type, step, state, started_at)"
            " values ($1, $2, $3, $4, $5, 1, 'active', now())",
            enrolment_id, uuid4(), person, sequence_id, f"s{delivery_id.hex}",
        )  # fmt: skip
        self.sql(
            "insert into controller.deliveries"
            " (id, enrolment_id, user_id, sequence_type, step, channel, scheduled_at, created_at, sent_at)"
            " values ($1, $2, $3, 'onboarding', 1, 'email', now(), now(), $4)",
            delivery_id, enrolment_id, person, columns.get("sent_at"),
        )  # fmt: skip
        self.sql(
            "insert into controller.delivery_contents values ($1, $2, 'nurture_sequence', 'Hello', 'Body', '{}', $3, now())",
            delivery_id, address, {"why": "test"},
        )  # fmt: skip
        return delivery_id

    def link(self, url: str) -> str:
        from nurture_chassis.tokens import link_id

        self.sql("insert into email.links (id, url) values ($1, $2) on conflict do nothing", link_id(url), url)
        return link_id(url)


class Gateway:
    """One gateway process and a client with its key."""

    def __init__(
        self, servers: Servers, stack: ExitStack, name: str = "gateway", ready: str = "/health/ready", **env: str
    ) -> None:
        self.servers = servers
        self._stack = stack
        self.port = free_port()
        self.log = servers.folder / f"{name}.log"
        settings = {
            "DATABASE_URL": role_url(servers.admin_url, "nurture_gateway"),
            "NATS_URL": servers.nats_url,
            "SECRET_KEY": SECRET_KEY,
            "SECRET_KEY_PREVIOUS": ", ".join(EARLIER),
            "ADMIN_API_KEY": KEY,
            "RESEND_WEBHOOK_SECRET": WEBHOOK_SECRET,
            "TELEGRAM_WEBHOOK_SECRET": TELEGRAM_SECRET,
            "PUBLIC_URL": PUBLIC,
            "NURTURE_SANDBOX": "1",
            "PORT": str(self.port),
            "LOG_FORMAT": "text",
        } | env
        self.spec = ChildSpec(
            name=name,
            stage=Stage.GATEWAY,
            argv=(sys.executable, "-m", "nurture_gateway"),
            env={"PATH": os.environ["PATH"]} | {key: value for key, value in settings.items() if value},
            ready=http_ok(self.port, ready),
        )
        self.process = stack.enter_context(running(self.spec, self.log))
        self.url = f"http://127.0.0.1:{self.port}"
        self.anonymous = stack.enter_context(httpx.Client(base_url=self.url, timeout=30))
        self.http = stack.enter_context(
            httpx.Client(base_url=self.url, timeout=60, headers={"Authorization": f"Bearer {KEY}"})
        )

    def stranger(self) -> Browser:
        """A browser that is not signed in."""
        return self._stack.enter_context(contextlib.closing(Browser(self.url)))

    def browser(self) -> Browser:
        """One that is."""
        browser = self.stranger()
        assert browser.sign_in(KEY).status_code == 303
        return browser

    def post(self, path: str, body: Any = None, *, key: str | None = None, **more: Any) -> httpx.Response:
        headers = more.pop("headers", {}) | ({"Idempotency-Key": key} if key else {})
        if body is not None:
            more["json"] = body
        return self.http.post(path, headers=headers, **more)

    def person(self, **fields: Any) -> dict[str, Any]:
        name = uuid4().hex[:12]
        usual = {"external_id": name, "first_name": "Ada", "email": f"{name}@example.org"}
        answer = self.post("/admin/api/users", usual | fields)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def webhook(
        self, event: Any, *, key: bytes = WEBHOOK_KEY, at: float | None = None, **headers: str
    ) -> httpx.Response:
        body = event if isinstance(event, bytes) else msgspec.json.encode(event)
        webhook_id, stamp = f"msg_{uuid4().hex}", str(int(time.time() if at is None else at))
        mac = signature(key, webhook_id, stamp, body)
        signed = {"svix-id": webhook_id, "svix-timestamp": stamp, "svix-signature": f"v1,{mac}"}
        return self.anonymous.post("/admin/api/email/webhook", content=body, headers=signed | headers)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a counter over the series that carry these labels."""
        total = 0.0
        for line in self.anonymous.get("/metrics").text.splitlines():
            if line.startswith(name + "_total") and all(f'{key}="{value}"' in line for key, value in labels.items()):
                total += float(line.rpartition(" ")[2])
        return total


Answer = Callable[[str, dict[str, Any]], tuple[int, dict[str, Any]] | None]


class Controller:
    """Hears every message on the bus and answers commands as the test says."""

    def __init__(self, nats_url: str) -> None:
        self._url = nats_url
        self.answer: Answer = lambda _subject, _command: None
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._client: Any = self._do(self._connect())

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _connect(self) -> Any:
        client = await nats.connect(self._url)
        await client.subscribe("nurture.>", cb=self._hear)
        await client.flush()
        return client

    async def _hear(self, msg: Any) -> None:
        body = msgspec.json.decode(msg.data)
        with self._changed:
            self.heard.append((msg.subject, body))
            self._changed.notify_all()
        if ".cmd.controller." in msg.subject and (answer := self.answer(msg.subject, body)):
            await self._settle(body["command_id"], *answer)

    async def _settle(self, command_id: str, status: int, result: dict[str, Any]) -> None:
        await self._say(
            "nurture.evt.controller.command_settled",
            {"command_id": command_id, "at": datetime.now(UTC).isoformat(), "status": status, "result": result},
        )

    async def _say(self, subject: str, body: Any) -> None:
        await self._client.jetstream().publish(subject, msgspec.json.encode(body))

    def say(self, subject: str, body: Any) -> None:
        self._do(self._say(subject, body))

    def settle(self, command_id: str, status: int, result: dict[str, Any]) -> None:
        self._do(self._settle(command_id, status, result))

    def await_message(self, name: str, matches: Callable[[dict[str, Any]], bool] = lambda _: True) -> dict[str, Any]:
        """The first message whose subject ends so and whose body fits, heard already or within 15 s."""

        def found() -> dict[str, Any] | None:
            return next((body for subject, body in self.heard if subject.endswith(name) and matches(body)), None)

        with self._changed:
            assert self._changed.wait_for(found, 15), f"no {name}"
            return found() or {}

    def close(self) -> None:
        self._do(self._client.drain())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()


@contextlib.contextmanager
def eventually(seconds: float = 15) -> Iterator[Callable[[Callable[[], bool]], None]]:
    """`until(condition)` asks again and again until it holds."""
    tick = threading.Event()

    def until(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "it did not come true in time"
            tick.wait(0.02)

    yield until
