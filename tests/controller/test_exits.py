"""Events that end a sequence: what `exit_on` says, on real PostgreSQL."""

import asyncio
from datetime import datetime, timedelta
from uuid import UUID

from controller_stand import Room, Stand
from nurture_contracts.events import EventsRecorded, RecordedEvent
from nurture_contracts.ids import uuid7

EXIT = 'exit_on = ["bought", "left"]'


def did(event: str, who: UUID, at: datetime) -> RecordedEvent:
    return RecordedEvent(event_id=uuid7(), user_id=who, event=event, at=at)


async def states(room: Room) -> dict[tuple[UUID, str], tuple[str, str | None]]:
    rows = await room.sql("select user_id, sequence_type, state, ended_reason, next_at from enrolments")
    assert all((row["next_at"] is None) == (row["state"] != "active") for row in rows)
    return {(row["user_id"], row["sequence_type"]): (row["state"], row["ended_reason"]) for row in rows}


def test_who_did_what_a_sequence_is_for_leaves_it_and_nobody_else(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        await stand.sequence(room, "offer", "now", "1d", head=EXIT)
        await stand.sequence(room, "other", "now", "1d", head='exit_on = ["moved"]')
        await stand.sequence(room, "plain", "now", "1d")
        buyer, leaver, early, idle = people = await stand.people(4)
        for type in ("offer", "other", "plain"):
            await room.start(type, *people)
        stand.clock.forward(hours=2)
        now = stand.clock.now()
        page = EventsRecorded(
            items=[
                did("bought", buyer, now),
                did("left", buyer, now + timedelta(seconds=1)),
                did("left", leaver, now),
                did("bought", early, now - timedelta(hours=3)),
                did("attended", idle, now),
                did("bought", uuid7(), now),
            ]
        )
        await room.exits.recorded(page)
        left = {(buyer, "offer"): ("cancelled", "exited: bought"), (leaver, "offer"): ("cancelled", "exited: left")}
        assert await states(room) == {
            (person, type): left.get((person, type), ("active", None))
            for person in people
            for type in ("offer", "other", "plain")
        }
        (ended,) = {
            row["ended_at"] for row in await room.sql("select ended_at from enrolments where ended_at is not null")
        }
        assert ended == now
        stand.clock.forward(hours=1)
        before = await room.sql("select * from enrolments order by id")
        await room.exits.recorded(page)
        assert await room.sql("select * from enrolments order by id") == before

    play(scene)


def test_a_message_that_waits_is_dropped_and_none_is_planned_after_it(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        await stand.sequence(room, "offer", "now", "1h", head=EXIT)
        (person,) = await stand.people(1)
        await room.start("offer", person)
        await room.exits.recorded(EventsRecorded(items=[did("bought", person, stand.clock.now())]))
        (waiting,) = await stand.admin.fetch("select enrolment_active from public.outbound_messages")
        assert waiting["enrolment_active"] is False
        stand.clock.forward(hours=2)
        await room.plan()
        assert len(await room.sql("select from deliveries")) == 1
        # Started again, an event of before says nothing.
        await room.start("offer", person)
        await room.exits.recorded(EventsRecorded(items=[did("bought", person, stand.clock.now() - timedelta(hours=1))]))
        assert [row["state"] for row in await room.sql("select state from enrolments order by started_at")] == [
            "cancelled",
            "active",
        ]

    play(scene)


def test_events_and_planning_at_the_same_time_lose_nothing_and_lock_nobody_out(play) -> None:
    async def scene(stand: Stand) -> None:
        rooms = [await stand.room(plan_batch=7), await stand.room(plan_batch=7)]
        await stand.sequence(rooms[0], "offer", "1h", "1h", head=EXIT)
        people = await stand.people(60)
        await rooms[0].start("offer", *people)
        stand.clock.forward(hours=1)
        now = stand.clock.now()
        pages = [
            EventsRecorded(items=[did("bought", person, now) for person in order])
            for order in (people[:40], people[39::-1])
        ]
        await asyncio.gather(*(room.plan() for room in rooms), *map(rooms[0].exits.recorded, pages))
        told = await states(rooms[0])
        assert {told[person, "offer"] for person in people[:40]} == {("cancelled", "exited: bought")}
        assert {told[person, "offer"] for person in people[40:]} == {("active", None)}

    play(scene)
