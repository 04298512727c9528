"""Answers to people: anybody can ask for them, as often as they like, and what waits to be sent does not stand behind them."""

import asyncio
import time

from nurture_chassis.pace import KEPT_BACK
from nurture_telegram import conversations as c
from nurture_telegram.speaker import MOST_WAITING, PRESSES_AT_ONCE, REPLIES_AT_ONCE, Speaker, share
from nurture_telegram.verdicts import Answer
from telegram_stand import Room, Stand
from telegram_updates import message, press

FLOOD = 3000


def hellos(*chats: int) -> c.Effects:
    return c.Effects(replies=[c.Reply(str(chat), c.HELLO) for chat in chats])


async def slots_ahead(room: Room) -> float:
    """How many slots a message that comes now has to let pass."""
    interval, wait = await room.database.pool.fetchrow(  # type: ignore[misc]
        "select interval_seconds, greatest(0, extract(epoch from next_at - clock_timestamp()))::float8 from pace"
        " where account = 'telegram'"
    )
    return wait / (interval / KEPT_BACK)


def test_a_flood_from_many_chats_takes_its_share_of_the_pace_and_no_more(play) -> None:
    async def scene(stand: Stand) -> None:
        rate = 50.0
        room = await stand.room(rate=rate)
        began = time.monotonic()
        room.tell(hellos(*range(1, FLOOD + 1)))
        await stand.bot.until(lambda: len(stand.bot.sent) >= 4)
        assert time.monotonic() - began >= (4 - 1) / (share(rate) * KEPT_BACK) - 0.2
        assert await slots_ahead(room) <= REPLIES_AT_ONCE
        ids = await stand.deliveries(3)
        await room.page(ids)
        await room.work()
        assert set((await room.settled()).values()) == {("accepted", None)}
        await room.speaker.finish()
        assert len({request["chat_id"] for request in stand.bot.sent}) == len(stand.bot.sent)
        assert await slots_ahead(room) <= REPLIES_AT_ONCE

    play(scene)


def test_a_flood_from_one_chat_is_answered_once_in_a_while(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        await room.inbox.take([message(7, "/start") for _ in range(50)])
        room.tell(hellos(*[7] * FLOOD))
        await stand.bot.until(lambda: len(stand.bot.sent) == 1)
        room.tell(hellos(*[7] * FLOOD))
        room.tell(c.Effects(replies=[c.Reply("7", c.STOPPED)]))
        room.tell(hellos(8))
        await stand.bot.until(lambda: len(stand.bot.texts(8)) == 1)
        await room.speaker.finish()
        assert stand.bot.texts(7) == [c.HELLO, c.STOPPED], "the last thing that it said meanwhile is answered"

    play(scene)


def test_what_would_come_too_late_takes_no_slot(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room(rate=1000.0)
        await room.pace.slot()
        for stops in (lambda: room.pace.hold(60.0), lambda: room.pace.park("account", 600.0)):
            await stops()
            before = await room.sql("select next_at from pace where account = 'telegram'")
            room.tell(hellos(*range(1, 100)))
            await room.speaker.finish()
            assert await room.sql("select next_at from pace where account = 'telegram'") == before
        assert stand.bot.sent == []

    play(scene)


def test_presses_are_answered_a_few_at_a_time_and_not_without_end(play) -> None:
    class Slow:
        """A voice that takes its time."""

        def __init__(self) -> None:
            self.goes_on, self.came = asyncio.Event(), asyncio.Event()
            self.under_way = self.most = self.answered = 0

        async def say(self, chat_id: str, text: str) -> Answer:
            raise AssertionError(text)

        async def answer_press(self, callback_id: str) -> Answer:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            if self.under_way == PRESSES_AT_ONCE:
                self.came.set()
            await self.goes_on.wait()
            self.under_way, self.answered = self.under_way - 1, self.answered + 1
            return Answer(status=200, body={"ok": True})

    async def scene(stand: Stand) -> None:
        room, voice = await stand.room(), Slow()
        speaker = Speaker(voice, room.pace, room.pace)
        presses = await room.inbox.take([press(7, "x") for _ in range(10)])
        speaker.tell(c.Effects(answers=presses.answers * 200))
        await voice.came.wait()
        voice.goes_on.set()
        await speaker.finish()
        assert voice.most == PRESSES_AT_ONCE and 0 < voice.answered <= MOST_WAITING

    play(scene)
