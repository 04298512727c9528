"""Volleys, leases, consent and settlements on real PostgreSQL, against a Bot API that misbehaves."""

import asyncio
from collections import Counter

import pytest
from nurture_chassis.clock import Clock
from nurture_chassis.database import STATEMENTS, TRANSACTIONS
from nurture_chassis.pace import Slot
from nurture_contracts.ids import uuid7
from nurture_telegram.store import CHANNEL_OFF
from telegram_server import (
    BLOCKED,
    DEACTIVATED,
    NOT_FOUND,
    UNAUTHORIZED,
    UNPARSABLE,
    Behaviour,
    error,
    takes_and_breaks,
    takes_and_hangs_up,
    takes_and_stays_silent,
)
from telegram_stand import Stand

ACCEPTED = ("accepted", None)


def statements() -> Counter[str]:
    return Counter(
        {s.labels["query"]: int(s.value) for m in STATEMENTS.collect() for s in m.samples if s.name.endswith("_total")}
    )


def test_a_page_is_sent_once_and_settled_with_chat_and_message(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ids, page_id = await stand.deliveries(10), uuid7()
        await room.page([*ids, ids[0]], page_id)
        await room.page(ids, page_id)
        await room.page(ids)
        await room.work()
        assert sorted(request["chat_id"] for request in stand.bot.sent) == list(range(1000, 1010))
        assert {request["text"] for request in stand.bot.sent} == {f"Hello {n}." for n in range(10)}
        assert await room.settled() == dict.fromkeys(ids, ACCEPTED)
        numbers = {f"{request['chat_id']}:{n + 1}" for n, request in enumerate(stand.bot.sent)}
        assert {row["provider_id"] for row in await room.sql("select provider_id from claims")} == numbers
        # A chat is an address, and the bus carries none.
        assert {item.provider_id for item in await room.settlements()} == {None}
        (one, *_) = stand.bot.sent
        assert one["parse_mode"] == "HTML" and one["link_preview_options"] == {"is_disabled": True}

    play(scene)


def test_a_volley_costs_one_transaction_and_never_more_calls_than_allowed(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room(concurrency=4)
        ids = await stand.deliveries(20)
        await room.page(ids)
        before, committed = statements(), TRANSACTIONS._value.get()
        await room.work()
        spent = statements() - before
        # Five volleys, the fifth one's ends are settled by the transaction that finds nothing more to claim.
        assert TRANSACTIONS._value.get() - committed == 6
        # A busy machine loses a slot now and then; pace and losses are asked for once in the life of a process.
        assert spent.pop("pace_reserve") >= 6
        spent.pop("pace_reserve_within", None)
        once = {"pace_follow": 1, "outbox_losses": 1}
        assert spent == Counter(look=1, claim_volley=6, settle=5, outbox_add=spent["outbox_add"], **once)
        assert stand.bot.most_in_flight <= 4
        assert await room.settled() == dict.fromkeys(ids, ACCEPTED)

    play(scene)


def test_idle_ticks_ask_one_question_each(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        before = statements()
        for _ in range(5):
            assert await room.sender.tick() is False
        assert statements() - before == Counter(look=5)

    play(scene)


def test_consent_refusals_cancelling_and_lateness_are_checked_by_the_claim(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ids = await stand.deliveries(10)
        refused, blocked, cancelled, late, stopped, gone, other, dead, fine, left = ids
        await stand.contact(refused, "consent = 'refused'")
        await stand.contact(blocked, "state = 'blocked'")
        await stand.admin.execute("update controller.enrolments set state = 'cancelled' where id = $1", cancelled)
        await stand.admin.execute(
            "update controller.delivery_contents set expires_at = now() - interval '1 s' where delivery_id = $1", late
        )
        await room.sql("insert into refusals values ('1004')")
        await stand.admin.execute("delete from gateway.contacts where user_id = $1", await stand.person(gone))
        await room.sql("insert into chats (chat_id, user_id, linked_at) values ('1006', $1, now())", uuid7())
        await room.sql("insert into chats values ('1007', $1, 'gone')", await stand.person(dead))
        await room.sql("insert into chats values ('1009', $1, 'replaced')", await stand.person(left))
        missing = uuid7()
        await room.page([*ids, missing])
        await room.work()
        assert await room.settled() == {
            refused: ("suppressed", "refused"),
            blocked: ("suppressed", "blocked"),
            cancelled: ("suppressed", "cancelled"),
            late: ("expired", "too_late"),
            stopped: ("suppressed", "refused"),
            gone: ("suppressed", "no_contact"),
            other: ("suppressed", "chat_changed"),
            dead: ("suppressed", "gone"),
            left: ("suppressed", "chat_changed"),
            missing: ("rejected", "missing"),
            fine: ACCEPTED,
        }
        assert [request["chat_id"] for request in stand.bot.sent] == [1008]

    play(scene)


@pytest.mark.parametrize(
    ("behaviour", "ended", "change"),
    [
        (BLOCKED, ("rejected", "blocked"), "blocked"),
        (DEACTIVATED, ("rejected", "deactivated"), "gone"),
        (NOT_FOUND, ("rejected", "chat_not_found"), "gone"),
        (error(400, "Bad Request: BUTTON_URL_INVALID"), ("rejected", "button_url_invalid"), None),
    ],
)
def test_a_refusal_is_final_and_what_it_says_about_the_chat_is_passed_on(
    play, behaviour: Behaviour, ended: tuple[str, str], change: str | None
) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        (delivery,) = await stand.deliveries(1)
        stand.bot.next[1000] = [behaviour]
        await room.page([delivery])
        await room.work()
        await room.due()
        await room.work()
        assert await room.settled() == {delivery: ended}
        person = await stand.person(delivery)
        assert await room.changes() == ([(person, change)] if change else [])
        if change:
            again = await stand.delivery(person, "1000")
            await room.page([again])
            await room.work()
            assert (await room.settled())[again] == ("suppressed", change)

    play(scene)


@pytest.mark.parametrize("behaviour", [takes_and_hangs_up, takes_and_breaks, error(500, "Internal Server Error")])
def test_what_may_have_arrived_is_unknown_and_never_sent_again(play, behaviour: Behaviour) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        (delivery,) = await stand.deliveries(1)
        stand.bot.next[1000] = [behaviour]
        await room.page([delivery])
        await room.work()
        await room.due()
        await room.work()
        assert len(stand.bot.requests("sendMessage")) == 1
        assert (await room.settled())[delivery][0] == "unknown"

    play(scene)


def test_a_timeout_after_the_message_was_taken_is_unknown_and_holds_up_nobody(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room(call_seconds=3.0)
        ids = await stand.deliveries(6)
        stand.bot.next[1001] = [takes_and_stays_silent]
        await room.page(ids)
        await room.work()
        settled = await room.settled()
        assert settled.pop(ids[1]) == ("unknown", "timeout")
        assert settled == dict.fromkeys([*ids[:1], *ids[2:]], ACCEPTED)
        assert len(stand.bot.texts(1001)) == 1

    play(scene)


def test_a_slow_answer_does_not_keep_the_others_ends_from_being_known(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ids = await stand.deliveries(2)
        stand.bot.next[1000] = [takes_and_stays_silent]
        await room.page(ids)
        await room.sender.tick()
        await room.bus.said.wait()
        assert await room.settled() == {ids[1]: ACCEPTED}
        assert room.sender._flight is not None
        stand.bot.silence.set()
        await room.work()
        assert (await room.settled())[ids[0]][0] == "unknown"

    play(scene)


def test_retry_after_is_obeyed_by_the_whole_bot_and_the_message_sent_once(play) -> None:
    async def scene(stand: Stand) -> None:
        room, other = await stand.room(), await stand.room()
        ids = await stand.deliveries(2)
        stand.bot.next[1000] = [error(429, "Too Many Requests: retry after 30", retry_after=30)]
        await room.page(ids[:1])
        await room.work()
        assert stand.bot.sent == [] and await room.settled() == {}
        await room.page(ids[1:])
        for replica in (room, other):
            wait = await replica.sender.tick()
            assert 25 < wait <= 31, wait
        assert len(stand.bot.requests("sendMessage")) == 1
        await room.due()
        other.sender._slots.let_go()
        await room.work()
        assert await room.settled() == dict.fromkeys(ids, ACCEPTED)
        assert len(stand.bot.texts(1000)) == 1

    play(scene)


def test_when_nobody_answers_the_connection_the_message_waits(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room(url="http://127.0.0.1:9")
        (delivery,) = await stand.deliveries(1)
        await room.page([delivery])
        await room.sender.tick()
        await room.sender.finish()
        (row,) = await room.sql("select state, attempt, lease_until from claims")
        assert tuple(row) == ("waiting", 1, None) and await room.said() == []
        healthy = await stand.room()
        await healthy.due()
        await healthy.work()
        assert await room.settled() == {delivery: ACCEPTED}

    play(scene)


def test_a_refused_bot_parks_the_channel_for_all_and_loses_nothing(play) -> None:
    async def scene(stand: Stand) -> None:
        room, other = await stand.room(), await stand.room()
        ids = await stand.deliveries(3)
        stand.bot.next = {1000 + n: [UNAUTHORIZED] for n in range(3)}
        await room.page(ids)
        await room.work()
        assert await room.settled() == {}
        stand.bot.next.clear()
        assert await other.sender.tick() > 500
        (channel,) = await stand.admin.fetch("select * from public.telegram_channel")
        assert channel["park_reason"] == "unauthorized" and channel["parked_until"] is not None
        await room.identity.check()  # the bot is known again
        await room.due()
        await room.work()
        assert await room.settled() == dict.fromkeys(ids, ACCEPTED)

    play(scene)


def test_text_that_telegram_cannot_parse_goes_once_more_without_formatting(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        fine, hopeless = await stand.deliveries(2, body="**Hello** <{n}>")
        stand.bot.next = {1000: [UNPARSABLE], 1001: [UNPARSABLE, UNPARSABLE]}
        await room.page([fine, hopeless])
        await room.work()
        await room.due()
        await room.work()
        assert await room.settled() == {fine: ACCEPTED, hopeless: ("rejected", "parse_error")}
        (sent,) = stand.bot.sent
        assert sent["text"] == "Hello <0>" and "parse_mode" not in sent
        assert len(stand.bot.requests("sendMessage")) == 4

    play(scene)


def test_a_chat_that_moved_is_followed_once_and_from_then_on(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        moved, circling = await stand.deliveries(2)
        stand.bot.next = {
            1000: [error(400, "Bad Request: group chat was upgraded", migrate_to_chat_id=-1009)],
            1001: [error(400, "Bad Request: group chat was upgraded", migrate_to_chat_id=-1008)],
            -1008: [error(400, "Bad Request: group chat was upgraded", migrate_to_chat_id=-1007)],
        }
        await room.page([moved, circling])
        await room.work()
        await room.due()
        await room.work()
        assert await room.settled() == {moved: ACCEPTED, circling: ("rejected", "chat_migrated")}
        again = await stand.delivery(await stand.person(moved), "1000")
        await room.page([again])
        await room.due()
        await room.work()
        assert len(stand.bot.texts(-1009)) == 2 and stand.bot.texts(1000) == []
        await room.sql("insert into refusals values ('-1009')")
        last = await stand.delivery(await stand.person(moved), "1000")
        await room.page([last])
        await room.work()
        assert (await room.settled())[last] == ("suppressed", "refused")

    play(scene)


def test_a_database_that_is_away_when_a_slot_has_passed_costs_nobody_elses_end(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ids = await stand.deliveries(4)
        await room.page(ids)
        slots = room.pace.slots

        async def stale(count: int = 1, *, after: float = 0.0) -> list[Slot]:
            if count == 1:
                raise ConnectionResetError
            first, *others = await slots(count, after=after)
            return [*others, first._replace(until=0.0)]

        room.pace.slots = stale
        await room.sender.tick()
        assert room.sender._flight is not None
        await asyncio.wait({room.sender._flight})
        room.pace.slots = slots
        await room.work()
        await room.due()
        await room.work()
        assert len(stand.bot.sent) == 4
        assert await room.settled() == dict.fromkeys(ids, ACCEPTED)

    play(scene)


def test_what_cannot_be_rendered_is_refused_without_a_call(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ids = await stand.deliveries(3, body="![](https://x.test/i.png)")
        await stand.admin.execute("update controller.delivery_contents set body = 'Hi' where delivery_id = $1", ids[2])
        await room.page(ids)
        await room.work()
        empty = ("rejected", "empty_message")
        assert await room.settled() == {ids[0]: empty, ids[1]: empty, ids[2]: ACCEPTED}
        assert len(stand.bot.calls) == 1

    play(scene)


def test_a_channel_that_is_off_answers_for_every_delivery(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        ids = await stand.deliveries(3)
        await room.page(ids)
        await room.store.refuse_waiting(Clock().now())
        assert await room.settled() == dict.fromkeys(ids, ("rejected", CHANNEL_OFF))
        await room.work()
        assert stand.bot.calls == []

    play(scene)


def test_links_and_buttons_are_tracked_and_stored(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        buttons = [{"text": "Open", "url": "https://x.test/b"}, {"text": "Yes", "press": "yes"}]
        ids = await stand.deliveries(1, body="See [this](https://x.test/a).", params={"buttons": buttons})
        await room.page(ids)
        await room.work()
        (sent,) = stand.bot.sent
        ((link,), (press,)) = sent["reply_markup"]["inline_keyboard"]
        assert link["url"].startswith("https://n.acme.test/t/c/") and "https://x.test" not in sent["text"]
        assert press.keys() == {"text", "callback_data"}
        rows = await stand.admin.fetch("select url from public.telegram_links order by 1")
        assert [row["url"] for row in rows] == ["https://x.test/a", "https://x.test/b"]

    play(scene)
