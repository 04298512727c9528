"""People behind chats: by habit, by a test's call, and by hand on the pages."""

import re
from typing import Any

import httpx
import pytest
from sandbox_process import Receiver, SandboxProcess, mail
from telegram_client import (
    BLOCKS,
    BOT_ID,
    DELIVERY,
    FOLLOWS,
    HAS_BLOCKED,
    IGNORES,
    PRESSES,
    READS,
    REPLIES,
    BotClient,
    keyboard,
    nurture_message,
    tokens,
)


@pytest.fixture
def bot(sandbox: SandboxProcess) -> BotClient:
    client = BotClient(sandbox)
    client.call("getMe")
    return client


def state(bot: BotClient) -> str:
    return bot.sandbox.messages(channel="telegram")[-1]["state"]


def act(client: BotClient, what: str, **body: Any) -> httpx.Response:
    return client.sandbox.client.post(f"/api/telegram/{what}", json=body)


def play(bot: BotClient, chat_id: int, **form: str) -> httpx.Response:
    return bot.sandbox.client.post(f"/chats/{BOT_ID}/{chat_id}/play", data=form)


def page(bot: BotClient, chat_id: int) -> str:
    return bot.sandbox.client.get(f"/chats/{BOT_ID}/{chat_id}").raise_for_status().text


def test_one_replies(bot: BotClient) -> None:
    sent = bot.send(REPLIES)
    reply = bot.update("message")
    assert reply["chat"]["id"] == reply["from"]["id"] == REPLIES and reply["text"]
    assert reply["message_id"] > sent["message_id"]


def test_one_presses_the_first_button_and_the_bot_answers(bot: BotClient, receiver: Receiver) -> None:
    sent = bot.send(PRESSES, **nurture_message(receiver.url))
    query = bot.update("callback_query")
    assert tokens.read_press(query["data"]) == (DELIVERY, 0)
    assert query["message"]["message_id"] == sent["message_id"]
    assert bot.call("answerCallbackQuery", callback_query_id=query["id"], text="Thank you")
    code, description = bot.refusal("answerCallbackQuery", callback_query_id="1")
    assert code == 400 and description.startswith("Bad Request: query is too old")


def test_one_without_a_button_to_press_follows_the_link(bot: BotClient, receiver: Receiver) -> None:
    fields = nurture_message(receiver.url)
    bot.send(PRESSES, **{**fields, "reply_markup": None})
    visit = receiver.visit("/t/c/")
    assert tokens.read_click(visit.path.removeprefix("/t/c/"))
    assert visit.headers["user-agent"].startswith("Mozilla/5.0 (")


def test_one_follows_the_first_tracked_link(bot: BotClient, receiver: Receiver) -> None:
    bot.send(FOLLOWS, **nurture_message(receiver.url))
    receiver.visit("/t/c/")
    assert bot.updates(timeout=0) == []


def test_one_has_blocked_the_bot(bot: BotClient) -> None:
    assert bot.refusal("sendMessage", chat_id=HAS_BLOCKED, text="x") == (403, "Forbidden: bot was blocked by the user")
    assert bot.sandbox.messages() == []


def test_one_blocks_the_bot_after_its_first_message(bot: BotClient) -> None:
    bot.send(BLOCKS)
    change = bot.update("my_chat_member")
    assert (change["old_chat_member"]["status"], change["new_chat_member"]["status"]) == ("member", "kicked")
    assert change["new_chat_member"]["user"]["id"] == BOT_ID
    assert bot.refusal("sendMessage", chat_id=BLOCKS, text="x")[0] == 403
    assert act(bot, "unblock", chat_id=BLOCKS).json()["changed"] is True
    assert bot.update("my_chat_member")["new_chat_member"]["status"] == "member"
    bot.send(BLOCKS)


def test_the_others_say_nothing(bot: BotClient, receiver: Receiver) -> None:
    for chat in (READS, IGNORES):
        bot.send(chat, **nurture_message(receiver.url))
    bot.send(REPLIES)
    assert bot.update("message")["chat"]["id"] == REPLIES
    assert bot.updates(timeout=0) == [] and receiver.heard == []


def test_a_bot_that_answers_everything_does_not_talk_for_ever(bot: BotClient) -> None:
    bot.send(REPLIES)
    bot.update("message")
    bot.send(REPLIES, "Glad to hear!")
    act(bot, "say", chat_id=IGNORES, text="the end")
    assert bot.update("message")["text"] == "the end"


def test_a_person_is_played_over_the_api(bot: BotClient) -> None:
    sent = bot.send(
        IGNORES, reply_markup=keyboard([{"text": "Yes", "callback_data": "y"}, {"text": "No", "callback_data": "n"}])
    )
    assert act(bot, "press", message_id=sent["message_id"], button="No").status_code == 200
    assert bot.update("callback_query")["data"] == "n"
    assert act(bot, "press", message_id=sent["message_id"], button=0).status_code == 200
    assert bot.update("callback_query")["data"] == "y"
    assert act(bot, "say", chat_id=IGNORES, text="Fine", reply_to=sent["message_id"]).status_code == 200
    assert bot.update("message")["reply_to_message"]["message_id"] == sent["message_id"]
    assert act(bot, "block", chat_id=IGNORES).json()["changed"] is True
    assert act(bot, "block", chat_id=IGNORES).json()["changed"] is False
    assert bot.update("my_chat_member")["new_chat_member"]["status"] == "kicked"
    assert act(bot, "say", chat_id=IGNORES, text="Fine").status_code == 409
    assert act(bot, "press", message_id=sent["message_id"]).status_code == 409
    assert act(bot, "say", chat_id=IGNORES, text="/start again").status_code == 200
    assert bot.update("my_chat_member")["new_chat_member"]["status"] == "member"
    assert bot.update("message")["text"] == "/start again"


@pytest.mark.parametrize(
    ("what", "body", "status"),
    [
        ("press", {"message_id": 999_999}, 409),
        ("say", {"chat_id": 12, "text": "x"}, 409),
        ("say", {"chat_id": IGNORES, "text": " "}, 409),
        ("say", {"chat_id": "x", "text": "x"}, 422),
        ("block", {"chat_id": IGNORES, "bto": 1}, 422),
    ],
)
def test_what_nobody_can_do_is_refused(bot: BotClient, what: str, body: dict[str, Any], status: int) -> None:
    assert act(bot, what, **body).status_code == status


def test_with_several_bots_one_is_named(bot: BotClient) -> None:
    BotClient(bot.sandbox, "7000000009:AAEanother-token-of-the-sandbox_9").call("getMe")
    assert act(bot, "say", chat_id=IGNORES, text="whom?").status_code == 409
    assert act(bot, "say", chat_id=IGNORES, text="you", bot=BOT_ID).status_code == 200
    assert bot.update("message")["text"] == "you"
    assert act(bot, "say", chat_id=IGNORES, text="you again").json()["bot"] == BOT_ID


def test_the_inbox_shows_both_channels_and_each_alone(bot: BotClient, receiver: Receiver) -> None:
    bot.sandbox.client.post("/emails", json=mail("ann@example.com", subject="A mail"))
    bot.send(IGNORES, **nurture_message(receiver.url))
    both = bot.sandbox.client.get("/").text
    assert 'id="email"' in both and 'id="telegram"' in both
    assert "A mail" in both and "Hello Ann, the guide is ready." in both
    telegram = bot.sandbox.client.get("/", params={"channel": "telegram"}).text
    assert "A mail" not in telegram and "the guide is ready" in telegram
    found = bot.sandbox.client.get("/", params={"to": str(IGNORES)[-6:]}).text
    assert "A mail" not in found and "the guide is ready" in found


def test_a_message_is_shown_in_its_chat(bot: BotClient, receiver: Receiver) -> None:
    sent = bot.send(IGNORES, **nurture_message(receiver.url))
    (row,) = bot.sandbox.messages()
    reply = bot.sandbox.client.get(f"/messages/{row['id']}")
    assert reply.status_code == 303
    assert reply.headers["location"] == f"/chats/{BOT_ID}/{IGNORES}#m{sent['message_id']}"
    shown = page(bot, IGNORES)
    assert "Hello <b>Ann</b>" in shown and "I read it" in shown and str(DELIVERY) in shown
    assert "<script" not in shown and "no message leaves this machine" in shown


def test_hostile_text_stays_text(bot: BotClient) -> None:
    hostile = "<script>alert(1)</script>"
    bot.send(IGNORES, hostile, reply_markup=keyboard([{"text": hostile, "callback_data": '"><script>'}]))
    bot.send(IGNORES + 10, '<a href="javascript:alert(1)">x</a>', parse_mode="HTML")
    act(bot, "say", chat_id=IGNORES, text=hostile)
    for path in ("/", f"/chats/{BOT_ID}/{IGNORES}", f"/chats/{BOT_ID}/{IGNORES + 10}"):
        shown = bot.sandbox.client.get(path).text
        assert "<script" not in shown and 'href="javascript' not in shown


def test_buttons_of_the_page_play_the_person(bot: BotClient, receiver: Receiver) -> None:
    fields = nurture_message(receiver.url)
    number = str(bot.send(IGNORES, **fields)["message_id"])
    data = fields["reply_markup"]["inline_keyboard"][0][0]["callback_data"]
    url = fields["reply_markup"]["inline_keyboard"][1][0]["url"]
    assert play(bot, IGNORES, act="press", message=number, value=data).status_code == 303
    assert bot.update("callback_query")["data"] == data
    assert state(bot) == "pressed"
    assert play(bot, IGNORES, act="follow", message=number, value=url).status_code == 303
    receiver.visit("/t/c/")
    assert state(bot) == "pressed"
    for form, text in (({"act": "say", "text": "Hello you"}, "Hello you"), ({"act": "stop"}, "/stop")):
        assert play(bot, IGNORES, **form).status_code == 303
        assert bot.update("message")["text"] == text
    assert play(bot, IGNORES, act="block").status_code == 303
    assert bot.update("my_chat_member")["new_chat_member"]["status"] == "kicked"
    assert "has blocked the bot" in page(bot, IGNORES)
    assert play(bot, IGNORES, act="say", text="Hello?").status_code == 409
    assert play(bot, IGNORES, act="unblock").status_code == 303
    assert bot.update("my_chat_member")["new_chat_member"]["status"] == "member"


def test_forms_from_elsewhere_and_foreign_links_are_refused(bot: BotClient, receiver: Receiver) -> None:
    number = str(bot.send(IGNORES, **nurture_message(receiver.url))["message_id"])
    url = f"/chats/{BOT_ID}/{IGNORES}/play"
    elsewhere = bot.sandbox.client.post(url, data={"act": "block"}, headers={"sec-fetch-site": "cross-site"})
    assert elsewhere.status_code == 403
    foreign = "http://192.0.2.1/t/c/x"
    assert play(bot, IGNORES, act="follow", message=number, value=foreign).status_code == 422
    assert play(bot, IGNORES + 10, act="press", message=number).status_code == 404
    assert play(bot, IGNORES, act="explode").status_code == 422


def test_a_deep_link_in_a_mail_leads_to_start(bot: BotClient) -> None:
    bot_name = f"sandbox_{BOT_ID}_bot"
    link = f"{bot.sandbox.url}/t.me/{bot_name}?start=abc-DEF_1"
    email_id = bot.sandbox.send(html=f'<p><a href="{link}">Continue in Telegram</a></p>')
    shown = bot.sandbox.client.get(f"/messages/{email_id}").text
    path = re.search(r'class="button" href="([^"]+)">Continue in Telegram', shown)
    assert path and path[1] == f"/t.me/{bot_name}?start=abc-DEF_1"
    invitation = bot.sandbox.client.get(path[1]).text
    chat = re.search(r'name="chat_id"[^>]* value="(\d+0)"', invitation)
    assert chat and 'value="abc-DEF_1"' in invitation
    form = {"start": "abc-DEF_1", "chat_id": chat[1]}
    reply = bot.sandbox.client.post(f"/t.me/{bot_name}", data=form)
    assert reply.status_code == 303 and reply.headers["location"].startswith(f"/chats/{BOT_ID}/{chat[1]}")
    message = bot.update("message")
    assert (message["text"], message["chat"]["id"]) == ("/start abc-DEF_1", int(chat[1]))


@pytest.mark.parametrize("path", ["/t.me/sandbox_1_bot", "/t.me/somebody?start=x"])
def test_an_unknown_bot_has_no_page(bot: BotClient, path: str) -> None:
    assert bot.sandbox.client.get(path).status_code == 404


def test_a_malformed_token_cannot_be_started(bot: BotClient) -> None:
    shown = bot.sandbox.client.get(f"/t.me/sandbox_{BOT_ID}_bot", params={"start": "<b>" * 30}).text
    assert "malformed" in shown and "<form" not in shown
    form = {"start": "a b", "chat_id": str(IGNORES)}
    assert bot.sandbox.client.post(f"/t.me/sandbox_{BOT_ID}_bot", data=form).status_code == 422
