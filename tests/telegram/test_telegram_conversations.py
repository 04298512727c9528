"""Reading updates, and what follows from them: pure, total, and the same whenever it is heard again."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nurture_chassis.tokens import Tokens
from nurture_telegram import conversations as c
from nurture_telegram.updates import Membership, Pressed, Reacted, Started, Stopped, Update, Wrote, parse
from telegram_updates import member, message, press, reaction, reply

TOKENS = Tokens("a-secret-key-for-tests-only-0123456789")
NOW = datetime(2026, 1, 5, tzinfo=UTC)
ADA, BOB, DELIVERY, OLDER, QUOTED = (UUID(int=n) for n in (1, 2, 3, 4, 5))


def said(raw: Any) -> Any:
    update = parse(raw)
    return update and update.said


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (message(7, "/start abc-_"), Started("7", "abc-_")),
        (message(7, "/start"), Started("7", "")),
        (message(7, " /START@Acme_bot  abc "), Started("7", "abc")),
        (message(7, "/stop"), Stopped("7")),
        (message(7, "/stop please"), Stopped("7")),
        (message(7, "/started"), Wrote("7", None)),
        (message(7, "stop"), Wrote("7", None)),
        (reply(7, "yes", 12), Wrote("7", 12)),
        (message(7, None, photo=[{}]), Wrote("7", None)),
        (message(7, None, pinned_message={}), None),
        (message(7, "hi", **{"from": {"id": 1, "is_bot": True}}), None),
        (message(-7, "/stop"), Wrote("-7", None)),
        (press(7, "data"), Pressed("q", "data")),
        (member(7, "kicked"), Membership("7", True)),
        (member(7, "member"), Membership("7", False)),
        (member(7, "restricted"), None),
        (reaction(7, 12, "👍"), Reacted("7", 12)),
        (reaction(7, 12), None),
        ({"update_id": 1, "edited_message": {}}, None),
        ({"update_id": 1}, None),
    ],
)
def test_what_updates_say(raw: dict[str, Any], expected: object) -> None:
    found = said(raw)
    assert (found if not isinstance(found, Pressed) else Pressed(found.callback_id[:1], found.data)) == expected


@pytest.mark.parametrize("raw", [None, 5, [], {}, {"update_id": "1"}, {"update_id": True}, {"update_id": -1}])
def test_what_is_no_update(raw: Any) -> None:
    assert parse(raw) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    ["message", "callback_query", "my_chat_member", "message_reaction", "chat", "from", "id", "type", "text", "data",
     "new_chat_member", "status", "reply_to_message", "message_id", "new_reaction", "is_bot", "reply_markup",
     "inline_keyboard", "callback_data", "url", "entities"]
)  # fmt: skip
SHAPES = st.recursive(JSON, lambda inner: st.dictionaries(NAMES, inner, max_size=5), max_leaves=10)


@given(st.dictionaries(NAMES, SHAPES, max_size=4))
def test_anything_is_read_and_folded(shape: dict[str, Any]) -> None:
    update = parse({"update_id": 5, **shape})
    assert update is not None and update.update_id == 5
    hear({}, update)


def facts(chats: dict[str, c.Chat], invitations: dict[str, c.Invitation] | None = None) -> c.Facts:
    return c.Facts(
        bot_id=42,
        chats=chats,
        invitations=invitations or {},
        messages={"7:12": OLDER},
        read_press=TOKENS.read_press,
        read_link=lambda url: QUOTED if url == "https://n.test/t/c/quoted" else None,
    )


def hear(chats: dict[str, c.Chat], *raw: Any, **invitations: c.Invitation) -> c.Effects:
    updates = [one if isinstance(one, Update) else parse(one) for one in raw]
    talk = c.Conversation(facts(chats, invitations), NOW, NOW)
    return talk.hear([update for update in updates if update is not None])


def invitation(user: UUID = ADA, days: int = 0, **more: Any) -> c.Invitation:
    return c.Invitation(user_id=user, made_at=NOW - timedelta(days=days), **{"known": True, **more})


def test_a_link_connects_a_chat() -> None:
    effects = hear({}, message(7, "/start tok"), tok=invitation())
    (change,), (answer,) = effects.changes, effects.replies
    assert (change.user_id, change.change) == (ADA, "linked") and answer == c.Reply("7", c.LINKED)
    chat = effects.chats["7"]
    assert (chat.user_id, chat.state, chat.refused, chat.linked) == (ADA, "ok", False, True)


@pytest.mark.parametrize(
    ("token", "text"),
    [
        (invitation(days=31), c.EXPIRED),
        (invitation(by="8"), c.USED),
        (invitation(by="7"), c.USED),
        (invitation(known=False), c.HELLO),
    ],
)
def test_a_link_that_is_no_good_changes_nothing_and_says_why(token: c.Invitation, text: str) -> None:
    effects = hear({}, message(7, "/start tok"), tok=token)
    assert effects.changes == [] and effects.chats == {} and effects.replies == [c.Reply("7", text)]


def test_nobody_is_linked_without_a_token() -> None:
    for text in ("/start", "/start nonsense", "/start " + "x" * 500):
        effects = hear({}, message(7, text))
        assert effects.changes == [] and effects.replies == [c.Reply("7", c.HELLO)]


def test_the_first_chat_of_a_page_gets_the_link() -> None:
    effects = hear({}, message(7, "/start tok"), message(8, "/start tok"), message(7, "/start tok"), tok=invitation())
    assert [change.change for change in effects.changes] == ["linked"] and effects.chats.keys() == {"7"}
    assert [answer.text for answer in effects.replies] == [c.LINKED, c.USED, c.ALREADY]


def test_stop_then_link_and_link_then_stop_keep_their_order() -> None:
    linked, stopped = hear({}, message(7, "/start tok"), message(7, "/stop"), tok=invitation()).changes
    assert (linked.change, stopped.change) == ("linked", "stopped") and linked.at < stopped.at
    known = {"7": c.Chat(user_id=ADA)}
    effects = hear(known, message(7, "/stop"), message(7, "/start tok"), tok=invitation(BOB))
    assert [(change.user_id, change.change) for change in effects.changes] == [(ADA, "stopped"), (BOB, "linked")]
    assert effects.chats["7"].refused is False and effects.chats["7"].user_id == BOB


def test_strangers_may_refuse_and_are_answered_but_nobody_is_told() -> None:
    effects = hear({}, message(7, "/stop"), message(7, "hello"), member(7, "kicked"))
    assert effects.chats["7"].refused and effects.changes == [] and effects.observations == []
    assert effects.replies == [c.Reply("7", c.STOPPED)]


def test_blocking_and_coming_back() -> None:
    known = {"7": c.Chat(user_id=ADA)}
    effects = hear(known, member(7, "kicked"), member(7, "member"))
    assert [change.change for change in effects.changes] == ["blocked", "unblocked"]
    assert effects.chats["7"].state == "ok" and known["7"].state == "ok"
    assert hear(known, member(7, "member")).changes == []
    gone = {"7": c.Chat(user_id=ADA, state="gone")}
    back = hear(gone, message(7, "/start"))
    assert [change.change for change in back.changes] == ["unblocked"] and back.replies == [c.Reply("7", c.BACK)]
    left = {"7": c.Chat(user_id=ADA, state="replaced")}
    assert hear(left, member(7, "kicked"), message(7, "/stop")).changes == []


def test_a_reply_names_its_message_by_the_tokens_that_it_carries() -> None:
    known = {"7": c.Chat(user_id=ADA, latest=OLDER)}
    button = {
        "reply_markup": {"inline_keyboard": [[{"text": "Yes", "callback_data": TOKENS.press_token(DELIVERY, 0)}]]}
    }
    link = {"entities": [{"type": "bold"}, {"type": "text_link", "url": "https://n.test/t/c/quoted"}]}
    forged = {
        "reply_markup": {"inline_keyboard": [[{"callback_data": Tokens("other").press_token(DELIVERY, 0)}, 7], None]}
    }
    quotes = [{"message_id": 98, **more} for more in (button, link, forged)]
    effects = hear(known, *(message(7, "yes", reply_to_message=quoted) for quoted in quotes))
    assert [one.delivery_id for one in effects.observations] == [DELIVERY, QUOTED, OLDER]


def test_replies_reactions_and_presses_are_a_persons_doing() -> None:
    known = {"7": c.Chat(user_id=ADA, latest=DELIVERY)}
    pressed = press(7, TOKENS.press_token(DELIVERY, 3))
    foreign = press(7, Tokens("another secret key").press_token(DELIVERY, 3))
    page = [
        message(7, "thanks"), reply(7, "this one", 12), reaction(7, 12, "👍"), reaction(7, 99, "👍"), pressed, foreign,
        reply(7, "that one", 98), message(8, "who are you?"),
    ]  # fmt: skip
    effects = hear(known, *page)
    assert [(one.kind, one.delivery_id, one.link, one.signal) for one in effects.observations] == [
        ("replied", DELIVERY, None, "human"),
        ("replied", OLDER, None, "human"),
        ("replied", OLDER, None, "human"),
        ("pressed", DELIVERY, "button:3", "human"),
        ("replied", DELIVERY, None, "human"),
    ]
    assert len(effects.answers) == 2, "every spinner is stopped"
    again = hear(known, *page)
    assert [one.event_id for one in again.observations] == [one.event_id for one in effects.observations]
    assert len({one.event_id for one in effects.observations}) == 5
