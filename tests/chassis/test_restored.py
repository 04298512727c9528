"""A database that is older than the bus, on real servers: seen at a start and on a new connection, over when confirmed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from nurture_chassis import topology
from nurture_chassis.bus import Bus
from nurture_chassis.database import Database
from nurture_chassis.outbox import Outbox
from nurture_chassis.queries import Queries
from nurture_chassis.restored import Forgotten, RestoreGuard, said_at
from nurture_chassis.settings import Secret, ServiceSettings
from nurture_contracts.commands import SendEmails
from nurture_contracts.events import EmailsSettled
from nurture_contracts.ids import uuid7

from tests import servers


class Ground:
    """One bus, and databases that can be copied; `guard` is that of an email service which has just started."""

    def __init__(self, cluster: servers.Cluster, nats_url: str) -> None:
        self.cluster = cluster
        self.nats_url = nats_url

    def settings(self, admin_url: str) -> ServiceSettings:
        url = servers.role_url(admin_url, "nurture_email")
        return ServiceSettings(database_url=Secret(url), nats_url=self.nats_url, secret_key=Secret(servers.SECRET_KEY))

    @asynccontextmanager
    async def service(self, admin_url: str) -> AsyncIterator["Room"]:
        settings = self.settings(admin_url)
        database = Database(settings, "email", Queries.of("nurture_email", "public"))
        bus = Bus(self.nats_url, "email", database)
        await bus.connect()
        await bus.broker.start()
        await topology.ensure(bus)
        await database.open()
        admin = await asyncpg.connect(admin_url)
        try:
            yield Room(database, bus, admin)
        finally:
            await admin.close()
            await bus.stop()
            await database.close()


class Room:
    def __init__(self, database: Database, bus: Bus, admin: asyncpg.Connection) -> None:
        self.database = database
        self.bus = bus
        self.admin = admin
        self.outbox = Outbox(database, bus)
        self.told: list[Forgotten] = []
        self.ticks = 0
        self.guard = RestoreGuard(database, self.outbox, bus, self._hear)
        self.tick = self.guard.before(self._tick)

    async def _hear(self, forgotten: Forgotten) -> None:
        self.told.append(forgotten)

    async def _tick(self) -> bool:
        await self.database.fetchrow("look", "resend")
        self.ticks += 1
        return True

    async def record(self, age: timedelta = timedelta(hours=1)) -> None:
        """A controller has started here that long ago."""
        await self.admin.execute("truncate controller.installation")
        await self.admin.execute(
            "insert into controller.installation (identity, confirmed_at) values (public.database_identity(), now() - $1::interval)",
            age,
        )

    async def confirm(self) -> None:
        await self.admin.execute("update controller.installation set confirmed_at = clock_timestamp()")

    async def say(self, message: Any = None) -> None:
        async with self.outbox.transaction() as tx:
            tx.say(message or EmailsSettled(claim_id=uuid7(), items=[]))
        await self.outbox.close()


@pytest.fixture(scope="module")
def cluster() -> Iterator[servers.Cluster]:
    with servers.embedded_postgres() as running:
        yield running


@pytest.fixture
def play(cluster: servers.Cluster) -> Iterator[Callable[[Callable[[Ground, str], Awaitable[None]]], None]]:
    """A scene with a bus of its own and a fresh database's address."""
    with cluster.migrated() as url, servers.embedded_nats() as nats_url:

        def run(scene: Callable[[Ground, str], Awaitable[None]]) -> None:
            async def whole() -> None:
                async with asyncio.timeout(60):
                    await scene(Ground(cluster, nats_url), url)

            asyncio.run(whole())

        yield run


def test_a_database_that_knows_what_was_said_is_fine(play) -> None:
    async def scene(ground: Ground, url: str) -> None:
        async with ground.service(url) as room:
            await room.record()
            await room.say()
        async with ground.service(url) as again:
            await again.guard.look()
            assert again.guard.held() == [] and again.told == []
            assert await again.tick() is True

    play(scene)


def test_an_older_copy_beside_the_newer_bus_holds_back_until_confirmed(play) -> None:
    async def scene(ground: Ground, url: str) -> None:
        async with ground.service(url) as room:
            await room.record()
            await room.say()
        name = url.rpartition("/")[2].partition("?")[0]
        with ground.cluster.database(name) as copy:
            async with ground.service(copy) as same:
                await same.guard.look()
                assert same.guard.held() == []
            async with ground.service(url) as room:
                await room.say()
            async with ground.service(copy) as older:
                await older.guard.look()
                (why,) = older.guard.held()
                assert "EmailsSettled" in why and "nurture resume --confirm-restored" in why
                assert [await older.tick() for _ in range(3)] == [None] * 3
                assert (older.ticks, len(older.told)) == (0, 1)
                await older.confirm()
                assert await older.tick() is True
                assert older.guard.held() == []
            async with ground.service(copy) as confirmed:
                await confirmed.guard.look()
                assert confirmed.guard.held() == []

    play(scene)


def test_what_another_room_said_again_is_known(play) -> None:
    """A test mail's command is the gateway's, a sequence's the controller's; earlier versions replayed from anywhere."""

    async def scene(ground: Ground, url: str) -> None:
        async with ground.service(url) as room:
            await room.record()
            id = uuid7()
            await room.admin.execute("insert into controller.outbox (id, subject, payload) values ($1, 'x', '')", id)
            await room.bus.publish(EmailsSettled.subject, b"{}", id, {})
            await room.guard.look()
            assert room.guard.held() == []
            # The relay numbers what it says once more.
            await room.bus.publish(EmailsSettled.subject, b"{}", f"{id}.2", {})
            await room.guard.look()
            assert room.guard.held() == []
            await room.bus.publish(EmailsSettled.subject, b"{}", f"{uuid7()}.2", {})
            await room.guard.look()
            assert room.guard.held() != []

    play(scene)


@pytest.mark.parametrize("identity", [None, "no-id", "4f0c9f7e-6a58-4b5f-9c35-8a3f0f3f5f60"])
def test_what_programs_of_others_put_on_the_bus_says_nothing(play, identity: str | None) -> None:
    async def scene(ground: Ground, url: str) -> None:
        async with ground.service(url) as room:
            await room.record()
            headers = {"Nats-Msg-Id": identity} if identity else None
            await room.bus.jetstream.publish(SendEmails.subject, b"{}", headers=headers)
            await room.guard.look()
            assert room.guard.held() == []

    play(scene)


def test_what_is_old_or_was_confirmed_says_nothing(play) -> None:
    async def scene(ground: Ground, url: str) -> None:
        async with ground.service(url) as room:
            long_ago = uuid7(int((datetime.now(UTC) - timedelta(days=7, minutes=1)).timestamp() * 1000))
            await room.record(timedelta(days=30))
            await room.bus.publish(EmailsSettled.subject, b"{}", long_ago, {})
            await room.guard.look()
            assert room.guard.held() == []
            await room.bus.publish(EmailsSettled.subject, b"{}", uuid7(), {})
            await room.confirm()
            await room.guard.look()
            assert room.guard.held() == []

    play(scene)


def test_a_database_on_which_no_controller_ever_started_is_new(play) -> None:
    """An emptied database beside a bus in use: what it never had it cannot send again."""

    async def scene(ground: Ground, url: str) -> None:
        async with ground.service(url) as room:
            await room.bus.publish(EmailsSettled.subject, b"{}", uuid7(), {})
            await room.guard.look()
            assert await room.tick() is True
            await room.record(timedelta(0))
            await room.guard.look()
            assert await room.tick() is True

    play(scene)


def test_a_server_that_was_restored_behind_a_running_service_is_noticed_before_the_next_claim(play) -> None:
    """The old server cut the connections; the new ones ask for what this process committed last."""

    async def scene(ground: Ground, url: str) -> None:
        async with ground.service(url) as room:
            await room.record()
            await room.guard.look()
            await room.say()
            assert await room.tick() is True
            assert room.outbox.last is not None

            async def restart() -> None:
                await room.admin.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'nurture_email'"
                )
                # The pool has seen that its connections are gone.
                while any(holder._con and not holder._con.is_closed() for holder in room.database.pool._holders):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)

            # A mere restart changes nothing.
            await restart()
            assert await room.tick() is True
            ticks = room.ticks
            await room.admin.execute("delete from email.outbox where id = $1", room.outbox.last)
            await restart()
            # Handlers fail too until a tick has taken notice; then they go on, and the ticker does not.
            for _ in range(2):
                with pytest.raises(ConnectionError):
                    await room.database.fetchrow("look", "resend")
            assert [await room.tick() for _ in range(3)] == [None] * 3
            assert await room.database.fetchrow("look", "resend") is not None
            assert (room.ticks, len(room.told)) == (ticks, 1)
            assert said_at(room.outbox.last) == room.told[0].at
            await room.confirm()
            assert await room.tick() is True
            await restart()
            assert await room.tick() is True

    play(scene)
