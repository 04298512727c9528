"""The bus on a real server: messages come at once, also after a quiet time, and end as they should."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from bus_waits import until
from nurture_chassis import topology
from nurture_chassis.outbox import Outbox
from nurture_chassis.service import Service
from nurture_chassis.settings import Secret, ServiceSettings
from nurture_contracts.commands import REPLAY, SendTelegrams
from nurture_contracts.ids import uuid7

from tests import servers

Scene = Callable[[Service], Awaitable[None]]


async def ready(service: Service) -> None:
    """Readiness is asked for, as an orchestrator does: the service announces it to nobody."""
    async with asyncio.timeout(30):
        while await service.why_not_ready():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@pytest.fixture(scope="module")
def play() -> Iterator[Callable[..., None]]:
    """Runs a scene with a service of the telegram room's schema on real servers."""
    with servers.embedded_postgres() as cluster, servers.embedded_nats() as nats_url, cluster.migrated() as admin:

        def run(scene: Scene, hear: Callable[[Any], Awaitable[None]]) -> None:
            async def main() -> None:
                settings = ServiceSettings(
                    database_url=Secret(servers.role_url(admin, "nurture_telegram")),
                    nats_url=nats_url,
                    secret_key=Secret(servers.SECRET_KEY),
                )
                service = Service("telegram", settings)
                service.bus.hear("telegram-send", hear)

                async def make() -> None:
                    await topology.ensure(service.bus)

                service.before_hearing.append(make)
                serving = asyncio.create_task(service.serve())
                try:
                    await ready(service)
                    await scene(service)
                finally:
                    service.stop()
                    await serving

            asyncio.run(main())

        yield run


def test_a_message_after_a_quiet_time_is_not_kept_back(
    play: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each comes long before the pull's own time-out, which is what a message that is kept back would wait for."""
    pull = 6.0
    monkeypatch.setattr("nurture_chassis.bus.PULL_SECONDS", pull)
    heard: asyncio.Queue[SendTelegrams] = asyncio.Queue()

    async def scene(service: Service) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(2):
            await asyncio.sleep(pull + 0.2)  # one pull has to run out: this is the quiet time that the test is about
            for _ in range(3):
                page = SendTelegrams(page_id=uuid7(), items=[uuid7()])
                said = loop.time()
                async with service.outbox.transaction() as tx:
                    tx.say(page)
                assert (await asyncio.wait_for(heard.get(), 20)).page_id == page.page_id
                assert loop.time() - said < pull / 2, "it waited for the pull's time-out"

    play(scene, heard.put)


def test_a_handler_that_fails_is_asked_again_and_readiness_says_so(play: Callable[..., None]) -> None:
    tries = 0
    done = asyncio.Event()

    async def hear(_: SendTelegrams) -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise ConnectionError("the database has gone away")
        done.set()

    async def scene(service: Service) -> None:
        async with service.outbox.transaction() as tx:
            tx.say(SendTelegrams(page_id=uuid7(), items=[uuid7()]))
        await asyncio.wait_for(done.wait(), 20)
        await ready(service)
        assert tries == 3

    play(scene, hear)


async def letters(service: Service, wanted: int) -> list[Any]:
    """The open dead letters, once there are so many."""
    query = "select id, durable, reason from dead_letters where replayed_at is null order by at"

    async def found() -> tuple[list[Any]] | None:
        rows = await service.database.pool.fetch(query)
        return (rows,) if len(rows) == wanted else None

    return (await until(found))[0]


async def another_reason(service: Service, than: str) -> str:
    """What the one open letter is refused for, once that is something else."""

    async def now() -> str | None:
        (letter,) = await letters(service, 1)
        return letter["reason"] if letter["reason"] != than else None

    return await until(now)


async def replay(service: Service, ids: list[Any]) -> None:
    async with service.outbox.transaction() as tx:
        tx.say(REPLAY["telegram"](items=ids))


def test_a_replayed_letter_comes_to_its_own_handler_and_to_nobody_else(
    play: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nurture_chassis.settling.GIVE_UP", 1)
    faults: list[Exception] = [KeyError("no such thing")]
    heard: asyncio.Queue[SendTelegrams] = asyncio.Queue()

    async def hear(page: SendTelegrams) -> None:
        if faults:
            raise faults[0]
        heard.put_nowait(page)

    async def scene(service: Service) -> None:
        page = SendTelegrams(page_id=uuid7(), items=[uuid7()])
        async with service.outbox.transaction() as tx:
            tx.say(page)
        (letter,) = await letters(service, 1)
        said = await service.bus.jetstream.stream_info("COMMANDS")
        faults[0] = LookupError("still none")
        await replay(service, [letter["id"]])
        assert await another_reason(service, letter["reason"]) == "tried again at a replay: LookupError"
        faults.clear()
        await replay(service, [letter["id"]])
        assert (await asyncio.wait_for(heard.get(), 20)) == page
        await letters(service, 0)
        await replay(service, [letter["id"]])  # once is enough

        async def thrice() -> bool:
            told = await service.bus.jetstream.consumer_info("COMMANDS", "telegram-replay")
            return told.ack_floor.consumer_seq >= 3

        await until(thrice)
        assert heard.empty()
        now = await service.bus.jetstream.stream_info("COMMANDS")
        assert now.state.messages - said.state.messages == 3, "only the three replays went over the bus"

    play(scene, hear)


def test_of_a_letter_that_is_readable_in_part_the_good_items_are_taken_and_it_stays_open(
    play: Callable[..., None],
) -> None:
    heard: asyncio.Queue[SendTelegrams] = asyncio.Queue()

    async def scene(service: Service) -> None:
        good = uuid7()
        page = {"page_id": str(uuid7()), "items": [str(good), "no id"]}
        id = uuid7()
        for durable in ("telegram-send", "telegram-gone"):
            await service.database.execute(
                "dead_letter_keep", id, durable, SendTelegrams.subject, json.dumps(page).encode(), {}, "some reason"
            )
            await replay(service, [id])
            if durable == "telegram-send":
                assert (await asyncio.wait_for(heard.get(), 20)).items == [good]
            reason = await another_reason(service, "some reason")
            assert reason.startswith("1 of 2 items: ") if durable == "telegram-send" else "telegram-gone" in reason
            await service.database.pool.execute("delete from dead_letters")

    play(scene, heard.put)


def test_what_a_writer_could_not_publish_is_swept_by_the_relay(play: Callable[..., None]) -> None:
    heard: asyncio.Queue[SendTelegrams] = asyncio.Queue()

    async def scene(service: Service) -> None:
        mute = Outbox(service.database, _Mute())  # type: ignore[arg-type]
        page = SendTelegrams(page_id=uuid7(), items=[uuid7()])
        async with mute.transaction() as tx:
            tx.say(page)
        await mute.close()
        assert heard.empty()
        assert await service.outbox.sweep(older_than=0) is False
        assert (await asyncio.wait_for(heard.get(), 20)).page_id == page.page_id
        waiting = await service.database.fetchrow("waiting_here")
        assert waiting is not None
        assert waiting["waiting"] == 0

    play(scene, heard.put)


class _Mute:
    """A bus that has gone away."""

    connected = True

    async def publish(self, *_: Any) -> None:
        raise ConnectionError


def test_a_service_says_that_it_is_there_and_takes_its_leave(play: Callable[..., None]) -> None:
    told: list[list[tuple[str, list[str]]]] = []

    async def hear(_message: SendTelegrams) -> None: ...

    async def scene(service: Service) -> None:
        async with asyncio.timeout(20):
            while not (rows := await service.database.pool.fetch("select instance, problems from presence")):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert [row["instance"] for row in rows] == [service.instance]
        told.append([(row["instance"], row["problems"]) for row in rows])

    # A second process finds no trace of the first, which ended cleanly.
    play(scene, hear)
    play(scene, hear)
    (first,), (second,) = told
    assert first[0] != second[0] and first[1] == second[1] == []
