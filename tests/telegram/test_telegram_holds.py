"""Deliveries of a held type are not claimed and keep nobody waiting; a restored database sends nothing at all."""

from collections.abc import Awaitable, Callable
from uuid import UUID

import msgspec
from nurture_contracts.ids import uuid7
from telegram_stand import Stand

BACKLOG = 3000
_VALUES = ("4", "60.0", "now()", "0.0", "'telegram'", "gen_random_uuid()")


async def hold(stand: Stand, sequence_type: str) -> None:
    await stand.admin.execute("insert into controller.paused_types values ($1, now())", sequence_type)


async def release(stand: Stand) -> None:
    await stand.admin.execute("truncate controller.paused_types")
    await stand.admin.execute("truncate controller.installation")


async def of_type(stand: Stand, count: int, sequence_type: str) -> list[UUID]:
    ids = await stand.deliveries(count)
    await become(stand, ids, sequence_type)
    return ids


async def become(stand: Stand, ids: list[UUID], sequence_type: str) -> None:
    await stand.admin.execute(
        "update controller.deliveries set sequence_type = $2 where id = any($1)", ids, sequence_type
    )


def held_scene(play, scene: Callable[[Stand], Awaitable[None]]) -> None:
    """Holds are the controller's rows, which other tests of this server do not expect."""

    async def whole(stand: Stand) -> None:
        await release(stand)
        try:
            await scene(stand)
        finally:
            await release(stand)

    play(whole)


def test_deliveries_of_a_held_type_wait_and_the_others_pass_them(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ids = await of_type(stand, 35, "held")
        held, free = ids[:30], ids[30:]
        await become(stand, free, "free")
        await room.page(held)
        await hold(stand, "held")
        await room.page(free)
        await room.work()
        assert set(await room.settled()) == set(free)
        # An idle sender is idle: what is held is no work, and takes no slot of the pace.
        assert (await room.store.look(4)).due == 0
        assert await room.sender.tick() is False
        await release(stand)
        assert (await room.store.look(4)).due == 4
        await room.work()
        assert set(await room.settled()) == {*held, *free}
        assert len(stand.bot.sent) == 35

    held_scene(play, scene)


def test_what_was_certainly_not_sent_waits_with_the_others(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        (id,) = await of_type(stand, 1, "first")
        await room.page([id])
        volley = await room.store.turn(uuid7(), [], 4, 60.0, room.sender._clock.now())
        await hold(stand, "first")
        await room.sql(
            "update claims set state = 'waiting', lease_until = null, next_at = now() where delivery_id = $1", id
        )
        assert len(volley.claims) == 1
        await room.work()
        assert stand.bot.sent == [] and await room.settled() == {}
        await release(stand)
        await room.due()
        await room.work()
        assert set(await room.settled()) == {id}

    held_scene(play, scene)


def test_a_sender_in_full_run_stops_at_its_next_volley(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room(concurrency=4)
        await room.page(await of_type(stand, 20, "first"))
        look = await room.store.look(4)
        assert look.due == 4
        await hold(stand, "*")
        # The look is older than the hold: the claim itself asks.
        volley = await room.store.turn(uuid7(), [], 4, 60.0, room.sender._clock.now())
        assert (volley.claims, volley.fell) == ([], 0)
        await room.work()
        assert stand.bot.sent == []

    held_scene(play, scene)


def test_in_a_copy_of_the_database_nothing_is_claimed_until_it_is_confirmed(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ids = await of_type(stand, 3, "first")
        await room.page(ids)
        await stand.admin.execute("insert into controller.installation (identity) values ('another/1')")
        await room.work()
        assert stand.bot.sent == []
        await stand.admin.execute("update controller.installation set identity = public.database_identity()")
        await room.work()
        assert set(await room.settled()) == set(ids)

    held_scene(play, scene)


def test_claims_beside_a_long_held_backlog_read_no_more_than_without(play) -> None:
    """Counted in pages that PostgreSQL touches, which no busy machine changes."""

    async def scene(stand: Stand) -> None:
        room = await stand.room()

        async def touched() -> int:
            """By a claim of the two that are free, undone afterwards."""
            query = room.database.queries["claim_volley_beside"]
            for number, value in enumerate(_VALUES, start=1):
                query = query.replace(f"${number}", value)
            async with room.database.pool.acquire() as connection:
                change = connection.transaction()
                await change.start()
                try:
                    (plan,) = await connection.fetchrow(f"explain (analyze, buffers, format json) {query}")
                finally:
                    await change.rollback()
            (found,) = msgspec.json.decode(plan)
            assert found["Plan"]["Actual Rows"] == 2
            return found["Plan"]["Shared Hit Blocks"] + found["Plan"]["Shared Read Blocks"]

        await hold(stand, "held")
        await room.page(await of_type(stand, 2, "free"))
        few = await touched()
        await stand.admin.execute(
            "insert into telegram.claims (delivery_id, sequence_type, next_at)"
            " select gen_random_uuid(), 'held', now() - interval '1 day' from generate_series(1, $1)",
            BACKLOG,
        )
        many = await touched()
        assert many <= few * 2, (few, many)

    held_scene(play, scene)
