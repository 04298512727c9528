"""The Bot API as clients see it: python-telegram-bot, aiogram, and plain HTTP for the rest."""

import asyncio
from typing import Any

import httpx
import pytest
from sandbox_process import PATIENCE, SandboxProcess
from telegram import Bot as PtbBot
from telegram import BotCommand, InlineKeyboardButton, InlineKeyboardMarkup
from telegram.error import BadRequest, Forbidden, InvalidToken, RetryAfter
from telegram_client import BOT_ID, DELIVERY, HAS_BLOCKED, IGNORES, TOKEN, BotClient, keyboard, nurture_message


def ptb(provider: SandboxProcess, token: str = TOKEN) -> PtbBot:
    return PtbBot(token, base_url=f"{provider.url}/bot")


@pytest.fixture
def bot(provider: SandboxProcess) -> BotClient:
    return BotClient(provider)


def test_python_telegram_bot_sends_edits_and_keeps_its_commands(provider: SandboxProcess) -> None:
    async def talk() -> None:
        async with ptb(provider, "7000000002:AAEanother-token-of-the-sandbox_1") as bot:
            assert bot.username == "sandbox_7000000002_bot"
            buttons = InlineKeyboardMarkup([[InlineKeyboardButton("Yes", callback_data="yes")]])
            sent = await bot.send_message(IGNORES, "Good <b>day</b> 🙂 &amp; more", "HTML", reply_markup=buttons)
            assert sent.text == "Good day 🙂 & more"
            assert [(one.type, one.offset, one.length) for one in sent.entities] == [("bold", 5, 3)]
            assert sent.reply_markup == buttons
            edited = await bot.edit_message_text("Bye", IGNORES, sent.message_id)
            assert getattr(edited, "text", None) == "Bye"
            with pytest.raises(BadRequest, match="not modified"):
                await bot.edit_message_text("Bye", IGNORES, sent.message_id)
            await bot.set_my_commands([BotCommand("start", "Begin"), BotCommand("stop", "End")])
            assert [one.command for one in await bot.get_my_commands()] == ["start", "stop"]
            await bot.delete_my_commands()
            assert await bot.get_my_commands() == ()
            chat = await bot.get_chat(IGNORES)
            assert (chat.id, chat.type) == (IGNORES, "private")
            assert await bot.send_chat_action(IGNORES, "typing")
            assert (await bot.get_webhook_info()).url == ""
            assert await bot.log_out()

    asyncio.run(talk())


@pytest.mark.xdist_group("aiogram")
def test_aiogram_sends_and_understands_refusals(provider: SandboxProcess) -> None:
    # Not above: it takes three seconds, of every worker that collects this file.
    from aiogram import Bot
    from aiogram.client.session.aiohttp import AiohttpSession
    from aiogram.client.telegram import TelegramAPIServer
    from aiogram.exceptions import TelegramForbiddenError, TelegramRetryAfter

    async def talk() -> None:
        session = AiohttpSession(api=TelegramAPIServer.from_base(provider.url))
        bot = Bot("7000000003:AAEanother-token-of-the-sandbox_2", session=session)
        try:
            assert (await bot.me()).username == "sandbox_7000000003_bot"
            sent = await bot.send_message(IGNORES, "*Bold* and _italic_\\.", parse_mode="MarkdownV2")
            assert sent.text == "Bold and italic."
            assert [one.type for one in sent.entities or []] == ["bold", "italic"]
            with pytest.raises(TelegramForbiddenError, match="blocked by the user"):
                await bot.send_message(HAS_BLOCKED, "Hello")
            provider.chaos(telegram={"fail_next": 1, "status": 429, "description": None, "retry_after": 7})
            with pytest.raises(TelegramRetryAfter) as caught:
                await bot.send_message(IGNORES, "Hello")
            assert caught.value.retry_after == 7
        finally:
            await bot.session.close()

    asyncio.run(talk())


def test_python_telegram_bot_knows_the_errors(provider: SandboxProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTB_TIMEDELTA", "1")

    async def talk() -> None:
        async with ptb(provider, "7000000004:AAEanother-token-of-the-sandbox_3") as bot:
            with pytest.raises(Forbidden, match="bot was blocked by the user"):
                await bot.send_message(HAS_BLOCKED, "Hello")
            with pytest.raises(BadRequest, match="Chat not found"):
                await bot.send_message(999, "Hello")
            provider.chaos(telegram={"fail_next": 1, "status": 429, "description": None, "retry_after": 7})
            with pytest.raises(RetryAfter, match="Retry in 0:00:07"):
                await bot.send_message(IGNORES, "Hello")
        with pytest.raises(InvalidToken):
            async with ptb(provider, "7000000004:revoked-token-of-the-sandbox"):
                pass

    asyncio.run(talk())


def test_a_message_is_in_the_ledger_with_its_delivery_and_buttons(start, receiver) -> None:
    sandbox: SandboxProcess = start()
    fields = nurture_message(receiver.url)
    sent = BotClient(sandbox).send(IGNORES, **fields)
    (row,) = sandbox.messages(channel="telegram", to=str(IGNORES))
    assert row["channel"] == "telegram" and row["to"] == str(IGNORES) and row["idempotency_key"] is None
    assert row["text"] == "Hello Ann, the guide is ready."
    assert row["html"] == fields["text"]
    assert row["delivery_id"] == str(DELIVERY)
    assert row["message_id"] == sent["message_id"]
    assert [button["text"] for button in row["buttons"]] == ["I read it", "Open"]
    assert row["from"] == f"sandbox_{BOT_ID}_bot" and row["state"] == "delivered"
    assert sandbox.messages(channel="email") == []


def test_a_link_alone_names_the_delivery_and_foreign_buttons_name_none(start, receiver) -> None:
    sandbox: SandboxProcess = start()
    bot = BotClient(sandbox)
    bot.send(IGNORES, **{**nurture_message(receiver.url), "reply_markup": None})
    bot.send(IGNORES + 10, reply_markup=keyboard([{"text": "Yes", "callback_data": "yes"}]))
    assert [row["delivery_id"] for row in sandbox.messages()] == [str(DELIVERY), None]


def test_repeats_are_counted_for_each_channel_alone(start, receiver) -> None:
    sandbox: SandboxProcess = start()
    tag = {"name": "delivery_id", "value": str(DELIVERY)}
    sandbox.send(tags=[tag])
    bot = BotClient(sandbox)
    bot.send(IGNORES, **nurture_message(receiver.url))
    summary = sandbox.summary()
    assert summary["by_channel"] == {"email": 1, "telegram": 1}
    assert (summary["delivery_ids"], summary["repeats"]) == (1, 0)
    bot.send(IGNORES, **nurture_message(receiver.url))
    assert sandbox.summary()["repeats"] == 1


@pytest.mark.parametrize("how", ["query", "form", "multipart", "json"])
def test_arguments_come_in_every_way_that_clients_send_them(provider: SandboxProcess, how: str) -> None:
    url = f"{provider.url}/bot{TOKEN}/sendMessage"
    markup = '{"inline_keyboard":[[{"text":"Yes","callback_data":"yes"}]]}'
    fields = {"chat_id": str(IGNORES + 100 + 10 * len(how)), "text": "Hello & <welcome>", "reply_markup": markup}
    match how:
        case "query":
            reply = httpx.get(url, params=fields, timeout=PATIENCE)
        case "form":
            reply = httpx.post(url, data=fields, timeout=PATIENCE)
        case "multipart":
            files: Any = {name: (None, value) for name, value in fields.items()}
            reply = httpx.post(url, files=files, timeout=PATIENCE)
        case _:
            reply = httpx.post(url, json=fields, timeout=PATIENCE)
    message = reply.json()["result"]
    assert message["text"] == fields["text"]
    assert message["reply_markup"]["inline_keyboard"][0][0]["callback_data"] == "yes"


@pytest.mark.parametrize(
    "token", ["7000000001:short", "bad", "x7:AAEtest-token-of-the-sandbox_0", "7:revoked-token-of-the-sandbox"]
)
def test_a_malformed_token_is_unauthorized(provider: SandboxProcess, token: str) -> None:
    assert BotClient(provider, token).refusal("getMe") == (401, "Unauthorized")


def test_an_unknown_method_is_not_found(bot: BotClient) -> None:
    assert bot.refusal("sendTelepathy") == (404, "Not Found")
    assert bot.call("GETME")["id"] == BOT_ID
    assert httpx.get(f"{bot.sandbox.url}/nobody/getMe").status_code == 404


def one_button(**button: Any) -> dict[str, Any]:
    return {"text": "x", "reply_markup": keyboard([{"text": "t", **button}])}


def markup_of(mode: str, text: str) -> dict[str, Any]:
    return {"text": text, "parse_mode": mode}


@pytest.mark.parametrize(
    ("fields", "description"),
    [
        ({"text": ""}, "message text is empty"),
        (markup_of("HTML", "<b> </b>"), "message text is empty"),
        ({"text": "x" * 4097}, "message is too long"),
        ({"text": "🙂" * 2049}, "message is too long"),
        ({"text": "x" * 33_000}, "text is too long"),
        (markup_of("BBCode", "x"), "unsupported parse_mode"),
        (markup_of("HTML", "<b>x"), "can't parse entities: Can't find end tag corresponding to start tag \"b\""),
        (markup_of("HTML", "é <blink>"), 'can\'t parse entities: Unsupported start tag "blink" at byte offset 3'),
        (markup_of("MarkdownV2", "*x"), "can't parse entities: Can't find end of Bold entity at byte offset 0"),
        (
            markup_of("MarkdownV2", "a-b"),
            "can't parse entities: Character '-' is reserved and must be escaped with the preceding '\\'",
        ),
        ({"text": "x", "reply_markup": "{"}, "can't parse reply markup JSON object"),
        (one_button(), "can't parse inline keyboard button: Text buttons are unallowed in the inline keyboard"),
        (one_button(callback_data="é" * 33), "BUTTON_DATA_INVALID"),
        (one_button(callback_data=""), "BUTTON_DATA_INVALID"),
        (one_button(url="nowhere"), "inline keyboard button URL 'nowhere' is invalid: Wrong HTTP URL"),
        (
            {"text": "x", "reply_markup": keyboard([{"text": "t", "callback_data": "1"}] * 101)},
            "reply markup is too long",
        ),
        ({"text": "x", "chat_id": ""}, "chat_id is empty"),
        ({"text": "x", "chat_id": "@somebody"}, "chat not found"),
        ({"text": "x", "chat_id": 999}, "chat not found"),
    ],
)
def test_what_telegram_would_refuse_is_refused(bot: BotClient, fields: dict[str, Any], description: str) -> None:
    before = bot.sandbox.summary()["messages"]
    assert bot.refusal("sendMessage", **{"chat_id": IGNORES, **fields}) == (400, f"Bad Request: {description}")
    assert bot.sandbox.summary()["messages"] == before


def test_a_group_that_became_a_supergroup_tells_its_new_id(bot: BotClient) -> None:
    answer = bot.raw("sendMessage", chat_id=-4_242, text="Hello").json()
    assert answer["description"] == "Bad Request: group chat was upgraded to a supergroup chat"
    assert bot.send(answer["parameters"]["migrate_to_chat_id"])["chat"]["type"] == "supergroup"


def test_a_chat_takes_a_small_burst_and_then_one_a_second(start) -> None:
    bot = BotClient(start())
    refused = bot.refused(chat_id=IGNORES)
    answer = refused.json()
    assert answer["error_code"] == refused.status_code == 429
    assert answer["parameters"]["retry_after"] == int(refused.headers["retry-after"]) >= 1
    assert answer["description"] == f"Too Many Requests: retry after {answer['parameters']['retry_after']}"
    assert bot.sandbox.summary()["messages"] >= 3
    bot.send(IGNORES + 10)


def test_all_chats_together_have_a_limit_too(start) -> None:
    bot = BotClient(start(SANDBOX_TELEGRAM_RATE="1"))
    chats = (IGNORES + 10 * n for n in range(500))
    assert 429 in (bot.raw("sendMessage", chat_id=chat, text="Hello").status_code for chat in chats)


def test_faults_on_demand(start) -> None:
    sandbox: SandboxProcess = start()
    bot = BotClient(sandbox)
    sandbox.chaos(telegram={"fail_next": 1, "status": 500})
    assert bot.refusal("sendMessage", chat_id=IGNORES, text="x") == (500, "Internal Server Error")
    sandbox.chaos(telegram={"fail_next": 1, "status": 502})
    assert bot.raw("sendMessage", chat_id=IGNORES, text="x").headers["content-type"].startswith("text/html")
    sandbox.chaos(telegram={"fail_next": 1, "status": 403, "description": "Forbidden: user is deactivated"})
    assert bot.refusal("sendMessage", chat_id=IGNORES, text="x") == (403, "Forbidden: user is deactivated")
    sandbox.chaos(telegram={"fail_next": 1, "status": 429, "description": None, "retry_after": 7})
    assert bot.raw("sendMessage", chat_id=IGNORES, text="x").json()["parameters"] == {"retry_after": 7}
    assert sandbox.messages() == []
    sandbox.chaos(telegram={"close_after_accept": 1})
    with pytest.raises(httpx.RemoteProtocolError):
        bot.raw("sendMessage", chat_id=IGNORES, text="It went")
    assert [row["text"] for row in sandbox.messages()] == ["It went"]
    assert sandbox.client.post("/api/chaos", json={"telegram": {"fail_nxt": 1}}).status_code == 422
    assert sandbox.client.get("/api/chaos").json()["telegram"]["close_after_accept"] == 0


def test_the_token_is_in_no_log(start) -> None:
    sandbox: SandboxProcess = start()
    bot = BotClient(sandbox)
    bot.send(IGNORES)
    bot.refusal("sendMessage", chat_id=1, text="x")
    sandbox.process.terminate()
    sandbox.process.wait(PATIENCE)
    assert TOKEN.partition(":")[2] not in sandbox.log()
