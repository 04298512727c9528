"""The email service as its own process between NATS, PostgreSQL and the sandbox."""

import asyncio
import os
import signal
import ssl
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import msgspec
import nats
import pytest
import trustme
from email_sandbox import Sandbox
from email_stand import SECRET_KEY, Postgres, Stand, standing
from nurture_chassis.bus import Bus
from nurture_chassis.database import Database
from nurture_chassis.queries import Queries
from nurture_chassis.settings import Secret, ServiceSettings
from nurture_chassis.topology import ensure
from nurture_contracts import commands, events
from nurture_contracts.ids import uuid7
from nurture_local import nats as nats_server
from nurture_local.ports import free_port
from nurture_local.probes import http_ok
from nurture_local.processes import ChildSpec, Stage
from nurture_local.servers import running, stop
from smtp_relay import relaying


@pytest.fixture(scope="module")
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = Path(tmp_path_factory.mktemp("email-nats"))
    port = free_port()
    with running(nats_server.spec(folder / "nats", port, free_port({port})), folder / "nats.log"):
        url = f"nats://127.0.0.1:{port}"
        asyncio.run(_declare(url))
        yield url


async def _declare(url: str) -> None:
    settings = ServiceSettings(database_url=Secret(""), nats_url=url, secret_key=Secret(SECRET_KEY))
    bus = Bus(url, "test", Database(settings, "email", Queries("", "public")))
    await bus.connect()
    await bus.broker.start()
    await ensure(bus)
    await bus.broker.stop()


class Service:
    """Starts the room's process, as often as a test wants."""

    def __init__(self, postgres: Postgres, nats_url: str, sandbox: Sandbox, folder: Path, stack: ExitStack) -> None:
        self.nats_url = nats_url
        self.log = folder / "email.log"
        self._stack = stack
        self.environment = {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": postgres.url("nurture_email"),
            "NATS_URL": nats_url,
            "SECRET_KEY": SECRET_KEY,
            "RESEND_API_KEY": "re_sandbox_key",
            "RESEND_API_URL": sandbox.url,
            "FROM_EMAIL": "Acme <hello@acme.test>",
            "PUBLIC_URL": "http://nurture.test",
            "RESEND_RATE_LIMIT": "1000",
            "NURTURE_SANDBOX": "1",
        }

    def start(self) -> subprocess.Popen[bytes]:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        spec = ChildSpec(
            name="email",
            stage=Stage.SERVICE,
            argv=(sys.executable, "-m", "nurture_email"),
            env={**self.environment, "NURTURE_HTTP_PORT": str(port)},
            ready=http_ok(port, "/health/ready"),
        )
        return self._stack.enter_context(running(spec, self.log))


@pytest.fixture
def service(email_postgres: Postgres, nats_url: str, sandbox: Sandbox, tmp_path: Path) -> Iterator[Service]:
    with ExitStack() as stack:
        yield Service(email_postgres, nats_url, sandbox, tmp_path, stack)


PASSWORD = "a-password-that-must-not-show"


@pytest.fixture
def relay_service(service: Service, sandbox: Sandbox) -> Service:
    """The same over SMTP."""
    for name in ("RESEND_API_KEY", "RESEND_API_URL", "RESEND_RATE_LIMIT"):
        del service.environment[name]
    service.environment |= {
        "EMAIL_PROVIDER": "smtp", "SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(sandbox.smtp_port), "SMTP_TLS": "none",
        "SMTP_RATE_LIMIT": "1000", "EMAIL_CONCURRENCY": "4",
    }  # fmt: skip
    return service


def test_the_views_say_how_often_this_room_tries(service: Service, email_postgres: Postgres) -> None:
    shown: list[int] = []

    async def look() -> None:
        async with standing(email_postgres) as stand:
            (delivery,) = await stand.deliveries(1)
            asks = "select max_attempts from public.message_deliveries where id = $1"
            shown.append(await stand.admin.fetchval(asks, delivery))

    for wanted in ("7", "2"):
        service.environment["EMAIL_MAX_ATTEMPTS"] = wanted
        process = service.start()
        asyncio.run(look())
        stop(process)
    assert shown == [7, 2]


class Ear:
    """Sends pages and hears what the room says."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._heard = asyncio.Event()
        self.settled: dict[UUID, str] = {}

    async def begin(self) -> "Ear":
        await self._client.subscribe("nurture.evt.email.settled", cb=self._hear)
        await self._client.flush()
        return self

    async def _hear(self, msg: Any) -> None:
        for item in msgspec.json.decode(msg.data, type=events.EmailsSettled).items:
            assert item.delivery_id not in self.settled
            self.settled[item.delivery_id] = item.outcome
        self._heard.set()

    async def send(self, items: list[UUID]) -> None:
        page = commands.SendEmails(page_id=uuid7(), items=items)
        await self._client.jetstream().publish(page.subject, msgspec.json.encode(page))

    async def until(self, wanted: list[UUID]) -> None:
        async with asyncio.timeout(30):
            while not set(wanted) <= set(self.settled):
                self._heard.clear()
                await self._heard.wait()


def scene(postgres: Postgres, nats_url: str, play: Any) -> None:
    async def whole() -> None:
        async with asyncio.timeout(100), standing(postgres) as stand:
            client = await nats.connect(nats_url)
            try:
                await play(stand, await Ear(client).begin())
            finally:
                await client.close()

    asyncio.run(whole())


def test_pages_on_the_bus_become_mails_and_settlements(
    email_postgres: Postgres, service: Service, sandbox: Sandbox
) -> None:
    async def play(stand: Stand, ear: Ear) -> None:
        process = await asyncio.to_thread(service.start)
        ids = await stand.deliveries(250)
        for start in range(0, 250, 100):
            await ear.send(ids[start : start + 100])
        await ear.until(ids)
        assert set(ear.settled.values()) == {"accepted"}
        assert sorted(message["delivery_id"] for message in sandbox.messages()) == sorted(map(str, ids))
        async with httpx.AsyncClient(base_url=service.url) as client:
            document = (await client.get("/asyncapi")).json()
            metrics = (await client.get("/metrics")).text
        assert "nurture.cmd.email.send_emails" in str(document)
        assert 'nurture_attempts_settled_total{channel="email",outcome="accepted"} 250.0' in metrics
        assert await asyncio.to_thread(stop, process) == 0
        assert "re_sandbox_key" not in service.log.read_text()

    scene(email_postgres, service.nats_url, play)


def test_a_killed_process_is_made_good_by_the_next_one(
    email_postgres: Postgres, service: Service, sandbox: Sandbox
) -> None:
    async def play(stand: Stand, ear: Ear) -> None:
        process = await asyncio.to_thread(service.start)
        ids = await stand.deliveries(60)
        sandbox.chaos(close_after_accept=1, hang_seconds=20)
        await ear.send(ids)
        await asyncio.to_thread(_await_messages, sandbox, 60)
        process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(process.wait)
        assert ear.settled == {}
        await stand.admin.execute("update email.claims set lease_until = now() - interval '1 s', next_at = now()")
        await asyncio.to_thread(service.start)
        await ear.until(ids)
        assert set(ear.settled.values()) == {"accepted"}
        assert len(sandbox.messages()) == 60

    scene(email_postgres, service.nats_url, play)


def test_a_clean_stop_lets_the_call_in_flight_end(email_postgres: Postgres, service: Service, sandbox: Sandbox) -> None:
    async def play(stand: Stand, ear: Ear) -> None:
        process = await asyncio.to_thread(service.start)
        ids = await stand.deliveries(10)
        sandbox.chaos(latency_ms=1500)
        await ear.send(ids)
        await _until_claimed(stand)
        assert await asyncio.to_thread(stop, process) == 0
        await ear.until(ids)
        assert set(ear.settled.values()) == {"accepted"}

    scene(email_postgres, service.nats_url, play)


def test_over_smtp_pages_become_mails_and_settlements(
    email_postgres: Postgres, relay_service: Service, sandbox: Sandbox
) -> None:
    async def play(stand: Stand, ear: Ear) -> None:
        process = await asyncio.to_thread(relay_service.start)
        ids = await stand.deliveries(130)
        await ear.send(ids[:100])
        await ear.send(ids[100:])
        await ear.until(ids)
        assert set(ear.settled.values()) == {"accepted"}
        assert sorted(message["delivery_id"] for message in sandbox.messages()) == sorted(map(str, ids))
        async with httpx.AsyncClient(base_url=relay_service.url) as client:
            metrics = (await client.get("/metrics")).text
        assert 'nurture_attempts_settled_total{channel="email",outcome="accepted"} 130.0' in metrics
        assert await asyncio.to_thread(stop, process) == 0

    scene(email_postgres, relay_service.nats_url, play)


def test_over_smtp_a_killed_process_leaves_at_most_its_concurrency_unknown_and_nothing_twice(
    email_postgres: Postgres, relay_service: Service, sandbox: Sandbox
) -> None:
    async def play(stand: Stand, ear: Ear) -> None:
        process = await asyncio.to_thread(relay_service.start)
        ids = await stand.deliveries(60)
        sandbox.chaos(reply_ms=20_000)
        await ear.send(ids)
        await asyncio.to_thread(_await_messages, sandbox, 4)
        process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(process.wait)
        assert ear.settled == {}
        sandbox.chaos(reply_ms=0)
        await stand.admin.execute("update email.claims set lease_until = now() - interval '1 s', next_at = now()")
        await asyncio.to_thread(relay_service.start)
        await ear.until(ids)
        outcomes = Counter(ear.settled.values())
        assert outcomes == {"accepted": 56, "unknown": 4}
        # Those four had arrived, which nobody could know; nobody has one twice.
        assert sorted(message["delivery_id"] for message in sandbox.messages()) == sorted(map(str, ids))

    scene(email_postgres, relay_service.nats_url, play)


def test_a_refused_login_is_told_without_the_password(email_postgres: Postgres, relay_service: Service) -> None:
    async def play(stand: Stand, ear: Ear) -> None:
        async with relaying(login=True) as relay:
            relay_service.environment |= {
                "SMTP_PORT": str(relay.port), "SMTP_USERNAME": "nurture", "SMTP_PASSWORD": PASSWORD,
            }  # fmt: skip
            process = await asyncio.to_thread(relay_service.start)
            (id,) = await stand.deliveries(1)
            await ear.send([id])
            async with asyncio.timeout(20):
                while not await stand.admin.fetchval(_PARKED):  # noqa: ASYNC110 - a row sends no signal
                    await asyncio.sleep(0.02)
            reason = await stand.admin.fetchval("select park_reason from public.email_channel")
            assert reason == "login_refused_535_5.7.8" and relay.logins == [("nurture", PASSWORD)] * len(relay.logins)
            command = await asyncio.to_thread(Path(f"/proc/{process.pid}/cmdline").read_bytes)
            assert await asyncio.to_thread(stop, process) == 0
            log = relay_service.log.read_text()
            assert "login_refused_535" in log and "SMTP_HOST" in log
            assert PASSWORD not in log and PASSWORD.encode() not in command

    scene(email_postgres, relay_service.nats_url, play)


def test_a_relay_of_an_authority_of_its_own_gets_mails(
    email_postgres: Postgres, relay_service: Service, tmp_path: Path
) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))

    async def play(stand: Stand, ear: Ear) -> None:
        async with relaying(context) as relay:
            relay_service.environment |= {
                "SMTP_HOST": "localhost", "SMTP_PORT": str(relay.port), "SMTP_TLS": "starttls",
                "SMTP_CA_FILE": str(tmp_path / "ca.pem"),
            }  # fmt: skip
            process = await asyncio.to_thread(relay_service.start)
            ids = await stand.deliveries(2)
            await ear.send(ids)
            await ear.until(ids)
            assert await asyncio.to_thread(stop, process) == 0
            assert list(ear.settled.values()) == ["accepted"] * 2 and relay.tls == [True] * 2

    scene(email_postgres, relay_service.nats_url, play)


_PARKED = "select exists (select from public.email_channel where parked_until is not null)"


def _await_messages(sandbox: Sandbox, count: int) -> None:
    tick = threading.Event()
    for _ in range(1000):
        if len(sandbox.messages()) == count:
            return
        tick.wait(0.02)
    raise AssertionError("the sandbox never took them")


_CLAIMED = "select exists (select from email.claims where lease_until is not null)"


async def _until_claimed(stand: Stand) -> None:
    async with asyncio.timeout(20):
        while not await stand.admin.fetchval(_CLAIMED):  # noqa: ASYNC110 - a row sends no signal
            await asyncio.sleep(0.01)


RELAY = {"EMAIL_PROVIDER": "smtp", "SMTP_HOST": "relay.acme.test"}


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"RESEND_API_KEY": ""}, "RESEND_API_KEY"),
        ({"FROM_EMAIL": "nobody"}, "FROM_EMAIL"),
        ({"RESEND_RATE_LIMIT": "0"}, "RESEND_RATE_LIMIT"),
        ({"ENVIRONMENT": "production"}, "PUBLIC_URL"),
        ({"EMAIL_PROVIDER": "pigeon"}, "EMAIL_PROVIDER"),
        ({"EMAIL_PROVIDER": "smtp"}, "SMTP_HOST"),
        ({**RELAY, "SMTP_PORT": "70000"}, "SMTP_PORT"),
        ({**RELAY, "SMTP_TLS": "maybe"}, "SMTP_TLS"),
        ({**RELAY, "SMTP_RATE_LIMIT": "0"}, "SMTP_RATE_LIMIT"),
        (
            {**RELAY, "SMTP_CA_FILE": "/nowhere/ca.crt"},
            "SMTP_CA_FILE points to a file that cannot be read: No such file",
        ),
        ({**RELAY, "SMTP_CA_FILE": "/"}, "SMTP_CA_FILE points to a file"),
        ({**RELAY, "SMTP_CA_FILE": __file__}, "SMTP_CA_FILE points to a file without a certificate"),
        ({**RELAY, "SMTP_USERNAME": "nurture"}, "SMTP_PASSWORD"),
        ({**RELAY, "SMTP_USERNAME": "nurture", "SMTP_PASSWORD": PASSWORD, "SMTP_TLS": "none"}, "SMTP_TLS=none"),
        (
            {**RELAY, "SMTP_TLS": "none", "ENVIRONMENT": "production", "PUBLIC_URL": "https://acme.test"},
            "SMTP_TLS=none",
        ),
    ],
)
def test_a_wrong_setting_stops_the_start_and_is_named(changes: dict[str, str], word: str, tmp_path: Path) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": "postgresql://127.0.0.1:9/x",
        "NATS_URL": "nats://127.0.0.1:9",
        "SECRET_KEY": SECRET_KEY,
        "RESEND_API_KEY": "re_secret_words",
        "FROM_EMAIL": "a@acme.test",
    }
    ended = subprocess.run(
        [sys.executable, "-m", "nurture_email"], env=environment | changes, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode != 0 and word in ended.stderr
    assert not any(secret in ended.stderr for secret in ("re_secret_words", PASSWORD))
