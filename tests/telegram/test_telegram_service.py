"""The telegram service as its own process between NATS, PostgreSQL and the sandbox's Bot API."""

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import msgspec
import nats
import pytest
from nurture_chassis.bus import Bus
from nurture_chassis.database import Database
from nurture_chassis.queries import Queries
from nurture_chassis.settings import Secret, ServiceSettings
from nurture_chassis.topology import ensure
from nurture_contracts import commands, events
from nurture_contracts.ids import uuid7
from nurture_local.ports import free_port
from nurture_local.probes import http_ok
from nurture_local.processes import ChildSpec, Stage
from nurture_local.servers import running
from telegram_stand import TOKENS, Postgres, Stand, standing

from tests.servers import SECRET_KEY, embedded_nats, role_url

TOKEN = "4242:a-token-of-the-sandbox-that-must-not-show"
BUTTONS = {"buttons": [{"text": "Yes", "press": "yes"}]}


@pytest.fixture(scope="module")
def nats_url() -> Iterator[str]:
    with embedded_nats() as url:
        asyncio.run(_declare(url))
        yield url


async def _declare(url: str) -> None:
    settings = ServiceSettings(database_url=Secret(""), nats_url=url, secret_key=Secret(SECRET_KEY))
    bus = Bus(url, "test", Database(settings, "telegram", Queries("", "public")))
    await bus.connect()
    await bus.broker.start()
    await ensure(bus)
    await bus.broker.stop()


class World:
    """The sandbox, and the room's process as often as a test wants."""

    def __init__(self, postgres: Postgres, nats_url: str, folder: Path, stack: ExitStack) -> None:
        self._stack = stack
        self.log = folder / "telegram.log"
        port = free_port()
        self.sandbox = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10)
        stack.callback(self.sandbox.close)
        path = {"PATH": os.environ["PATH"]}
        spec = ChildSpec(
            name="sandbox",
            stage=Stage.PROVIDER,
            argv=(sys.executable, "-m", "nurture_local.sandbox"),
            env=path
            | {"SANDBOX_DATA": str(folder / "sandbox"), "SANDBOX_PORT": str(port), "SANDBOX_READING_SECONDS": "0.1"},
            ready=http_ok(port, "/health/ready"),
        )
        stack.enter_context(running(spec, folder / "sandbox.log"))
        self.environment = path | {
            "DATABASE_URL": role_url(postgres.admin_url, "nurture_telegram"),
            "NATS_URL": nats_url,
            "SECRET_KEY": SECRET_KEY,
            "TELEGRAM_BOT_TOKEN": TOKEN,
            "TELEGRAM_API_URL": f"http://127.0.0.1:{port}",
            "PUBLIC_URL": "http://nurture.test",
            "NURTURE_SANDBOX": "1",
        }

    def start(self, **more: str) -> subprocess.Popen[bytes]:
        port = free_port()
        spec = ChildSpec(
            name="telegram",
            stage=Stage.SERVICE,
            argv=(sys.executable, "-m", "nurture_telegram"),
            env=self.environment | {"NURTURE_HTTP_PORT": str(port)} | more,
            ready=http_ok(port, "/health/ready"),
        )
        return self._stack.enter_context(running(spec, self.log))

    def say(self, chat: int, text: str) -> None:
        self.sandbox.post("/api/telegram/say", json={"chat_id": chat, "text": text}).raise_for_status()

    def received(self) -> Counter[str]:
        """How many messages of ours each chat got."""
        params = {"channel": "telegram", "limit": 1000}
        found = self.sandbox.get("/api/messages", params=params).raise_for_status().json()
        return Counter(message["to"] for message in found if message["text"].startswith("Hello"))


@pytest.fixture
def world(telegram_postgres: Postgres, nats_url: str, tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(telegram_postgres, nats_url, tmp_path, stack)


def test_the_views_say_how_often_this_room_tries(world: World, telegram_postgres: Postgres) -> None:
    async def shown() -> int:
        async with standing(telegram_postgres) as stand:
            (delivery,) = await stand.deliveries(1)
            asks = "select max_attempts from public.message_deliveries where id = $1"
            return await stand.admin.fetchval(asks, delivery)

    world.start(TELEGRAM_MAX_ATTEMPTS="7")
    assert asyncio.run(shown()) == 7


class Ear:
    """Sends pages and hears what the room says."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._heard = asyncio.Event()
        self.settled: dict[UUID, events.Settlement] = {}
        self.observed: list[events.Observation] = []
        self.changes: list[tuple[UUID, str]] = []

    async def begin(self) -> "Ear":
        await self._client.subscribe("nurture.evt.telegram.*", cb=self._hear)
        await self._client.flush()
        return self

    async def _hear(self, msg: Any) -> None:
        if msg.subject == events.TelegramsSettled.subject:
            for item in msgspec.json.decode(msg.data, type=events.TelegramsSettled).items:
                assert item.delivery_id not in self.settled
                self.settled[item.delivery_id] = item
        elif msg.subject == events.TelegramsObserved.subject:
            self.observed += msgspec.json.decode(msg.data, type=events.TelegramsObserved).items
        else:
            page = msgspec.json.decode(msg.data, type=events.ChatsChanged)
            self.changes += [(item.user_id, item.change) for item in page.items]
        self._heard.set()

    async def send(self, items: list[UUID]) -> None:
        page = commands.SendTelegrams(page_id=uuid7(), items=items)
        await self._client.jetstream().publish(page.subject, msgspec.json.encode(page))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(40):
            while not condition():
                self._heard.clear()
                await self._heard.wait()


def scene(postgres: Postgres, nats_url: str, play: Callable[[Stand, Ear], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(120), standing(postgres) as stand:
            client = await nats.connect(nats_url)
            try:
                await play(stand, await Ear(client).begin())
            finally:
                await client.close()

    asyncio.run(whole())


def test_messages_go_out_and_what_people_do_comes_back(
    telegram_postgres: Postgres, nats_url: str, world: World
) -> None:
    async def play(stand: Stand, ear: Ear) -> None:
        await asyncio.to_thread(world.start)
        ids = await stand.deliveries(20, body="Hello **{n}** & [more](https://x.test/).", params=BUTTONS)
        people = [await stand.person(id) for id in ids]
        await ear.send(ids)
        await ear.until(lambda: set(ids) <= set(ear.settled))
        outcomes = [(ear.settled[id].outcome, ear.settled[id].reason) for id in ids]
        refused = ("rejected", "blocked")
        assert outcomes == [refused if number % 10 == 7 else ("accepted", None) for number in range(20)]
        assert world.received() == {str(1000 + number): 1 for number in range(20) if number % 10 != 7}
        # Habits of the sandbox's people go by the last digit: 3 replies, 4 and 5 press, 7 and 9 block.
        await ear.until(lambda: len(ear.observed) >= 6 and len(ear.changes) >= 4)
        did = {(one.kind, one.delivery_id, one.link) for one in ear.observed}
        replied = {("replied", ids[number], None) for number in (3, 13)}
        assert did == replied | {("pressed", ids[number], "button:0") for number in (4, 5, 14, 15)}
        assert sorted(ear.changes) == sorted((people[number], "blocked") for number in (7, 17, 9, 19))
        token = TOKENS.chat_token(people[0], int(datetime.now(UTC).timestamp()))
        await asyncio.to_thread(world.say, 1500, f"/start {token}")
        await ear.until(lambda: (people[0], "linked") in ear.changes)
        await asyncio.to_thread(world.say, 1500, "/stop")
        await ear.until(lambda: (people[0], "stopped") in ear.changes)
        (channel,) = await stand.admin.fetch("select * from public.telegram_channel")
        assert channel["ready"] and channel["problem"] is None and channel["bot_username"]

    scene(telegram_postgres, nats_url, play)
    assert TOKEN not in world.log.read_text() and TOKEN.partition(":")[2] not in world.log.read_text()


def test_a_killed_service_leaves_at_most_a_volley_unknown_and_repeats_nothing(
    telegram_postgres: Postgres, nats_url: str, world: World
) -> None:
    async def play(stand: Stand, ear: Ear) -> None:
        process = await asyncio.to_thread(world.start)
        ids = await stand.deliveries(60)
        chats = [str(1000 + number) for number in range(60)]
        await ear.send(ids)
        await ear.until(lambda: len(ear.settled) >= 12)
        os.kill(process.pid, signal.SIGKILL)
        await asyncio.to_thread(process.wait, 10)
        await stand.admin.execute("update claims set lease_until = now() - interval '1 s' where state = 'sending'")
        await asyncio.to_thread(world.start)
        await ear.until(lambda: set(ids) <= set(ear.settled))
        unknown = [id for id in ids if ear.settled[id].outcome == "unknown"]
        assert len(unknown) <= 4 and all(ear.settled[id].reason == "worker_lost" for id in unknown)
        received = world.received()
        assert max(received.values()) == 1
        for id, chat in zip(ids, chats, strict=True):
            if ear.settled[id].outcome == "accepted":
                assert received[chat] == 1

    scene(telegram_postgres, nats_url, play)


def test_a_stopped_service_settles_what_it_began(telegram_postgres: Postgres, nats_url: str, world: World) -> None:
    async def play(stand: Stand, ear: Ear) -> None:
        process = await asyncio.to_thread(world.start, TELEGRAM_UPDATES="off")
        ids = await stand.deliveries(40)
        await ear.send(ids)
        await ear.until(lambda: len(ear.settled) >= 8)
        process.terminate()
        assert await asyncio.to_thread(process.wait, 20) == 0
        assert await stand.admin.fetchval("select count(*) from claims where state = 'sending'") == 0
        await asyncio.to_thread(world.start, TELEGRAM_UPDATES="off")
        await ear.until(lambda: set(ids) <= set(ear.settled))
        assert {item.outcome for item in ear.settled.values()} == {"accepted", "rejected"}
        assert max(world.received().values()) == 1

    scene(telegram_postgres, nats_url, play)


def test_without_a_token_every_delivery_is_refused_with_that_reason(
    telegram_postgres: Postgres, nats_url: str, world: World
) -> None:
    async def play(stand: Stand, ear: Ear) -> None:
        await asyncio.to_thread(world.start, TELEGRAM_BOT_TOKEN="")
        ids = await stand.deliveries(3)
        await ear.send(ids)
        await ear.until(lambda: set(ids) <= set(ear.settled))
        assert {(ear.settled[id].outcome, ear.settled[id].reason) for id in ids} == {("rejected", "channel_off")}
        # Who the bot is, or that there is none, is looked at beside that.
        channel: tuple[Any, ...] = ()
        async with asyncio.timeout(40):
            while channel != (False, "TELEGRAM_BOT_TOKEN is not set"):
                (row,) = await stand.admin.fetch("select ready, problem from public.telegram_channel")
                channel = tuple(row)
                await asyncio.sleep(0.01)

    scene(telegram_postgres, nats_url, play)
