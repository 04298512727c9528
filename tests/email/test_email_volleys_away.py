"""Sending without a key while the database is away or its answers are lost: nothing is forgotten, and no call broken off."""

import asyncio
from typing import Any

import pytest
from email_stand import Stand, Takes
from nurture_chassis import sending
from nurture_email import volleys
from nurture_email.provider import Reply
from nurture_email.rendering import Mail

ACCEPTED = ("accepted", None)


def test_a_claim_that_was_not_answered_is_given_back_and_sent(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.relay_room()
        ids = await stand.deliveries(3)
        claim_volley, lost_answers = room.store.claim_volley, [True]

        async def unheard(*args: Any) -> Any:
            taken = await claim_volley(*args)
            if lost_answers:
                lost_answers.pop()
                raise ConnectionResetError
            return taken

        room.store.claim_volley = unheard
        await room.page(ids)
        with pytest.raises(ConnectionResetError):
            await room.sender.tick()
        await room.work()
        assert await room.settled() == dict.fromkeys(ids, ACCEPTED) and len(room.provider.delivered) == 3

    play(scene)


def test_ends_are_kept_until_the_database_is_back_and_said_once(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.relay_room()
        ids = await stand.deliveries(3)
        end, faults = room.store.end, [ConnectionResetError(), None, TimeoutError()]

        async def flaky(*args: Any) -> Any:
            written = None
            if faults and faults[-1] is None:
                # The commit came through, and its answer did not.
                faults.pop()
                written = await end(*args)
                raise ConnectionResetError
            if faults:
                raise faults.pop()
            return written or await end(*args)

        room.store.end = flaky
        await room.page(ids)
        await room.work()
        assert await room.settled() == dict.fromkeys(ids, ACCEPTED) and len(room.provider.delivered) == 3

    play(scene)


def test_a_database_that_is_away_for_long_ends_no_call(play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volleys, "PARTIAL_SECONDS", 0.02)
    monkeypatch.setattr(sending, "_AGAIN", (0.01,))

    async def scene(stand: Stand) -> None:
        room = await stand.relay_room(concurrency=2)
        first, *others = ids = await stand.deliveries(3)
        await room.page([first])
        assert await room.sender.tick() is True
        await room.sender.finish()
        end, away, answered = room.store.end, [asyncio.Event() for _ in range(3)], asyncio.Event()

        async def unreachable(*args: Any) -> Any:
            if waiting := [one for one in away if not one.is_set()]:
                waiting[0].set()
                raise ConnectionRefusedError
            return await end(*args)

        async def waits(provider: Takes, mail: Mail) -> Reply:
            await answered.wait()
            return provider.take(mail)

        room.store.end = unreachable
        room.provider.next = [waits]
        await room.page(others)
        # Two of one volley: the end of one cannot be written down while the other's call is under way.
        assert await room.sender.tick() is True
        async with asyncio.timeout(10):
            await away[1].wait()
        answered.set()
        await room.sender.finish()
        assert await room.settled() == dict.fromkeys(ids, ACCEPTED)
        assert room.sender._busy == 0, "places that nobody gives back"

    play(scene)
