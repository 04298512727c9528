"""Pages of a held type are not claimed and keep nobody waiting; a restored database sends nothing at all."""

from uuid import UUID

import asyncpg
import msgspec
from email_stand import Stand, answering, standing
from nurture_contracts.ids import uuid7

from tests.servers import apart

PAGES = 3000


async def hold(stand: Stand, sequence_type: str) -> None:
    await stand.admin.execute("insert into controller.paused_types values ($1, now())", sequence_type)


async def release(stand: Stand) -> None:
    await stand.admin.execute("truncate controller.paused_types")
    await stand.admin.execute("truncate controller.installation")


async def of_type(stand: Stand, count: int, sequence_type: str) -> list[UUID]:
    ids = await stand.deliveries(count)
    await stand.admin.execute(
        "update controller.deliveries set sequence_type = $2 where id = any($1)", ids, sequence_type
    )
    return ids


def held_scene(play, scene) -> None:
    """Holds are the controller's rows, which other tests of this server do not expect."""

    async def whole(stand: Stand) -> None:
        await release(stand)
        try:
            await scene(stand)
        finally:
            await release(stand)

    play(whole)


def test_pages_of_a_held_type_wait_and_the_others_pass_them(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        held, free = await of_type(stand, 250, "held"), await of_type(stand, 3, "free")
        await hold(stand, "held")
        for start in range(0, 250, 100):
            await room.page(held[start : start + 100])
        await room.page(free)
        await room.work()
        assert set(await room.settled()) == set(free)
        # An idle sender is idle: what is held is no work.
        assert (await room.store.look()).work is False
        assert await room.sender.tick() is False
        await release(stand)
        assert (await room.store.look()).work is True
        await room.work()
        assert set(await room.settled()) == {*held, *free}
        assert len(room.provider.delivered) == 253

    held_scene(play, scene)


def test_everything_held_lets_test_mails_pass(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ids, test_id = await of_type(stand, 5, "first"), uuid7()
        await stand.admin.execute(
            "insert into gateway.test_messages (id, address, user_name, template, requested_at)"
            " values ($1, 'me@x.test', 'Me', 'nurture_sequence', now())",
            test_id,
        )
        await hold(stand, "*")
        await room.page(ids)
        await room.page([test_id], test=True)
        await room.work()
        assert room.provider.delivered == ["me@x.test"]
        await release(stand)
        await room.work()
        assert len(room.provider.delivered) == 6

    held_scene(play, scene)


def test_a_claim_that_was_opened_before_goes_on(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ids, later = await of_type(stand, 2, "first"), await of_type(stand, 2, "first")
        room.provider.next = [answering(500, "internal_server_error")]
        await room.page(ids)
        await room.work()
        await hold(stand, "first")
        await room.page(later)
        await room.due()
        await room.work()
        assert set(await room.settled()) == set(ids)
        assert len({key for key, _, _ in room.provider.calls}) == 1

    held_scene(play, scene)


def test_a_sender_in_full_run_stops_at_its_next_claim(play) -> None:
    """It asks what it may claim with each claim, not only when it was idle."""

    async def scene(stand: Stand) -> None:
        room = await stand.room()
        for _ in range(4):
            await room.page(await of_type(stand, 100, "first"))
        assert await room.sender.tick() is True
        await hold(stand, "first")
        await room.work()
        assert [len(claim["members"]) for claim in await room.claims()] == [100]

    held_scene(play, scene)


def test_in_a_copy_of_the_database_nothing_is_claimed_until_it_is_confirmed(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ids = await of_type(stand, 2, "first")
        room.provider.next = [answering(500, "internal_server_error")]
        await room.page(ids)
        await room.work()
        await room.page(await of_type(stand, 2, "first"))
        await room.page([uuid7()], test=True)
        await room.due()
        await stand.admin.execute("insert into controller.installation (identity) values ('another/1')")
        assert (await room.store.look()).work is False
        await room.work()
        assert len(room.provider.calls) == 1
        await stand.admin.execute("update controller.installation set identity = public.database_identity()")
        await room.work()
        assert len(room.provider.delivered) == 4

    held_scene(play, scene)


def test_a_copied_database_is_held_and_the_original_is_not(email_postgres) -> None:
    """`create database … template` is the least of copies: it says so by itself, before any service has started on it."""

    async def whole() -> None:
        async with standing(email_postgres) as stand:
            await release(stand)
            room = await stand.room()
            await stand.admin.execute(
                "insert into controller.installation (identity) values (public.database_identity())"
            )
            await room.page(await of_type(stand, 3, "first"))
            held = "select sequence_type, reason from public.holds"
            assert await stand.admin.fetch(held) == []
        head, _, _ = email_postgres.admin_url.rpartition("/")
        name = f"copy_{uuid7().hex}"
        admin = await asyncpg.connect(f"{head}/postgres")
        original = email_postgres.admin_url.rpartition("/")[2].partition("?")[0]
        try:
            await admin.execute(f'create database {name} template "{original}"')
            copy = await asyncpg.connect(f"{head}/{name}")
            assert [tuple(row) for row in await copy.fetch(held)] == [("*", "restored")]
            assert await copy.fetchval("select count(*) from email.pages where claim_id is null") == 1
            await copy.close()
        finally:
            await admin.execute(f"drop database if exists {name}")
            await admin.close()
            async with standing(email_postgres) as stand:
                await release(stand)

    apart(whole())


def test_claims_beside_a_long_held_backlog_read_no_more_than_without(play) -> None:
    """Counted in pages that PostgreSQL touches, which no busy machine changes."""

    async def scene(stand: Stand) -> None:
        room = await stand.room()
        free = await of_type(stand, 2, "free")

        async def touched() -> int:
            """By a claim of the two that are free, undone afterwards."""
            query = room.database.queries["claim_next_beside"]
            for number, value in enumerate(("'{}'::uuid", "60.0", "now()", "'{{}}'::jsonb", "100"), start=1):
                query = query.replace(f"${number}", value.format(uuid7()))
            async with room.database.pool.acquire() as connection:
                change = connection.transaction()
                await change.start()
                try:
                    (plan,) = await connection.fetchrow(f"explain (analyze, buffers, format json) {query}")
                finally:
                    await change.rollback()
            (found,) = msgspec.json.decode(plan)
            assert found["Plan"]["Actual Rows"] == 1
            return found["Plan"]["Shared Hit Blocks"] + found["Plan"]["Shared Read Blocks"]

        await hold(stand, "held")
        await room.page(free)
        few = await touched()
        await stand.admin.execute(
            "insert into email.pages (id, members, sequence_type, received_at)"
            " select gen_random_uuid(), array[gen_random_uuid()], 'held', now() - interval '1 day' from generate_series(1, $1)",
            PAGES,
        )
        many = await touched()
        assert many <= few * 2, (few, many)

    held_scene(play, scene)
