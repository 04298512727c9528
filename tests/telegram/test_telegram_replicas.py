"""Dying workers, late answers, ending leases, and two replicas that share a bot."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from telegram_server import BLOCKED
from telegram_stand import Stand

ACCEPTED = ("accepted", None)


def test_a_workers_death_leaves_unknown_and_nothing_is_sent_twice(play) -> None:
    async def scene(stand: Stand) -> None:
        dying, living = await stand.room(), await stand.room()
        ids = await stand.deliveries(6)
        stand.bot.gate = asyncio.Event()
        await dying.page(ids)
        await dying.sender.tick()
        assert dying.sender._flight is not None
        dying.sender._flight.cancel()
        await asyncio.wait({dying.sender._flight})
        stand.bot.gate.set()
        await living.work()
        assert len(await living.settled()) == 2
        await living.reap()
        assert len(await living.settled()) == 2, "their leases have not ended"
        await living.leases_end()
        await living.reap()
        await living.work()
        settled = await living.settled()
        assert Counter(settled.values()) == {ACCEPTED: 2, ("unknown", "worker_lost"): 4}
        assert set(settled) == set(ids)
        texts = Counter(request["chat_id"] for request in stand.bot.requests("sendMessage"))
        assert max(texts.values()) == 1

    play(scene)


def test_a_late_answer_is_evidence_but_only_that_it_arrived(play) -> None:
    async def scene(stand: Stand) -> None:
        room, other = await stand.room(), await stand.room()
        arrives, refused = await stand.deliveries(2)
        stand.bot.next[1001] = [BLOCKED]
        stand.bot.gate = asyncio.Event()
        await room.page([arrives, refused])
        await room.sender.tick()
        await stand.bot.until(lambda: stand.bot.in_flight == 2)
        await other.leases_end()
        await other.reap()
        stand.bot.gate.set()
        await room.work()
        ends = [(item.delivery_id, item.outcome) for item in await room.settlements()]
        assert sorted(ends) == sorted([(arrives, "unknown"), (refused, "unknown"), (arrives, "accepted")])
        rows = await room.sql("select delivery_id, outcome, provider_id from claims")
        assert {(row[0], row[1], row[2]) for row in rows} == {
            (arrives, "accepted", "1000:1"),
            (refused, "unknown", None),
        }
        assert await room.changes() == []

    play(scene)


def test_no_call_begins_with_too_little_lease_left(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room(lease=40.0)
        (delivery,) = await stand.deliveries(1)
        await room.page([delivery])
        assert await room.sender.tick() is False
        await room.sender.finish()
        assert stand.bot.calls == []
        (row,) = await room.sql("select state, attempt from claims")
        assert tuple(row) == ("waiting", 1)

    play(scene)


def test_two_replicas_share_work_and_pace_and_send_nothing_twice(play) -> None:
    async def scene(stand: Stand) -> None:
        rooms = [await stand.room(rate=100.0), await stand.room(rate=100.0)]
        ids = await stand.deliveries(60)
        for start in range(0, 60, 20):
            await rooms[0].page(ids[start : start + 20])
        began = await stand.admin.fetchval("select clock_timestamp()")

        async def run(room: Any) -> None:
            while len(await room.sql("select from claims where state = 'settled'")) < 60:
                await room.work()
                await asyncio.sleep(0.01)

        await asyncio.gather(*(run(room) for room in rooms))
        took = (await stand.admin.fetchval("select clock_timestamp()") - began).total_seconds()
        assert took >= 0.5, "sixty messages at a hundred a second"
        assert Counter(request["chat_id"] for request in stand.bot.sent) == Counter(range(1000, 1060))
        assert await rooms[0].settled() == dict.fromkeys(ids, ACCEPTED)

    play(scene)


def test_a_chat_gets_one_message_a_second_whoever_sends(play, monkeypatch: pytest.MonkeyPatch) -> None:
    # A second of the chat lasts until the test says that it is over, however long this machine takes.
    monkeypatch.setattr("nurture_telegram.store.CHAT_INTERVAL", 600.0)

    async def scene(stand: Stand) -> None:
        room, other = await stand.room(), await stand.room()
        first, stranger = await stand.deliveries(2)
        person = await stand.person(first)
        more = [await stand.delivery(person, "1000") for _ in range(2)]
        await room.page([first, *more, stranger])
        await asyncio.gather(room.work(), other.work())
        assert len(stand.bot.texts(1000)) == 1 and len(stand.bot.texts(1001)) == 1
        assert (await room.store.look(4)).due == 0, "the others are not looked at until the chat may have one again"
        await room.sql("update claims set next_at = now() where state = 'waiting'")
        await asyncio.gather(room.work(), other.work())
        assert len(stand.bot.texts(1000)) == 1, "the chat's own pace decides"
        for _ in range(2):
            await room.due()
            await asyncio.gather(room.work(), other.work())
        assert await room.settled() == dict.fromkeys([first, stranger, *more], ACCEPTED)

    play(scene)
