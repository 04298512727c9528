"""Slots: so many calls a second whoever stalls where, and none that was paid for long ago."""

import asyncio
import itertools
import time
from collections.abc import Sequence
from typing import Any

from email_stand import Accepts, Room, Stand
from nurture_chassis.database import STATEMENTS
from nurture_chassis.pace import SLOT_LIFE, Pace
from nurture_email.rendering import Mail
from nurture_email.resend import Reply

ACCEPTED = ("accepted", None)


def reserved() -> float:
    return STATEMENTS.labels("pace_reserve")._value.get()


class Watched(Accepts):
    """Notes when it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    async def send(self, key: str, mails: Sequence[Mail]) -> Reply:
        self.times.append(time.monotonic())
        return await super().send(key, mails)


def stalling(room: Room, count: int, seconds: float) -> None:
    """From its third on, `count` requests of this replica stand still for a while between claim and call."""
    keep, calls = room.store.keep_links, iter(range(10_000))

    async def stalls(links: Any) -> None:
        if 2 <= next(calls) < 2 + count:
            await asyncio.sleep(seconds)
        await keep(links)

    room.store.keep_links = stalls


def most_in_a_second(times: Sequence[float]) -> int:
    return max(sum(start <= at < start + 1.0 for at in times) for start in times)


def test_what_stalls_between_slot_and_call_never_leaves_together_with_the_next(play) -> None:
    async def scene(stand: Stand) -> None:
        limit, provider = 10, Watched()
        rooms = [await stand.room(provider, rate=float(limit), concurrency=8) for _ in range(2)]
        for room in rooms:
            stalling(room, 2, 0.3)
        ids = iter(await stand.deliveries(25))

        async def work(room: Room) -> None:
            for id in ids:
                # Of waiting pages one request would take all.
                await room.page([id])
                while (await room.store.look()).work:
                    await room.sender.tick()
            await room.sender.finish()

        await asyncio.gather(*(work(room) for room in rooms))
        assert len(await rooms[0].settled()) == 25
        assert most_in_a_second(provider.times) <= limit

    play(scene)


def test_a_slot_whose_reservation_took_long_is_not_used(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        pace, fetchrow = Pace(room.database, "resend", 5.0), room.database.fetchrow
        await pace.slot()
        stops = [True]

        async def stopped(*args: Any) -> Any:
            row = await fetchrow(*args)
            if stops:
                # SIGSTOP between the database's answer and our look at the clock.
                stops.pop()
                time.sleep(0.4)  # noqa: ASYNC251 - the whole process stands still
            return row

        room.database.fetchrow = stopped
        before = reserved()
        slot = await pace.slot()
        assert reserved() - before >= 2, "the first of them had passed when the process went on"
        assert slot.until - slot.at <= SLOT_LIFE + 1e-6

    play(scene)


def test_a_database_that_is_always_slow_is_believed_after_a_few_lost_slots(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        pace, fetchrow = Pace(room.database, "resend", 1000.0), room.database.fetchrow

        async def slow(*args: Any) -> Any:
            await asyncio.sleep(0.25)
            return await fetchrow(*args)

        room.database.fetchrow = slow
        before = reserved()
        await pace.slot()
        first = reserved() - before
        await pace.slot()
        assert 1 < first < 10 and reserved() - before - first < first

    play(scene)


def test_slots_of_a_volley_follow_each_other_and_come_no_sooner_than_asked(play) -> None:
    async def scene(stand: Stand) -> None:
        room, other = await stand.room(), await stand.room()
        # Slots are as exact as the database's answer is quick: they lie further apart than an answer may be late.
        pace, twin = Pace(room.database, "resend", 2.0), Pace(other.database, "resend", 2.0)
        began = time.monotonic()
        slots = await pace.slots(3, after=0.2)
        last = await twin.slot()
        assert slots[0].at >= began + 0.2
        gaps = [b.at - a.at for a, b in itertools.pairwise(slots)]
        assert all(abs(gap - 1 / 1.8) < 1e-9 for gap in gaps), gaps
        assert last.at > slots[-1].at

    play(scene)


def test_a_slot_that_comes_after_the_deadline_is_no_slot(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        pace = Pace(room.database, "resend", 20.0)
        slot = await pace.slot()
        assert not await pace.wait(slot, slot.at - 0.01)
        await pace.hold(60.0)
        assert not await pace.wait(slot._replace(until=0.0), time.monotonic() + 5.0)

    play(scene)


def test_a_claim_whose_links_cannot_be_stored_is_given_back_as_it_was(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ids = await stand.deliveries(3)
        keep, failures = room.store.keep_links, [ConnectionResetError()]

        async def away(links: Any) -> None:
            if failures:
                raise failures.pop()
            await keep(links)

        room.store.keep_links = away
        await room.page(ids)
        await room.sender.tick()
        await room.sender.finish()
        (claim,) = await room.claims()
        assert (claim["state"], claim["may_have_arrived"], claim["lease_until"]) == ("open", False, None)
        await room.work()
        assert await room.settled() == dict.fromkeys(ids, ACCEPTED)
        assert [key for key, _, _ in room.provider.calls] == [str(claim["id"])]

    play(scene)
