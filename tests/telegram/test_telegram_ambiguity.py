"""`on_ambiguous = "retry"`: sent again, a bounded number of times, and said so; and claims whose answer was lost."""

import asyncio
from typing import Any

from nurture_chassis.clock import Clock
from telegram_server import BLOCKED, error, takes, takes_and_breaks, takes_and_hangs_up
from telegram_stand import Room, Stand

RETRY = {"on_ambiguous": "retry"}
ACCEPTED = ("accepted", None)
DOUBLED = "possible_duplicate"


async def rounds(room: Room, count: int) -> None:
    """Work, and let the waits of what is tried again pass, so many times."""
    for _ in range(count):
        await room.due()
        await room.work()


async def slow(room: Room, stand: Stand, delivery: Any) -> None:
    """This replica has the delivery in flight, and its lease ends before the answer comes."""
    stand.bot.gate = asyncio.Event()
    await room.page([delivery])
    await room.sender.tick()
    await stand.bot.until(lambda: stand.bot.in_flight == 1)
    await room.leases_end()


def test_it_is_sent_again_and_said_to_have_come_twice_perhaps(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        twice, once, held = await stand.deliveries(3, params=RETRY)
        await stand.admin.execute("update controller.delivery_contents set params = '{}' where delivery_id = $1", held)
        stand.bot.next = {1000: [takes_and_hangs_up], 1002: [takes_and_hangs_up]}
        await room.page([twice, once, held])
        await rounds(room, 3)
        settled = await room.settled()
        assert settled.pop(held)[0] == "unknown" and len(stand.bot.texts(1002)) == 1
        assert settled == {twice: ("accepted", DOUBLED), once: ACCEPTED}
        assert len(stand.bot.texts(1000)) == 2

    play(scene)


def test_attempts_that_may_have_arrived_are_bounded(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        (delivery,) = await stand.deliveries(1, params=RETRY)
        stand.bot.next[1000] = [takes_and_breaks, error(429, "Too Many Requests", retry_after=1)] + [
            takes_and_breaks
        ] * 9
        await room.page([delivery])
        await rounds(room, 8)
        assert await room.settled() == {delivery: ("unknown", DOUBLED)}
        assert len(stand.bot.texts(1000)) == 3, "one that was certainly not taken does not count"

    play(scene)


def test_a_refusal_after_doubt_is_no_failure(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        blocked, unsent = await stand.deliveries(2, params=RETRY)
        stand.bot.next = {1000: [takes_and_hangs_up, BLOCKED], 1001: [BLOCKED]}
        await room.page([blocked, unsent])
        await rounds(room, 3)
        assert await room.settled() == {blocked: ("unknown", "blocked"), unsent: ("rejected", "blocked")}
        assert {change for _, change in await room.changes()} == {"blocked"}

    play(scene)


def test_who_refuses_after_doubt_gets_no_second_one_and_is_not_counted_as_spared(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        refuses, expires, off = await stand.deliveries(3, params=RETRY)
        stand.bot.next = {1000 + n: [takes_and_hangs_up] for n in range(3)}
        await room.page([refuses, expires, off])
        await rounds(room, 1)
        await stand.contact(refuses, "consent = 'refused'")
        await stand.admin.execute(
            "update controller.delivery_contents set expires_at = now() - interval '1 s' where delivery_id = $1",
            expires,
        )
        await room.sql("update claims set next_at = now() + interval '1 hour' where delivery_id = $1", off)
        await room.sql("update claims set next_at = now() where delivery_id <> $1", off)
        await room.work()
        await room.store.refuse_waiting(Clock().now())
        assert await room.settled() == {
            refuses: ("unknown", "withheld_after_attempt"),
            expires: ("unknown", "withheld_after_attempt"),
            off: ("unknown", "channel_off"),
        }
        assert len(stand.bot.sent) == 3

    play(scene)


def test_a_workers_death_is_an_ambiguous_end_too(play) -> None:
    async def scene(stand: Stand) -> None:
        dying, living = await stand.room(), await stand.room()
        again, held = await stand.deliveries(2, params=RETRY)
        await stand.admin.execute("update controller.delivery_contents set params = '{}' where delivery_id = $1", held)
        stand.bot.gate = asyncio.Event()
        await dying.page([again, held])
        await dying.sender.tick()
        assert dying.sender._flight is not None
        await stand.bot.until(lambda: stand.bot.in_flight == 2)
        dying.sender._flight.cancel()
        await asyncio.wait({dying.sender._flight})
        stand.bot.gate.set()
        await living.leases_end()
        await living.reap()
        await rounds(living, 1)
        assert await living.settled() == {again: ("accepted", DOUBLED), held: ("unknown", "worker_lost")}

    play(scene)


def test_a_late_answer_ends_the_waiting_and_nothing_came_twice(play) -> None:
    async def scene(stand: Stand) -> None:
        room, other = await stand.room(), await stand.room()
        (delivery,) = await stand.deliveries(1, params=RETRY)
        await slow(room, stand, delivery)
        await other.reap()
        assert await other.settled() == {}
        stand.bot.gate.set()
        await asyncio.wait({room.sender._flight})
        await room.sender.finish()
        assert await room.settled() == {delivery: ACCEPTED}
        await rounds(other, 1)
        assert len(stand.bot.sent) == 1

    play(scene)


def test_a_late_answer_while_it_is_being_sent_again_is_evidence_of_both(play) -> None:
    async def scene(stand: Stand) -> None:
        room, other = await stand.room(), await stand.room()
        (delivery,) = await stand.deliveries(1, params=RETRY)
        first, second = asyncio.Event(), asyncio.Event()

        def waits(event: asyncio.Event):
            async def behaviour(server, request):
                await event.wait()
                return await takes(server, request)

            return behaviour

        stand.bot.next[1000] = [waits(first), waits(second)]
        await room.page([delivery])
        await room.sender.tick()
        await stand.bot.until(lambda: stand.bot.in_flight == 1)
        await room.leases_end()
        await other.reap()
        await other.due()
        await other.sender.tick()
        await stand.bot.until(lambda: stand.bot.in_flight == 2)
        first.set()
        await room.sender.finish()
        assert await room.settled() == {delivery: ("accepted", DOUBLED)}
        second.set()
        await other.sender.finish()
        assert await room.settled() == {delivery: ("accepted", DOUBLED)}, "settled once"
        assert len(stand.bot.sent) == 2

    play(scene)


def test_a_volley_whose_claim_was_not_answered_is_given_back(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ids = await stand.deliveries(6)
        turn, lost = room.store.turn, [True]

        async def unheard(*args: Any) -> Any:
            volley = await turn(*args)
            if lost and volley.claims:
                lost.pop()
                raise ConnectionResetError
            return volley

        room.store.turn = unheard
        await room.page(ids)
        try:
            await room.work()
        except ConnectionResetError:
            assert len(await room.sql("select from claims where state = 'sending'")) == 4
        else:
            raise AssertionError("the reply was not lost")
        await room.due()
        await room.work()
        await rounds(room, 1)
        assert await room.settled() == dict.fromkeys(ids, ACCEPTED)
        assert sorted(request["chat_id"] for request in stand.bot.sent) == list(range(1000, 1006))

    play(scene)


def test_a_stop_gives_an_unanswered_claim_back_as_well(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ids = await stand.deliveries(2)
        turn = room.store.turn

        async def unheard(*args: Any) -> Any:
            await turn(*args)
            raise asyncio.CancelledError

        room.store.turn = unheard
        await room.page(ids)
        ticking = asyncio.ensure_future(room.sender.tick())
        await asyncio.wait({ticking})
        assert ticking.cancelled()
        await room.sender.finish()
        assert {row["state"] for row in await room.sql("select state from claims")} == {"waiting"}

    play(scene)
