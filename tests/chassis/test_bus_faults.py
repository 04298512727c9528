"""A service whose bus or database breaks: readiness says what is wrong, nothing is lost, all goes on by itself."""

import asyncio
import contextlib
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from uuid import UUID

import msgspec
import nats.errors
import pytest
from bus_waits import until
from nurture_chassis import topology
from nurture_chassis.database import COMMAND_SECONDS
from nurture_chassis.service import Service
from nurture_chassis.settings import Secret, ServiceSettings
from nurture_contracts.commands import SendTelegrams
from nurture_contracts.events import TelegramUpdatesReceived
from nurture_contracts.ids import uuid7
from nurture_local.ports import free_port

from tests import servers
from tests.faults import proxy

Scene = Callable[["Room"], Awaitable[None]]


class Room:
    """A service of the telegram room's schema behind two proxies, `wire` to NATS and `line` to PostgreSQL."""

    def __init__(self, service: Service, server: servers.NatsServer, wire: proxy.Proxy, line: proxy.Proxy) -> None:
        self.service, self.server, self.wire, self.line = service, server, wire, line
        self.heard: list[UUID] = []
        self.refuse: Exception | None = None

    async def hear(self, page: SendTelegrams) -> None:
        if self.refuse:
            raise self.refuse
        await self.service.database.pool.fetchval("select 1")
        self.heard.append(page.page_id)

    async def say(self) -> UUID:
        page = uuid7()
        async with self.service.outbox.transaction() as tx:
            tx.say(SendTelegrams(page_id=page, items=[uuid7()]))
        return page

    async def hears(self, *pages: UUID) -> None:
        await until(lambda: set(pages) <= set(self.heard))

    async def ready(self) -> None:
        async def now() -> bool:
            return not await self.service.why_not_ready()

        await until(now)

    async def told(self, words: str) -> None:
        """Readiness comes to say this, and never hangs with what it is asked about."""

        async def now() -> bool:
            async with asyncio.timeout(COMMAND_SECONDS):
                return any(words in problem for problem in await self.service.why_not_ready())

        await until(now)

    async def waiting(self) -> int:
        row = await self.service.database.fetchrow("waiting_here")
        assert row
        return row["waiting"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[servers.Cluster]:
    with servers.embedded_postgres() as cluster:
        yield cluster


@pytest.fixture
def play(cluster: servers.Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Scene], None]]:
    # Waits that a test can afford; the rules are the same.
    monkeypatch.setattr("nurture_chassis.bus.PING", 1)
    monkeypatch.setattr("nurture_chassis.bus.PULL_SECONDS", 3.0)
    quick = tuple(msgspec.structs.replace(consumer, ack_wait=2.0) for consumer in topology.CONSUMERS)
    monkeypatch.setattr(topology, "CONSUMERS", quick)
    with (
        cluster.migrated() as admin,
        servers.nats_server() as server,
        proxy.before(server.port) as wire,
        proxy.before(cluster.port) as line,
    ):

        def run(scene: Scene) -> None:
            async def main() -> None:
                async with _serving(admin, server, wire, line) as room:
                    await room.ready()
                    await scene(room)

            asyncio.run(main())

        yield run


@contextlib.asynccontextmanager
async def _serving(admin: str, server: servers.NatsServer, wire: proxy.Proxy, line: proxy.Proxy) -> AsyncIterator[Room]:
    database_url = servers.role_url(admin, "nurture_telegram").replace(f":{admin_port(admin)}/", f":{line.port}/")
    settings = ServiceSettings(
        database_url=Secret(database_url),
        # A cluster of which one server is not there.
        nats_url=f"nats://127.0.0.1:{free_port()}, nats://127.0.0.1:{wire.port}",
        secret_key=Secret(servers.SECRET_KEY),
        database_pool_size=3,
    )
    service = Service("telegram", settings)
    room = Room(service, server, wire, line)
    service.bus.hear("telegram-send", room.hear)
    service.before_hearing.append(lambda: topology.ensure(service.bus))
    serving = asyncio.create_task(service.serve())
    try:
        yield room
    finally:
        wire.heal()
        line.heal()
        server.thaw()
        service.stop()
        assert await asyncio.wait_for(serving, 60) == 0


def admin_port(url: str) -> int:
    return int(url.rsplit(":", 1)[1].partition("/")[0])


def test_a_connection_that_is_dead_without_a_word_is_given_up_and_made_again(play: Callable[[Scene], None]) -> None:
    async def scene(room: Room) -> None:
        await room.hears(await room.say())
        taken = room.wire.accepted
        room.wire.hold()
        lost = await room.say()
        # As after a cable is pulled: no RST, no FIN; what is known is that nobody answers.
        await room.told("NATS is not connected")
        await until(lambda: room.wire.accepted > taken)
        room.wire.heal()
        await room.hears(lost, await room.say())
        await room.ready()

    play(scene)


def test_a_frozen_server_loses_nothing_and_is_told(play: Callable[[Scene], None]) -> None:
    async def scene(room: Room) -> None:
        await room.hears(await room.say())
        room.server.freeze()
        said = [await room.say() for _ in range(3)]
        await room.told("NATS is not connected")
        room.server.thaw()
        await room.hears(*said, await room.say())
        await room.ready()
        await until_none_waits(room)

    play(scene)


def test_a_killed_server_is_heard_again_at_once(play: Callable[[Scene], None]) -> None:
    async def scene(room: Room) -> None:
        await asyncio.to_thread(room.server.kill)
        await room.told("NATS is not connected")
        said = await room.say()
        await asyncio.to_thread(room.server.start)
        await room.hears(said)
        await room.ready()

    play(scene)


def test_publishing_that_fails_is_told_and_the_rest_is_marked(play: Callable[[Scene], None]) -> None:
    """One stream is gone: what goes into the other still gets out, and is not said twice."""

    async def scene(room: Room) -> None:
        await topology._ask(room.service.bus, "STREAM.DELETE.EVENTS")
        async with room.service.outbox.transaction() as tx:
            for _ in range(3):
                tx.say(TelegramUpdatesReceived(page_id=uuid7()))
        good = await room.say()
        await room.hears(good)
        await room.service.outbox.close()
        assert await room.service.outbox.sweep(older_than=0) is False
        await room.told("publishing fails: NoStreamResponseError")
        assert await room.waiting() == 3
        await topology.ensure(room.service.bus)
        await room.service.outbox.sweep(older_than=0)
        assert await room.waiting() == 0
        await room.ready()

    play(scene)


def test_subjects_that_fail_keep_no_other_from_getting_out(play: Callable[[Scene], None]) -> None:
    async def scene(room: Room) -> None:
        await topology._ask(room.service.bus, "STREAM.DELETE.EVENTS")
        with _mute(room):
            for _ in range(4):
                async with room.service.outbox.transaction() as tx:
                    tx.say(TelegramUpdatesReceived(page_id=uuid7()))
            good = await room.say()
        # Two a round: the first two rounds would meet nothing else.
        assert await room.service.outbox.sweep(older_than=0, limit=2) is True
        assert await room.service.outbox.sweep(older_than=0, limit=2) is False
        await room.hears(good)

    play(scene)


def test_what_no_server_takes_becomes_a_dead_letter(play: Callable[[Scene], None]) -> None:
    async def scene(room: Room) -> None:
        with _mute(room):
            async with room.service.outbox.transaction() as tx:
                tx.say(SendTelegrams(page_id=uuid7(), items=[uuid7() for _ in range(30_000)]))
            good = await room.say()
        await room.service.outbox.sweep(older_than=0)
        await room.hears(good)
        assert await room.waiting() == 0
        (letter,) = await room.service.database.pool.fetch("select durable, reason from dead_letters")
        assert letter["durable"] == "outbox" and letter["reason"].startswith("too large for the bus")
        assert not room.service.outbox.problems()

    play(scene)


def test_what_cannot_be_read_becomes_a_dead_letter_and_the_next_is_heard(play: Callable[[Scene], None]) -> None:
    async def scene(room: Room) -> None:
        body = b'{"page_id": "%s", "items": []}' % str(uuid7()).encode()
        for name, payload, headers in (
            ("nonsense", b"\xff\xfe", {}),
            ("newer", body, {"Nurture-Schema": "2"}),
            ("odd", body, {"Nurture-Schema": "new"}),
        ):
            await room.service.bus.publish(SendTelegrams.subject, payload, name, headers)
        await room.hears(await room.say())

        async def kept() -> str:
            # Messages that came together are handled beside each other.
            letters = await room.service.database.pool.fetch("select reason from dead_letters order by reason")
            return " | ".join(letter["reason"] for letter in letters) if len(letters) == 3 else ""

        reasons = await until(kept)
        assert "written in schema 2, this service reads up to 1" in reasons
        assert "the header Nurture-Schema is not a number" in reasons
        assert room.heard == room.heard[-1:]

    play(scene)


def test_a_fault_that_cannot_pass_by_itself_ends_as_a_dead_letter(
    play: Callable[[Scene], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nurture_chassis.settling.GIVE_UP", 2)

    async def scene(room: Room) -> None:
        room.refuse = KeyError("no such thing")
        await room.say()
        await room.told("handler of telegram-send is failing")

        async def kept() -> bool:
            return bool(await room.service.database.pool.fetchval("select count(*) from dead_letters"))

        await until(kept)
        room.refuse = None
        await room.hears(await room.say())
        await room.ready()

    play(scene)


def test_a_message_that_another_replica_ended_does_not_stay_a_problem(
    play: Callable[[Scene], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nurture_chassis.settling.GRACE", 0.5)

    async def scene(room: Room) -> None:
        room.refuse = ConnectionError("away")
        await room.say()
        await room.told("handler of telegram-send is failing")
        # Whoever ends it, it never comes back to us.
        await topology._ask(room.service.bus, "STREAM.PURGE.COMMANDS")
        await room.ready()

    play(scene)


def test_a_database_that_hangs_is_told_in_time_although_every_connection_waits(play: Callable[[Scene], None]) -> None:
    async def scene(room: Room) -> None:
        room.line.hold()
        for _ in range(6):  # more than the pool has
            room.service.bus.desk  # noqa: B018
        stuck = [asyncio.create_task(room.service.database.pool.fetchval("select 1")) for _ in range(6)]
        await room.told("the database does not answer")
        room.line.heal()
        await room.ready()
        await room.hears(await room.say())
        await asyncio.gather(*stuck, return_exceptions=True)

    play(scene)


def test_a_full_disk_is_told_and_nothing_is_lost(play: Callable[[Scene], None]) -> None:
    async def scene(room: Room) -> None:
        with _small_disk(room.server):
            await until(lambda: _succeeds(topology.ensure(room.service.bus)))
            while await _succeeds(room.service.bus.publish(FILLING, b"x" * 200_000, uuid7(), {})):
                pass
            said = [await room.say() for _ in range(3)]
            await room.told("publishing fails: ServiceUnavailableError")
            assert await room.waiting() == 3
            await topology._ask(room.service.bus, "STREAM.PURGE.EVENTS")
            await room.hears(*said)
            await room.ready()

    play(scene)


FILLING = "nurture.evt.test.filling"


async def _succeeds(work: Awaitable[None]) -> bool:
    try:
        await work
    except (nats.errors.Error, OSError, TimeoutError):
        return False
    return True


async def until_none_waits(room: Room) -> None:
    async def none() -> bool:
        return await room.waiting() == 0

    await until(none)


@contextlib.contextmanager
def _small_disk(server: servers.NatsServer) -> Iterator[None]:
    """The server with an empty store that holds a few megabytes."""
    server.stop()
    shutil.rmtree(server.store)
    server.store.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(server.store)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        server.start()
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        server.start()
        yield
    finally:
        server.stop()
        subprocess.run(["umount", str(server.store)], check=True)
        server.start()


@contextlib.contextmanager
def _mute(room: Room) -> Iterator[None]:
    """Writers cannot publish themselves: their letters are left to the relay."""
    publish = room.service.outbox.publish
    room.service.outbox.publish = lambda letters: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        room.service.outbox.publish = publish  # type: ignore[method-assign]
