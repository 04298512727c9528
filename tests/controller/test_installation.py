"""A database that is not the one that was confirmed: held by itself, made whole meanwhile, let go by confirmation only."""

from datetime import UTC, datetime

from controller_stand import Room, Stand
from nurture_chassis.restored import Forgotten
from nurture_contracts.topology import CONSUMERS

FORGOTTEN = Forgotten("EmailsSettled 0198b2f4", datetime(2026, 6, 1, 9, 0, tzinfo=UTC))


async def holds(room: Room) -> list[tuple[str, str]]:
    return [(row["sequence_type"], row["reason"]) for row in await room.sql("select * from public.holds order by 1, 2")]


async def losses(room: Room) -> int:
    return (await room.sql("select count(distinct subject) as n from bus_losses"))[0]["n"]


def test_the_first_start_says_which_database_it_is_and_later_ones_change_nothing(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        assert await room.sql("select * from installation") == []
        await room.installation.look()
        (first,) = await room.sql("select *, identity = public.database_identity() as ours from installation")
        assert first["ours"] and first["restored_at"] is None
        await room.installation.look()
        await (await stand.room()).installation.look()
        (again,) = await room.sql("select *, identity = public.database_identity() as ours from installation")
        assert again == first
        assert (await holds(room), await losses(room)) == ([], 0)

    play(scene)


def test_a_copy_plans_nothing_and_goes_on_when_it_is_confirmed(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        await stand.sequence(room, "first", "1h")
        await room.installation.look()
        (person,) = await stand.people(1)
        await room.start("first", person)
        await stand.admin.execute("update controller.installation set identity = 'another/1'")
        stand.clock.forward(hours=1)
        # It holds before any controller has looked.
        assert await holds(room) == [("*", "restored")]
        await room.plan()
        assert await room.statuses() == []
        await room.installation.look()
        assert await losses(room) == len({consumer.message.subject for consumer in CONSUMERS})
        said_again = await room.sql("select n from bus_losses")
        await room.installation.look()
        assert await room.sql("select n from bus_losses") == said_again

        for what in ("*", "first"):
            refused = await room.hold(what, False)
            assert (refused.status, refused.result["code"]) == (409, "database_restored")
            assert "it was confirmed as another/1" in refused.result["detail"]
        assert await holds(room) == [("*", "restored")]
        confirmed = await room.hold("*", False, confirm=True)
        assert (confirmed.status, confirmed.result["holds"]) == (200, [])
        await room.plan()
        assert await room.statuses() == ["pending"]
        await room.installation.look()
        assert await holds(room) == []

    play(scene)


def test_a_database_that_went_back_is_held_with_the_first_evidence(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        await room.installation.look()
        await room.installation.older(FORGOTTEN)
        (before,) = await room.sql("select restored_at, evidence from installation")
        assert "does not know EmailsSettled 0198b2f4, said 2026-06-01 09:00:00 UTC" in before["evidence"]
        number = len(await room.sql("select n from bus_losses"))
        await room.installation.older(FORGOTTEN._replace(what="another"))
        assert [tuple(row) for row in await room.sql("select restored_at, evidence from installation")] == [
            tuple(before)
        ]
        assert len(await room.sql("select n from bus_losses")) == number
        assert (await room.hold("*", False)).status == 409
        assert (await room.hold("*", False, confirm=True)).status == 200
        assert await holds(room) == []

    play(scene)


def test_a_pause_of_before_the_backup_ends_with_the_confirmation_and_those_of_types_stay(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        await stand.sequence(room, "first")
        await room.installation.look()
        await room.hold("*", True)
        await room.hold("first", True)
        await room.installation.older(FORGOTTEN)
        # A pause is never refused.
        assert (await room.hold("first", True)).status == 200
        confirmed = await room.hold("*", False, confirm=True)
        assert [(hold["sequence_type"], hold["reason"]) for hold in confirmed.result["holds"]] == [("first", "paused")]
        assert await holds(room) == [("first", "paused")]

    play(scene)


def test_what_the_command_restored_is_said_again_once(play) -> None:
    """`nurture db restore` writes down itself that it did; the first controller that starts finds it so."""

    async def scene(stand: Stand) -> None:
        room = await stand.room()
        await room.installation.look()
        await stand.admin.execute("update controller.installation set restored_at = now(), evidence = 'a backup'")
        for each in (room, await stand.room()):
            await each.installation.look()
            assert await losses(room) == len({consumer.message.subject for consumer in CONSUMERS})
        (before,) = await room.sql("select count(*) as n from bus_losses")
        assert (await room.hold("*", False, confirm=True)).status == 200
        # Restored once more, it is said once more.
        await stand.admin.execute(
            "update controller.installation set restored_at = clock_timestamp(), evidence = 'another'"
        )
        await room.installation.look()
        (after,) = await room.sql("select count(*) as n from bus_losses")
        assert after["n"] == 2 * before["n"]

    play(scene)


def test_while_it_is_held_sql_requests_wait_too(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        await stand.sequence(room, "first")
        (person,) = await stand.people(1)
        await room.sql(
            "insert into message_requests (id, user_id, sequence_type, step, channels, scheduled_at, content, metadata,"
            " requested_at, requested_by, next_at)"
            " values (gen_random_uuid(), $1, 'first', 1, '{}', $2, 'Hello.', '{}', $2, 'me', $2)",
            person, stand.clock.now(),
        )  # fmt: skip
        await room.hold("*", True)
        assert await room.requests.tick() == 60.0
        await room.hold("*", False)
        await room.requests.tick()
        assert await room.statuses() == ["pending"]

    play(scene)
