"""Polling under a lease: one replica asks, nothing is lost or counted twice when it is another's turn."""

import asyncio
import logging
import time
from typing import Any

import pytest
from nurture_chassis.settings import Secret, SettingsError, load
from nurture_telegram.bot_api import ALLOWED_UPDATES, BotApi
from nurture_telegram.config import Config
from nurture_telegram.identity import NO_TOKEN, REFUSED, Identity
from nurture_telegram.poller import NOT_OURS_WAIT, OTHER_POLLER, OTHER_WEBHOOK
from nurture_telegram.rendering import Button, Text
from telegram_server import TOKEN, UNAUTHORIZED, BotServer
from telegram_stand import PUBLIC, Stand
from telegram_updates import message

CONFLICT = (409, {"ok": False, "error_code": 409, "description": "Conflict: terminated by other getUpdates request"})
HOOKED = (
    409,
    {"ok": False, "error_code": 409, "description": "Conflict: can't use getUpdates method while webhook is active"},
)


async def channel(stand: Stand) -> dict[str, object]:
    return dict(await stand.admin.fetchrow("select * from public.telegram_channel"))  # type: ignore[arg-type]


def test_one_replica_polls_and_the_other_goes_on_where_it_stopped(play) -> None:
    async def scene(stand: Stand) -> None:
        room, other = await stand.room(), await stand.room()
        (delivery,) = await stand.deliveries(1)
        await room.page([delivery])
        await room.work()
        first, second = room.poller(), other.poller()
        await stand.bot.push(message(1000, "one"))
        assert await first.turn() == 0.0
        assert await second.turn() == NOT_OURS_WAIT
        (polled,) = stand.bot.requests("getUpdates")
        assert polled["allowed_updates"] == list(ALLOWED_UPDATES) and "offset" not in polled
        await first.stop()  # not started: keeps its lease, as a dead one does
        await room.sql("update leases set until = now() - interval '1 s'")
        await stand.bot.push(message(1000, "two"))
        assert await second.turn() == 0.0
        assert await first.turn() == NOT_OURS_WAIT
        assert stand.bot.confirmed == stand.bot.updates[0]["update_id"] + 1
        assert [one.delivery_id for one in await room.observed()] == [delivery, delivery]

    play(scene)


def test_a_running_poller_stops_at_once_and_hands_over(play) -> None:
    async def scene(stand: Stand) -> None:
        room, other = await stand.room(), await stand.room()
        first, second = room.poller(), other.poller()
        await first.start()
        await stand.bot.push(message(5, "/start"))
        async with asyncio.timeout(10):
            await room.heard.wait()
        await first.stop()
        await stand.bot.push(message(6, "/start"))
        assert await second.turn() == 0.0 and len(other.told) == 1

    play(scene)


def test_the_offset_is_committed_with_what_the_updates_caused(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        (delivery,) = await stand.deliveries(1)
        await room.page([delivery])
        await room.work()
        await stand.bot.push(message(1000, "hello"))
        await stand.admin.execute("alter table telegram.poll_offsets rename to poll_offsets_away")
        try:
            with pytest.raises(Exception, match="poll_offsets"):
                await room.poller().turn()
        finally:
            await stand.admin.execute("alter table telegram.poll_offsets_away rename to poll_offsets")
        assert await room.observed() == [] and await room.sql("select from seen_updates") == []
        assert await room.poller().turn() == NOT_OURS_WAIT
        await room.sql("delete from leases")
        assert await room.poller().turn() == 0.0
        assert len(await room.observed()) == 1
        await room.sql("update poll_offsets set moved_at = now() - interval '6 days'")
        assert await room.inbox.offset() is None, "ids may have begun anew"

    play(scene)


def test_another_poller_is_named_and_waited_for_while_sending_goes_on(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        await room.identity.check()
        poller = room.poller()
        stand.bot.poll_reply = CONFLICT
        assert [await poller.turn() for _ in range(6)] == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]
        shown = await channel(stand)
        assert (shown["ready"], shown["problem"], shown["bot_username"]) == (True, OTHER_POLLER, "acme_bot")
        (delivery,) = await stand.deliveries(1)
        await room.page([delivery])
        await room.work()
        assert await room.settled() == {delivery: ("accepted", None)}
        stand.bot.poll_reply = None
        await stand.bot.push(message(5, "hi"))
        assert await poller.turn() == 0.0
        assert (await channel(stand))["problem"] is None
        stand.bot.poll_reply = CONFLICT
        assert await poller.turn() == 5.0

    play(scene)


def test_a_webhook_left_over_from_us_is_removed_but_not_another_ones(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        poller = room.poller()
        stand.bot.poll_reply, stand.bot.webhook_url = HOOKED, "https://elsewhere.test/hook"
        assert await poller.turn() == 5.0
        assert (await channel(stand))["problem"] == OTHER_WEBHOOK and stand.bot.webhook_url
        stand.bot.webhook_url = f"{PUBLIC}/telegram/webhook"
        assert await poller.turn() == 0.0 and stand.bot.webhook_url == ""
        await stand.bot.push(message(5, "hi"))
        assert await poller.turn() == 0.0 and (await channel(stand))["problem"] is None

    play(scene)


def test_faults_of_the_network_are_waited_out(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room(url="http://127.0.0.1:9")
        poller = room.poller()
        assert [await poller.turn() for _ in range(7)] == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
        assert str((await channel(stand))["problem"]).startswith("updates cannot be fetched")

    play(scene)


def test_the_channel_is_ready_when_the_bot_is_known(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        assert (await channel(stand))["problem"] == "the telegram room has not started yet"
        stand.bot.me = await UNAUTHORIZED(stand.bot, {})
        assert await room.identity.check() == 5.0
        assert ((await channel(stand))["ready"], (await channel(stand))["problem"]) == (False, REFUSED)
        stand.bot.me = (200, {"ok": True, "result": {"username": "acme_bot"}})
        assert await room.identity.check() == 300.0
        assert await channel(stand) == {
            "ready": True, "bot_username": "acme_bot", "updates": "poll", "problem": None, "parked_until": None,
            "park_reason": None,
        }  # fmt: skip
        hook = f"{PUBLIC}/telegram/webhook"
        listening = Identity(room.database, room.pace, room.api, "webhook", hook, Secret("hook-secret"))
        assert await listening.check() == 300.0
        (request,) = stand.bot.requests("setWebhook")
        assert request == {"url": hook, "secret_token": "hook-secret", "allowed_updates": list(ALLOWED_UPDATES)}
        off = Identity(room.database, room.pace, None, "poll", hook, Secret(""))
        await off.check()
        assert ((await channel(stand))["ready"], (await channel(stand))["problem"]) == (False, NO_TOKEN)

    play(scene)


@pytest.mark.parametrize(
    ("url", "info", "shown"),
    [
        ("", {}, "had been removed and was set again"),
        ("https://elsewhere.test/hook", {}, "another program had set its own webhook; ours was set again"),
        (f"{PUBLIC}/telegram/webhook", {"allowed_updates": ["message"]}, "for other updates and was set again"),
    ],
)
def test_a_webhook_that_vanished_is_set_again_and_told_of(play, url: str, info: dict[str, Any], shown: str) -> None:
    async def scene(stand: Stand) -> None:
        room, hook = await stand.room(), f"{PUBLIC}/telegram/webhook"
        one, two = (
            Identity(room.database, room.pace, room.api, "webhook", hook, Secret("hook-secret")) for _ in range(2)
        )
        for replica in (one, two):
            assert await replica.check() == 300.0
        assert len(stand.bot.requests("setWebhook")) == 2
        stand.bot.webhook_url = hook.replace("https://n.", "https://N.")
        await one.check()
        assert len(stand.bot.requests("setWebhook")) == 2 and (await channel(stand))["problem"] is None
        stand.bot.webhook_url, stand.bot.webhook_info = url, info
        assert await one.check() == 300.0
        assert len(stand.bot.requests("setWebhook")) == 3 and stand.bot.webhook_url == hook
        assert shown in str((await channel(stand))["problem"])
        # It is where it belongs, whichever replica looks.
        assert await two.check() == 300.0
        assert len(stand.bot.requests("setWebhook")) == 3 and (await channel(stand))["problem"] is None

    play(scene)


def test_updates_that_telegram_cannot_deliver_are_told_of_while_they_wait(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        hook = f"{PUBLIC}/telegram/webhook"
        identity = Identity(room.database, room.pace, room.api, "webhook", hook, Secret("hook-secret"))
        await identity.check()
        told = "Wrong response from the webhook: 401 Unauthorized"
        stand.bot.webhook_info |= {"last_error_message": told, "last_error_date": int(time.time())}
        for waiting, seen in ((3, True), (0, False)):
            stand.bot.webhook_info["pending_update_count"] = waiting
            assert await identity.check() == 300.0
            assert (told in str((await channel(stand))["problem"])) is seen
        assert len(stand.bot.requests("setWebhook")) == 1

    play(scene)


def test_the_adapter_says_what_telegram_expects_and_never_shows_the_token(caplog) -> None:
    caplog.set_level(logging.INFO)
    text = Text(
        chat_id=5, html="<b>Hi</b>", plain="Hi", buttons=[Button(text="a", url="https://x"), Button(text="b", callback_data="d")],
        links={},
    )  # fmt: skip

    async def run() -> None:
        async with BotServer() as server:
            api, away = (
                BotApi(Secret(TOKEN), url, concurrency=1, total=2.0) for url in (server.url, "http://127.0.0.1:9")
            )
            try:
                assert (await api.send(text)).status == 200
                assert (await api.send(text, plain=True)).status == 200
                answer = await away.send(text)
                assert answer.fault == "not_sent" and TOKEN not in repr(answer)
            finally:
                await api.close()
                await away.close()
            rich, plain = server.requests("sendMessage")
            assert rich == {
                "chat_id": 5, "text": "<b>Hi</b>", "parse_mode": "HTML", "link_preview_options": {"is_disabled": True},
                "reply_markup": {"inline_keyboard": [[{"text": "a", "url": "https://x"}], [{"text": "b", "callback_data": "d"}]]},
            }  # fmt: skip
            assert plain["text"] == "Hi" and "parse_mode" not in plain

    logging.getLogger("httpx").setLevel(logging.WARNING)  # as every service does
    asyncio.run(asyncio.wait_for(run(), 30))
    assert TOKEN not in caplog.text


ENVIRONMENT = {"DATABASE_URL": "postgres://x", "NATS_URL": "nats://x", "SECRET_KEY": "x"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TELEGRAM_BOT_TOKEN", "no token"),
        ("TELEGRAM_BOT_TOKEN", "42:x/../getMe"),
        ("TELEGRAM_API_URL", "ftp://x"),
        ("TELEGRAM_RATE_LIMIT", "0"),
        ("TELEGRAM_CONCURRENCY", "0"),
        ("TELEGRAM_UPDATES", "webhook"),
        ("TELEGRAM_UPDATES", "sometimes"),
    ],
)
def test_settings_that_would_fail_later_are_refused_at_once(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name) as refused:
        load(Config, {**ENVIRONMENT, "TELEGRAM_BOT_TOKEN": TOKEN, name: value}).check()
    assert TOKEN not in str(refused.value)


def test_settings_that_are_fine() -> None:
    assert load(Config, ENVIRONMENT).check().bot_id == 0
    hooked = {"TELEGRAM_BOT_TOKEN": TOKEN, "TELEGRAM_UPDATES": "webhook", "TELEGRAM_WEBHOOK_SECRET": "s"}
    config = load(Config, ENVIRONMENT | hooked | {"PUBLIC_URL": "https://n.acme.test"}).check()
    assert config.bot_id == 4242 and TOKEN not in repr(config)
