"""What is paused is not planned, what waits is not lost, what is late expires: on real PostgreSQL, with a clock by hand."""

import asyncio

from controller_stand import Room, Stand


async def holds(room: Room) -> list[tuple[str, str]]:
    return [(row["sequence_type"], row["reason"]) for row in await room.sql("select * from public.holds order by 1, 2")]


def test_a_pause_of_everything_holds_plans_and_takes_triggers(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        await stand.sequence(room, "first", "now", "1h")
        early, *late = await stand.people(4)
        await room.start("first", early)
        await room.settle_all()
        paused = await room.hold("*", True)
        assert paused.status == 200
        assert (paused.result["type"], paused.result["enrolments"]) == ("*", 1)
        stand.clock.forward(hours=2)
        one = await room.start("first", late[0])
        assert one.status == 201 and one.result["paused"] is True and "delivery_id" not in one.result
        many = await room.start("first", *late[1:])
        assert many.result["started"] == 2
        # Nothing is planned, and the ticker sleeps its second instead of asking again and again.
        assert await room.plan() == 60.0
        assert await room.statuses() == ["sent"]
        resumed = await room.hold("*", False)
        assert (resumed.status, resumed.result["enrolments"], resumed.result["holds"]) == (200, 4, [])
        await room.plan()
        assert sorted(await room.statuses()) == ["pending"] * 4 + ["sent"]
        (steps,) = await room.sql(
            "select array_agg(step order by step) as steps from deliveries where status = 'pending'"
        )
        assert steps["steps"] == [1, 1, 1, 2]

    play(scene)


def test_pausing_again_and_resuming_what_runs_are_no_errors(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        await stand.sequence(room, "first")
        assert [
            (await room.hold(what, paused)).status for what in ("*", "first") for paused in (False, True, True)
        ] == [200] * 6
        assert await holds(room) == [("*", "paused"), ("first", "paused")]
        unknown = await room.hold("nothing", True)
        assert unknown.status == 404 and "first" in unknown.result["hint"]

    play(scene)


def test_resuming_says_what_still_holds(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        await stand.sequence(room, "first")
        await stand.sequence(room, "second")
        await room.hold("first", True)
        await room.hold("*", True)
        first = await room.hold("first", False)
        assert [hold["sequence_type"] for hold in first.result["holds"]] == ["*"]
        await room.hold("second", True)
        everything = await room.hold("*", False)
        assert [hold["sequence_type"] for hold in everything.result["holds"]] == ["second"]

    play(scene)


def test_what_came_due_in_a_pause_goes_out_or_expires_by_its_lateness(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        await stand.sequence(room, "first", "1h", "1h", head='max_lateness = "24h"')
        (late,) = await stand.people(1)
        await room.start("first", late)
        await room.hold("*", True)
        stand.clock.forward(hours=24, minutes=30)
        (early,) = await stand.people(1)
        await room.start("first", early)
        stand.clock.forward(hours=2)
        await room.hold("*", False)
        await room.plan()
        rows = await room.sql("select user_id, status, scheduled_at, step from deliveries order by user_id")
        assert [(row["user_id"], row["status"]) for row in rows] == [(late, "expired"), (early, "pending")]
        # The step after an expired one counts from now: nobody gets in a burst what a standstill kept back.
        (following,) = await room.sql("select next_at from enrolments where user_id = $1", late)
        assert (following["next_at"] - stand.clock.now()).total_seconds() == 3600

    play(scene)


def test_a_held_type_does_not_hold_the_others(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        await stand.sequence(room, "first", "1h")
        await stand.sequence(room, "second", "1h")
        people = await stand.people(4)
        for person in people[:2]:
            await room.start("first", person)
        for person in people[2:]:
            await room.start("second", person)
        await room.hold("first", True)
        stand.clock.forward(hours=1)
        await room.plan()
        rows = await room.sql("select sequence_type, count(*) as n from deliveries group by 1")
        assert [(row["sequence_type"], row["n"]) for row in rows] == [("second", 2)]
        assert (await room.hold("first", False)).result["enrolments"] == 2
        await room.plan()
        assert await room.statuses() == ["pending"] * 4

    play(scene)


def test_a_page_on_the_bus_has_deliveries_of_one_type(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        people = await stand.people(6)
        for name in ("first", "second"):
            await stand.sequence(room, name, "1h")
            for person in people:
                await room.start(name, person)
        stand.clock.forward(hours=1)
        await room.plan()
        types = {row["id"]: row["sequence_type"] for row in await room.sql("select id, sequence_type from deliveries")}
        pages = [[types[id] for id in page.items] for page in await room.said() if hasattr(page, "page_id")]
        assert sorted((set(page).pop(), len(page)) for page in pages) == [("first", 6), ("second", 6)]

    play(scene)


def test_a_start_that_races_a_release_is_never_left_behind(play) -> None:
    """Those whom a start is about to hold, while the release lets the others go, would wait for ever."""

    async def scene(stand: Stand) -> None:
        room, other = await stand.room(), await stand.room()
        await stand.sequence(room, "first")
        (person,) = await stand.people(1)
        await room.hold("first", True)
        async with room.outbox.transaction() as tx:
            published = await room.library.latest(tx, "first")
            assert published is not None
            begun = await room.starter.begin(tx, person, published, [person], {}, None, stand.clock.now())
            assert begun.waits
            release = asyncio.create_task(other.hold("first", False))
            # It waits for us; a release that did not would be done by now.
            await asyncio.wait({release}, timeout=0.5)
            assert not release.done()
        assert (await release).result["enrolments"] == 1
        await room.plan()
        assert await room.statuses() == ["pending"]

    play(scene)


def test_who_was_started_while_their_type_was_being_paused_is_held_too(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        await stand.sequence(room, "first", "1h")
        people = await stand.people(2)
        await room.start("first", *people)
        # What a start that had not committed when the pause looked leaves: the type is held, its people are not.
        await room.sql("insert into paused_types values ('first', $1)", stand.clock.now())
        stand.clock.forward(hours=1)
        await room.plan()
        assert await room.statuses() == []
        assert (await room.hold("first", False)).result["enrolments"] == 2
        await room.plan()
        assert await room.statuses() == ["pending", "pending"]

    play(scene)


def test_a_step_that_was_put_off_keeps_the_time_it_was_due_at(play) -> None:
    """Behind a delivery that is long in coming to its end, a step grows as late as it is."""

    async def scene(stand: Stand) -> None:
        room = await stand.room()
        await stand.sequence(room, "first", "now", "1h", "1h", head='max_lateness = "24h"')
        soon, late = await stand.people(2)
        await room.start("first", soon)
        await room.start("first", late)
        for hours in (1, 10, 10):
            stand.clock.forward(hours=hours)
            await room.planner.tick()
        await room.sql("update deliveries set sent_at = $1 where user_id = $2", stand.clock.now(), soon)
        stand.clock.forward(seconds=3)
        await room.planner.tick()
        stand.clock.forward(hours=10)
        await room.planner.tick()
        await room.sql("update deliveries set sent_at = $1 where user_id = $2", stand.clock.now(), late)
        stand.clock.forward(seconds=3)
        await room.planner.tick()
        rows = await room.sql(
            "select user_id, status, scheduled_at, e.due_at from deliveries d join enrolments e using (user_id) where d.step = 2"
        )
        assert {row["user_id"]: row["status"] for row in rows} == {soon: "pending", late: "expired"}
        assert {row["scheduled_at"].hour for row in rows} == {10}
        assert [row["due_at"] for row in rows if row["user_id"] == late] == [None]

    play(scene)


def test_steps_late_by_more_than_they_may_be_expire_after_downtime(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room(plan_batch=7)
        await stand.sequence(room, "first", "1h", "2h", head='max_lateness = "6h"')
        await room.start("first", *await stand.people(20))
        stand.clock.forward(days=3)
        await room.plan()
        assert await room.statuses() == ["expired"] * 20
        stand.clock.forward(hours=2)
        await room.plan()
        assert await room.statuses() == ["expired"] * 20 + ["pending"] * 20

    play(scene)
