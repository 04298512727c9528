"""Updates into rows and events on real PostgreSQL: once each, in one transaction with the place where polling goes on."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from nurture_chassis.bus import Refused
from nurture_chassis.clock import Clock
from nurture_contracts import events
from nurture_contracts.ids import uuid7
from nurture_telegram import conversations as c
from telegram_stand import TOKENS, Room, Stand
from telegram_updates import member, message, press, reply


def token(person: UUID, days: float = 0) -> str:
    return TOKENS.chat_token(person, int((datetime.now(UTC) - timedelta(days=days)).timestamp()))


async def people(stand: Stand, count: int) -> list[UUID]:
    return [await stand.person(delivery) for delivery in await stand.deliveries(count)]


async def chats(stand: Stand) -> dict[str, tuple[UUID, str]]:
    rows = await stand.admin.fetch("select chat_id, user_id, state from public.telegram_chats")
    return {row["chat_id"]: (row["user_id"], row["state"]) for row in rows}


def texts(effects: c.Effects) -> list[str]:
    return [reply.text for reply in effects.replies]


def test_a_linking_token_works_once_for_whoever_comes_first(play) -> None:
    async def scene(stand: Stand) -> None:
        room, other = await stand.room(), await stand.room()
        ada, _ = await people(stand, 2)
        link = token(ada)
        results = await asyncio.gather(
            *(
                replica.inbox.take([message(chat, f"/start {link}")])
                for replica in (room, other)
                for chat in range(50, 55)
            )
        )
        assert sorted(text for effects in results for text in texts(effects)).count(c.LINKED) == 1
        ((chat_id, owner),) = (await chats(stand)).items()
        assert owner == (ada, "ok") and await room.changes() == [(ada, "linked")]
        assert texts(await room.inbox.take([message(int(chat_id), f"/start {link}")])) == [c.ALREADY]
        assert texts(await room.inbox.take([message(99, f"/start {link}")])) == [c.USED]
        stored = await room.sql("select hash from used_tokens")
        assert link.encode() not in [row["hash"] for row in stored] and len(stored) == 1

    play(scene)


def test_old_foreign_and_orphaned_tokens_link_nobody(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        (ada,) = await people(stand, 1)
        for bad, text in ((token(ada, days=30.1), c.EXPIRED), (token(uuid7()), c.HELLO), ("x" * 45, c.HELLO)):
            assert texts(await room.inbox.take([message(50, f"/start {bad}")])) == [text]
        assert await chats(stand) == {} and await room.changes() == []
        assert texts(await room.inbox.take([message(50, f"/start {token(ada, days=29.9)}")])) == [c.LINKED]

    play(scene)


def test_after_stop_no_claim_sends_until_the_person_links_again(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        (delivery,) = await stand.deliveries(1)
        person = await stand.person(delivery)
        await room.page([delivery])
        assert texts(await room.inbox.take([message(1000, "/stop")])) == [c.STOPPED]
        # The gateway has not heard of it yet: the room's own row is what counts.
        await room.work()
        assert await room.settled() == {delivery: ("suppressed", "refused")}
        assert await room.changes() == [(person, "stopped")] and stand.bot.sent == []
        assert texts(await room.inbox.take([message(1000, f"/start {token(person)}")])) == [c.LINKED]
        again = await stand.delivery(person, "1000")
        await room.page([again])
        await room.work()
        assert len(stand.bot.sent) == 1

    play(scene)


async def ends(stand: Stand, room: Room, person: UUID, chat: str = "1000") -> tuple[str, str | None]:
    """What becomes of one more message to this chat."""
    delivery = await stand.delivery(person, chat)
    await room.page([delivery])
    await room.due()
    await room.work()
    return (await room.settled())[delivery]


def test_what_a_person_agrees_to_after_a_stop_takes_it_back_until_the_next(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        (ada,) = await people(stand, 1)
        await room.inbox.take([message(1000, "/stop")])
        assert await ends(stand, room, ada) == ("suppressed", "refused")
        # The gateway hears of it, and the person ticks Telegram on their page, on a machine whose clock is ahead.
        await agree(stand, ada, minutes=5)
        assert await ends(stand, room, ada) == ("accepted", None)
        # The next /stop holds at once, and is the later word for the gateway too.
        await room.inbox.take([message(1000, "/stop")])
        assert await ends(stand, room, ada) == ("suppressed", "refused")
        pages = [page for page in await room.said() if isinstance(page, events.ChatsChanged)]
        stopped = [item.at for page in pages for item in page.items if item.change == "stopped"]
        granted = await stand.admin.fetchval("select consent_at from gateway.contacts where user_id = $1", ada)
        assert stopped[0] < granted < stopped[1]
        # A grant from before it, told late, changes nothing; nor does anything else that is done in the chat.
        await agree(stand, ada, minutes=-5)
        await room.inbox.take([member(1000, "kicked"), member(1000, "member")])
        assert await ends(stand, room, ada) == ("suppressed", "refused")

    play(scene)


def test_a_new_link_is_later_than_the_refusal_that_it_takes_back(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        (ada,) = await people(stand, 1)
        # Told to the gateway, on a machine whose clock is ahead.
        await stand.admin.execute(
            "update gateway.contacts set consent = 'refused', consent_at = now() + interval '5 min' where user_id = $1",
            ada,
        )
        await room.inbox.take([message(77, f"/start {token(ada)}")])
        pages = [page for page in await room.said() if isinstance(page, events.ChatsChanged)]
        ((linked,),) = [page.items for page in pages]
        refused = await stand.admin.fetchval("select consent_at from gateway.contacts where user_id = $1", ada)
        assert (linked.change, linked.user_id) == ("linked", ada) and linked.at > refused

    play(scene)


def test_a_stop_is_taken_back_by_nobody_else(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ada, bob = await people(stand, 2)
        await room.inbox.take([message(1000, "/stop")])
        await stand.admin.execute("delete from gateway.contacts where user_id = $1", ada)
        await stand.admin.execute(
            "update gateway.contacts set address = '1000', address_key = '1000' where user_id = $1", bob
        )
        await agree(stand, bob, minutes=5)
        await room.inbox.take([member(1000, "kicked"), member(1000, "member")])
        assert await ends(stand, room, bob) == ("suppressed", "refused"), "whose grant was for another chat"

    play(scene)


def test_a_stop_and_what_takes_it_back_move_with_a_chat(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        (ada,) = await people(stand, 1)
        await room.inbox.take([message(1000, "/stop")])
        async with room.outbox.transaction() as tx:
            await tx.execute("chat_move", "1000", "-500", ada)
        assert await ends(stand, room, ada) == ("suppressed", "refused")
        await agree(stand, ada, minutes=5)
        assert await ends(stand, room, ada) == ("accepted", None)

    play(scene)


async def agree(stand: Stand, person: UUID, minutes: float) -> None:
    """The person's word as the gateway keeps it."""
    await stand.admin.execute(
        "update gateway.contacts set consent = 'granted', consent_at = now() + make_interval(mins => $2) where user_id = $1",
        person, minutes,
    )  # fmt: skip


def test_a_person_has_one_chat_and_a_chat_one_person(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ada, bob = await people(stand, 2)
        await room.inbox.take([message(50, f"/start {token(ada)}")])
        await room.inbox.take([message(60, f"/start {token(ada, days=1)}")])
        assert await chats(stand) == {"60": (ada, "ok")}
        await room.inbox.take([message(60, f"/start {token(bob)}")])
        assert await chats(stand) == {"60": (bob, "ok")}
        waiting = await stand.delivery(ada, "60")
        await room.page([waiting])
        await room.work()
        assert (await room.settled())[waiting] == ("suppressed", "chat_changed"), "not to somebody else's chat"

    play(scene)


def test_an_import_after_a_link_has_the_later_word(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        first, second = await stand.deliveries(2)
        ada, bob = await stand.person(first), await stand.person(second)
        await room.inbox.take([message(1000, f"/start {token(ada)}")])
        await stand.admin.execute("delete from gateway.contacts where user_id = $1", ada)
        await stand.contact(second, "address = '1000', address_key = '1000', changed_at = now() + interval '1 hour'")
        delivery = await stand.delivery(bob, "1000")
        await room.page([delivery])
        await room.work()
        assert (await room.settled())[delivery] == ("accepted", None)
        await room.inbox.take([message(1000, "/stop")])
        assert (await room.changes())[-1] == (bob, "stopped")

    play(scene)


def test_updates_count_once_however_often_and_wherever_they_come(play) -> None:
    async def scene(stand: Stand) -> None:
        room, other = await stand.room(), await stand.room()
        deliveries = await stand.deliveries(3)
        await room.page(deliveries)
        await room.work()
        page = [
            message(1000, "thanks"), member(1001, "kicked"), press(1002, TOKENS.press_token(deliveries[2], 0)),
            reply(1000, "oh", 1), message(5, "a stranger"), {"no": "update"}, None,
        ]  # fmt: skip
        results = await asyncio.gather(*(replica.inbox.take(page) for replica in (room, other, room)))
        assert sorted(len(effects.observations) for effects in results) == [0, 0, 3]
        observed = await room.observed()
        assert [(one.kind, one.delivery_id) for one in observed] == [
            ("replied", deliveries[0]),
            ("pressed", deliveries[2]),
            ("replied", (await _of(room, "1000:1") or deliveries[0])),
        ]
        assert await room.changes() == [(await stand.person(deliveries[1]), "blocked")]
        await room.page([again := await stand.delivery(await stand.person(deliveries[1]), "1001")])
        await room.due()
        await room.work()
        assert (await room.settled())[again] == ("suppressed", "blocked")

    play(scene)


async def _of(room: Room, provider_id: str) -> UUID | None:
    rows = await room.sql("select delivery_id from claims where provider_id = $1", provider_id)
    return rows[0][0] if rows else None


def test_pages_from_the_gateway_are_read_from_its_view_and_people_answered(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        (ada,) = await people(stand, 1)
        page_id = uuid7()
        items = [message(50, f"/start {token(ada)}"), press(50, "not ours")]
        await stand.admin.execute(
            "insert into gateway.inbound_pages (id, kind, items) values ($1, 'telegram', $2)",
            page_id, msgspec.json.encode(items).decode(),
        )  # fmt: skip
        page = events.TelegramUpdatesReceived(page_id=page_id)
        await room.handlers.updates(page)
        await room.handlers.updates(page)
        await room.speaker.finish()
        assert stand.bot.texts(50) == [c.LINKED] and len(stand.bot.requests("answerCallbackQuery")) == 1
        with pytest.raises(Refused, match="inbound page"):
            await room.handlers.updates(events.TelegramUpdatesReceived(page_id=uuid7()))

    play(scene)


def test_only_telegrams_hits_are_said_by_this_room(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        at = Clock().now()
        mine: Any = events.Hit(
            event_id=uuid7(), kind="clicked", delivery_id=uuid7(), at=at, link="ab" * 8, channel="telegram"
        )
        mail = events.Hit(event_id=uuid7(), kind="clicked", delivery_id=uuid7(), at=at)
        await room.handlers.tracking(events.TrackingHit(items=[mail]))
        assert await room.said() == []
        await room.handlers.tracking(events.TrackingHit(items=[mail, mine]))
        (one,) = await room.observed()
        assert (one.event_id, one.kind, one.delivery_id, one.link) == (
            mine.event_id,
            "clicked",
            mine.delivery_id,
            "ab" * 8,
        )

    play(scene)
