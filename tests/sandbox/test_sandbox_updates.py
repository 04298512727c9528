"""Updates: long polls with offsets, one poller, webhooks with a secret, nothing lost over a restart."""

import asyncio
import signal
import threading
import time
from typing import Any

import httpx
import msgspec
import pytest
from sandbox_process import PATIENCE, Heard, Receiver, SandboxProcess
from telegram import Bot as PtbBot
from telegram.error import Conflict
from telegram_client import IGNORES, PRESSES, REPLIES, TOKEN, BotClient, keyboard

POLL = 50
"""Seconds of the longest poll."""


@pytest.fixture
def bot(sandbox: SandboxProcess) -> BotClient:
    client = BotClient(sandbox)
    client.call("getMe")
    return client


def say(bot: BotClient, text: str, chat_id: int = IGNORES) -> None:
    bot.sandbox.client.post("/api/telegram/say", json={"chat_id": chat_id, "text": text}).raise_for_status()


def texts(updates: list[dict[str, Any]]) -> list[str]:
    return [update["message"]["text"] for update in updates]


def test_an_update_comes_until_a_later_offset_confirms_it(bot: BotClient) -> None:
    for text in ("one", "two", "three"):
        say(bot, text)
    first = bot.updates()
    assert texts(first) == texts(bot.updates()) == ["one", "two", "three"]
    ids = [update["update_id"] for update in first]
    assert ids == list(range(ids[0], ids[0] + 3))
    assert texts(bot.updates(limit=2)) == ["one", "two"]
    assert texts(bot.updates(offset=ids[1])) == ["two", "three"]
    assert texts(bot.updates(offset=-1)) == ["three"]
    assert texts(bot.updates()) == ["three"]
    assert bot.updates(offset=ids[2] + 1, timeout=0) == []
    assert bot.updates(timeout=0) == []


def test_a_long_poll_returns_when_something_comes(bot: BotClient) -> None:
    answers: list[Any] = []
    poller = threading.Thread(target=lambda: answers.append(bot.updates(timeout=50)))
    poller.start()
    say(bot, "/start abc-DEF_123")
    poller.join(PATIENCE)
    ((update,),) = answers
    message = update["message"]
    assert message["text"] == "/start abc-DEF_123"
    assert message["entities"] == [{"type": "bot_command", "offset": 0, "length": 6}]
    assert message["chat"] == {"id": IGNORES, "type": "private", "first_name": message["from"]["first_name"]}
    assert isinstance(message["date"], int)


def test_python_telegram_bot_polls_with_offsets(bot: BotClient) -> None:
    async def poll() -> None:
        async with PtbBot(TOKEN, base_url=f"{bot.sandbox.url}/bot") as client:
            await asyncio.to_thread(say, bot, "hello")
            (update,) = await client.get_updates(timeout=10, allowed_updates=["message"])
            assert update.message and update.message.text == "hello"
            assert await client.get_updates(offset=update.update_id + 1) == ()

    asyncio.run(poll())


@pytest.mark.xdist_group("aiogram")
def test_aiogram_polls_answers_and_is_pressed(bot: BotClient) -> None:
    """A bot as people write one: it greets, asks, and thanks for the press."""
    # Not above: it takes three seconds, of every worker that collects this file.
    from aiogram import Bot, Dispatcher
    from aiogram.client.session.aiohttp import AiohttpSession
    from aiogram.client.telegram import TelegramAPIServer
    from aiogram.types import CallbackQuery, InlineKeyboardButton, InlineKeyboardMarkup, Message

    pressed: list[str] = []

    async def run() -> None:
        client = Bot(TOKEN, session=AiohttpSession(api=TelegramAPIServer.from_base(bot.sandbox.url)))
        dispatcher = Dispatcher()
        asked: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        buttons = InlineKeyboardMarkup(inline_keyboard=[[InlineKeyboardButton(text="Yes", callback_data="yes")]])

        @dispatcher.message()
        async def greet(message: Message) -> None:
            asked.set_result(await message.answer("Shall we?", reply_markup=buttons))

        @dispatcher.callback_query()
        async def thank(query: CallbackQuery) -> None:
            await query.answer("Thank you")
            pressed.append(query.data or "")
            await dispatcher.stop_polling()

        polling = asyncio.create_task(dispatcher.start_polling(client, handle_signals=False, polling_timeout=10))
        await asyncio.to_thread(say, bot, "/start")
        body = {"message_id": (await asyncio.wait_for(asked, PATIENCE)).message_id, "button": "Yes"}
        reply = await asyncio.to_thread(bot.sandbox.client.post, "/api/telegram/press", json=body)
        assert reply.status_code == 200
        await asyncio.wait_for(polling, PATIENCE)

    asyncio.run(run())
    assert pressed == ["yes"]


def test_allowed_updates_are_remembered(bot: BotClient) -> None:
    bot.updates(timeout=0, allowed_updates=["my_chat_member"])
    say(bot, "not wanted")
    bot.sandbox.client.post("/api/telegram/block", json={"chat_id": IGNORES}).raise_for_status()
    (update,) = bot.updates()
    assert update["my_chat_member"]["new_chat_member"]["status"] == "kicked"
    bot.updates(offset=update["update_id"] + 1, timeout=0, allowed_updates=[])
    bot.sandbox.client.post("/api/telegram/unblock", json={"chat_id": IGNORES}).raise_for_status()
    say(bot, "wanted again")
    assert [set(update) - {"update_id"} for update in bot.updates()] == [{"my_chat_member"}, {"message"}]


def test_a_second_poller_throws_the_first_one_out(bot: BotClient) -> None:
    answers: list[httpx.Response] = []
    first = threading.Thread(target=lambda: answers.append(bot.raw("getUpdates", timeout=50)))
    first.start()

    async def second() -> None:
        async with PtbBot(TOKEN, base_url=f"{bot.sandbox.url}/bot") as client:
            while not answers:
                await client.get_updates(timeout=1)

    asyncio.run(second())
    first.join(PATIENCE)
    assert answers[0].status_code == 409
    assert answers[0].json()["description"].startswith("Conflict: terminated by other getUpdates request")


def test_a_poller_that_hung_up_is_nobodys_rival(bot: BotClient) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(f"{bot.sandbox.url}/bot{TOKEN}/getUpdates", params={"timeout": 50}, timeout=0.5)
    say(bot, "for whoever comes next")
    assert texts(bot.updates()) == ["for whoever comes next"]


def test_stopping_ends_long_polls_at_once(bot: BotClient) -> None:
    answers: list[Any] = []
    poller = threading.Thread(target=lambda: answers.append(bot.raw("getUpdates", timeout=POLL).json()))
    poller.start()
    say(bot, "so that the poll has begun")
    poller.join(PATIENCE)
    again = threading.Thread(target=lambda: answers.append(bot.raw("getUpdates", timeout=POLL, offset=10**12).json()))
    again.start()
    deadline = time.monotonic() + PATIENCE
    while bot.sandbox.summary()["updates"]["pending"] and time.monotonic() < deadline:
        time.sleep(0.02)
    began = time.monotonic()
    assert bot.sandbox.stop() == 0
    again.join(PATIENCE)
    assert time.monotonic() - began < POLL / 2, "it waited for the poll's own end"
    assert answers[1] == {"ok": True, "result": []}


def test_a_webhook_gets_updates_with_its_secret_until_it_takes_them(bot: BotClient, receiver: Receiver) -> None:
    receiver.answer = lambda _: 500 if len(receiver.heard) < 2 else 200
    say(bot, "early")
    bot.call("setWebhook", url=f"{receiver.url}/hook", secret_token="s3cret-Token_1", allowed_updates=["message"])
    heard = receiver.wait(lambda heard: len(heard) >= 3)
    bodies = [msgspec.json.decode(one.body) for one in heard]
    assert {one.headers["x-telegram-bot-api-secret-token"] for one in heard} == {"s3cret-Token_1"}
    assert len({body["update_id"] for body in bodies}) == 1 and texts(bodies[-1:]) == ["early"]
    info = bot.call("getWebhookInfo")
    assert info["url"] == f"{receiver.url}/hook" and info["allowed_updates"] == ["message"]
    assert "500" in info["last_error_message"]
    say(bot, "late")
    late: list[Heard] = receiver.wait(lambda heard: b"late" in heard[-1].body)
    assert late[-1].path == "/hook"


def test_polling_beside_a_webhook_is_a_conflict(bot: BotClient, receiver: Receiver) -> None:
    bot.call("setWebhook", url=f"{receiver.url}/hook")

    async def poll() -> None:
        async with PtbBot(TOKEN, base_url=f"{bot.sandbox.url}/bot") as client:
            with pytest.raises(Conflict, match="while webhook is active"):
                await client.get_updates()
            assert await client.delete_webhook(drop_pending_updates=True)
            assert await client.get_updates() == ()

    asyncio.run(poll())


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"url": "http://example.org/hook"}, "bad webhook"),
        ({"url": "nothing"}, "bad webhook"),
        (
            {"url": "https://example.org/hook", "secret_token": "no spaces"},
            "secret token contains unallowed characters",
        ),
    ],
)
def test_bad_webhooks_are_refused(bot: BotClient, fields: dict[str, str], words: str) -> None:
    code, description = bot.refusal("setWebhook", **fields)
    assert code == 400 and words in description


def test_a_webhook_of_a_public_name_is_posted_on_this_machine(bot: BotClient, receiver: Receiver) -> None:
    bot.call("setWebhook", url="https://nurture.example.org/telegram/webhook")
    say(bot, "hello")
    assert receiver.visit("/telegram/webhook").method == "POST"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_keeps_updates_and_plans(start, how: signal.Signals) -> None:
    first: SandboxProcess = start(SANDBOX_READING_SECONDS="1.5")
    bot = BotClient(first)
    say_first = bot.send(REPLIES)
    bot.send(PRESSES, reply_markup=keyboard([{"text": "Yes", "callback_data": "yes"}]))
    say(bot, "before")
    first.stop(how)
    again = BotClient(start(SANDBOX_READING_SECONDS="1.5"))
    got: list[dict[str, Any]] = []
    deadline = time.monotonic() + PATIENCE
    while len(got) < 3 and time.monotonic() < deadline:
        got = again.updates() if not got else again.updates(timeout=1)
    kinds = sorted(next(iter(set(update) - {"update_id"})) for update in got)
    assert kinds == ["callback_query", "message", "message"]
    assert say_first["message_id"] < min(u["message"]["message_id"] for u in got if "message" in u)
