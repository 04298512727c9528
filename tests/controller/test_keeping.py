"""Whatever becomes of the bus, the topology comes back, nobody stays deaf, and what was not heard is said again."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from uuid import UUID

import pytest
from nurture_chassis import topology
from nurture_chassis.outbox import Outbox
from nurture_contracts.commands import SendTelegrams
from nurture_contracts.ids import uuid7
from nurture_contracts.topology import CONSUMERS, STREAMS
from nurture_controller import keeping
from nurture_local import inspection

from tests import servers
from tests.controller.bus_stand import SUBJECT, Stand, until

Scene = Callable[[Stand], Awaitable[None]]


@pytest.fixture(scope="module")
def cluster() -> Iterator[servers.Cluster]:
    with servers.embedded_postgres() as cluster:
        yield cluster


@pytest.fixture
def play(cluster: servers.Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Scene], None]]:
    """Runs a scene with a database and a NATS server of its own."""
    monkeypatch.setattr(keeping, "_CONFIRM", 0.05)
    # One clock here, and what was heard for certain must not come again in these tests.
    monkeypatch.setattr(keeping, "MARGIN", timedelta(0))
    with cluster.migrated() as admin, servers.nats_server() as nats:

        def run(scene: Scene) -> None:
            async def main() -> None:
                async with Stand(admin, nats).running() as stand:
                    await scene(stand)

            asyncio.run(main())

        yield run


async def settled(stand: Stand, number: int = 2) -> list[UUID]:
    """Pages that were said, heard and noted as heard."""
    pages = await stand.say(number)
    await stand.hears(pages)
    await stand.acked()
    for _ in range(2):
        await stand.keeper.tick()
    return pages


async def pending(stand: Stand, number: int = 2) -> list[UUID]:
    """Pages that are on the bus and that nobody has handled."""
    stand.deaf = True
    return await stand.say(number)


async def whole(stand: Stand) -> None:
    for stream in STREAMS:
        assert await stand.stream(stream.name)
    for consumer in CONSUMERS:
        assert await stand.standing(consumer.durable), consumer.durable


def test_a_wiped_store_comes_back_and_what_was_not_heard_is_said_again(play: Callable[[Scene], None]) -> None:
    async def scene(stand: Stand) -> None:
        done, open_ = await settled(stand), await pending(stand)
        await stand.through(stand.nats.wiped)
        meanwhile = await stand.say()
        await stand.look()
        await whole(stand)
        assert await stand.reasons() == {"COMMANDS": "it is gone", "EVENTS": "it is gone"}
        stand.deaf = False
        await stand.outbox._look_for_losses()
        assert await stand.outbox.sweep(older_than=0) is False
        await stand.hears([*open_, *meanwhile])
        assert all(stand.heard[page] == 1 for page in done), "what was heard for certain came again"
        told = (await inspection.database(stand.admin, None, "public"))["losses"]
        assert (told["stream"], told["reason"]) == ("EVENTS", "it is gone")
        assert told["silent"] == ["controller", "email", "gateway", "scoring"], "only the telegram room has looked"
        # Nobody stays deaf.
        await stand.hears(await stand.say())
        await until(lambda: not stand.bus.problems())

    play(scene)


def test_a_rewound_store_is_noticed_although_it_went_on_beyond_its_old_end(play: Callable[[Scene], None]) -> None:
    async def scene(stand: Stand) -> None:
        await settled(stand)
        older = await stand.through(stand.nats.copy)
        done, open_ = await settled(stand), await pending(stand)
        last = (await stand.stream()).holding.last_seq
        await stand.through(lambda: stand.nats.set_back(older))
        # Sequence numbers that were used before.
        after = await stand.say(len(done) + len(open_) + 1)
        assert (await stand.stream()).holding.last_seq > last
        await stand.look()
        assert await stand.reasons() == {"COMMANDS": f"message {last - len(open_)} is another"}
        stand.deaf = False
        await stand.outbox.relay()
        await stand.outbox.sweep(older_than=0)
        await stand.hears([*open_, *after])

    play(scene)


def test_a_flipped_bit_that_takes_messages_with_it_is_noticed(play: Callable[[Scene], None]) -> None:
    """The server starts as if nothing were wrong, with an end before messages that it had acknowledged."""

    async def scene(stand: Stand) -> None:
        await settled(stand)
        open_ = await pending(stand, 5)
        end = (await stand.stream()).holding.last_seq

        def damage() -> None:
            stand.nats.kill()
            (block,) = stand.nats.store.glob("**/COMMANDS/msgs/*.blk")
            content = bytearray(block.read_bytes())
            content[len(content) * 3 // 4] ^= 1
            block.write_bytes(content)
            stand.nats.start()

        await stand.keeper.tick()
        await stand.through(damage)
        assert (await stand.stream()).holding.last_seq < end
        await stand.look()
        assert (await stand.reasons())["COMMANDS"].startswith(f"it ended at {end}, now at")
        stand.deaf = False
        await stand.outbox.relay()
        await stand.outbox.sweep(older_than=0)
        await stand.hears(open_)

    play(scene)


def test_a_deleted_consumer_goes_on_where_it_was(play: Callable[[Scene], None]) -> None:
    async def scene(stand: Stand) -> None:
        done = await settled(stand)
        await stand.ask("CONSUMER.DELETE.COMMANDS.telegram-send")
        await until(lambda: "consumer telegram-send is missing, or has no leader" in stand.bus.problems())
        missed = await stand.say(2)
        await stand.keeper.tick()
        await stand.hears(missed)
        await until(lambda: not stand.bus.problems())
        assert all(stand.heard[page] == 1 for page in done)
        assert await stand.losses() == []

    play(scene)


def test_a_consumer_that_somebody_else_made_is_put_back(play: Callable[[Scene], None]) -> None:
    """By hand one easily makes a consumer that only hears what is new."""

    async def scene(stand: Stand) -> None:
        done = await settled(stand)
        await stand.ask("CONSUMER.DELETE.COMMANDS.telegram-send")
        missed = await stand.say(2)
        config = {"durable_name": "telegram-send", "ack_policy": "explicit", "deliver_policy": "new",
                  "filter_subject": SUBJECT, "max_deliver": 3}  # fmt: skip
        await stand.ask("CONSUMER.DURABLE.CREATE.COMMANDS.telegram-send", {"stream_name": "COMMANDS", "config": config})
        await stand.keeper.tick()
        await stand.hears(missed)
        assert all(stand.heard[page] == 1 for page in done)

    play(scene)


def test_a_stream_that_was_deleted_by_hand_comes_back(play: Callable[[Scene], None]) -> None:
    async def scene(stand: Stand) -> None:
        await settled(stand)
        open_ = await pending(stand)
        await stand.ask("STREAM.DELETE.COMMANDS")
        await stand.keeper.tick()
        assert await stand.reasons() == {"COMMANDS": "it is gone"}
        stand.deaf = False
        await stand.outbox.relay()
        await stand.outbox.sweep(older_than=0)
        await stand.hears(open_)

    play(scene)


def test_a_purged_stream_takes_the_same_messages_again(play: Callable[[Scene], None]) -> None:
    """The server still drops the ids that it knew: said again under the same id, they would vanish with an ack."""

    async def scene(stand: Stand) -> None:
        await settled(stand)
        open_ = await pending(stand)
        await stand.ask("STREAM.PURGE.COMMANDS")
        await stand.keeper.tick()
        assert (await stand.reasons())["COMMANDS"].endswith("is gone")
        stand.deaf = False
        await stand.outbox.relay()
        await stand.outbox.sweep(older_than=0)
        await stand.hears(open_)

    play(scene)


def test_what_was_published_and_never_marked_is_said_again_under_a_new_id(play: Callable[[Scene], None]) -> None:
    """A restored backup, or a death before the mark, leaves a row unpublished whose id the bus knows."""

    async def scene(stand: Stand) -> None:
        await settled(stand)
        stand.deaf = True
        dying = Outbox(stand.database, stand.bus)
        await dying._look_for_losses()
        page = uuid7()
        async with dying.transaction() as tx:
            tx.say(SendTelegrams(page_id=page, items=[uuid7()]))
        await asyncio.gather(*dying._flight)
        await stand.ask("STREAM.PURGE.COMMANDS")
        await stand.keeper.tick()
        assert (await stand.reasons())["COMMANDS"].endswith("is gone")
        stand.deaf = False
        await stand.outbox.relay()
        await stand.outbox.sweep(older_than=0)
        await stand.hears([page])

    play(scene)


def test_a_loss_is_answered_once_also_by_a_room_that_was_away(play: Callable[[Scene], None]) -> None:
    async def scene(stand: Stand) -> None:
        await settled(stand)
        open_ = await pending(stand, 3)
        await stand.through(stand.nats.wiped)
        await stand.look()
        # Two replicas of the room come back only now, and look at the same time.
        replicas = [Outbox(stand.database, stand.bus) for _ in range(2)]
        await asyncio.gather(*(replica._look_for_losses() for replica in replicas))
        rows = await stand.database.pool.fetch("select redrive from outbox where published_at is null")
        assert len(rows) == len(open_) and all(row["redrive"] > 0 for row in rows)
        await replicas[1].sweep(older_than=0)
        for replica in replicas:
            await replica._look_for_losses()
        assert await stand.database.pool.fetchval("select count(*) from outbox where published_at is null") == 0
        stand.deaf = False
        await stand.hears(open_)

    play(scene)


def test_a_mark_from_before_the_loss_counts_for_nothing(play: Callable[[Scene], None]) -> None:
    """Published into the old stream, not yet marked when the loss is answered: marked later it would be lost."""

    async def scene(stand: Stand) -> None:
        await settled(stand)
        stand.deaf = True
        slow = Outbox(stand.database, stand.bus)
        await slow._look_for_losses()
        page = uuid7()
        async with slow.transaction() as tx:
            tx.say(SendTelegrams(page_id=page, items=[uuid7()]))
        await asyncio.gather(*slow._flight)
        await stand.through(stand.nats.wiped)
        await stand.look()
        await stand.outbox._look_for_losses()
        await slow.mark()
        assert await stand.database.pool.fetchval("select count(*) from outbox where published_at is null") == 1
        stand.deaf = False
        await stand.outbox.sweep(older_than=0)
        await stand.hears([page])

    play(scene)


def test_what_differs_is_mended_and_what_an_operator_set_beside_stays(play: Callable[[Scene], None]) -> None:
    async def scene(stand: Stand) -> None:
        config = (await stand.stream()).config
        await stand.ask("STREAM.UPDATE.COMMANDS", {**config, "duplicate_window": 10**9, "max_bytes": 10**9})
        await stand.keeper.tick()
        mended = (await stand.stream()).config
        assert mended["duplicate_window"] == config["duplicate_window"]
        assert mended["max_bytes"] == 10**9
        found = (await topology.find_consumers(stand._owner_bus, "COMMANDS"))["telegram-send"].config
        await stand.ask(
            "CONSUMER.DURABLE.CREATE.COMMANDS.telegram-send",
            {"stream_name": "COMMANDS", "config": {**found, "ack_wait": 10**9}},
        )
        await stand.keeper.tick()
        found = (await topology.find_consumers(stand._owner_bus, "COMMANDS"))["telegram-send"].config
        assert found["ack_wait"] == 30 * 10**9
        assert await stand.losses() == []

    play(scene)


def test_a_quiet_bus_costs_no_writes(play: Callable[[Scene], None]) -> None:
    async def scene(stand: Stand) -> None:
        await settled(stand)
        await stand.keeper.tick()
        written = "select array_agg(xmin::text order by durable) from topology_floors"
        before = await stand.ask_owner(written)
        for _ in range(3):
            await stand.keeper.tick()
        assert await stand.ask_owner(written) == before

    play(scene)
