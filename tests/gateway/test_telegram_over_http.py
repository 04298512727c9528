"""Updates over HTTP, links that connect a chat, what becomes of contacts, and clicks in Telegram messages."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
from gateway_stand import TELEGRAM_SECRET, TOKENS, Controller, Gateway, eventually
from hypothesis import given
from hypothesis import strategies as st
from msgspec import json
from nurture_chassis.tokens import link_id
from nurture_gateway.telegram_updates import MOST, Malformed, updates
from test_health_and_pages import problem

HOOK = {"X-Telegram-Bot-Api-Secret-Token": TELEGRAM_SECRET}
AT = datetime(2026, 1, 5, 9, tzinfo=UTC)


def update(**fields: Any) -> dict[str, Any]:
    return {"update_id": uuid4().int % 2**31, **fields}


def stored(gateway: Gateway, ids: set[int]) -> list[dict[str, Any]]:
    rows = gateway.servers.sql("select items from public.telegram_inbox")
    return [item for row in rows for item in row["items"] if item["update_id"] in ids]


def contact(gateway: Gateway, person: dict[str, Any]) -> dict[str, Any]:
    contacts = gateway.http.get(f"/admin/api/users/{person['id']}").json()["contacts"]
    return next((contact for contact in contacts if contact["channel"] == "telegram"), {})


def shown(gateway: Gateway, person: dict[str, Any]) -> tuple[Any, ...]:
    now = contact(gateway, person)
    return now.get("consent"), now.get("state"), now.get("reason")


def chat(gateway: Gateway, person: dict[str, Any], chat_id: str, state: str = "ok", linked: bool = True) -> None:
    """What the telegram room knows about a chat."""
    gateway.servers.sql(
        "insert into telegram.chats (chat_id, user_id, state, linked_at) values ($1, $2, $3, $4) on conflict (chat_id)"
        " do update set user_id = excluded.user_id, state = excluded.state, linked_at = excluded.linked_at",
        chat_id, person["id"], state, datetime.now(UTC) if linked else None,
    )  # fmt: skip


def changed(person: dict[str, Any], change: str, minutes: int = 0) -> dict[str, Any]:
    at = (AT + timedelta(minutes=minutes)).isoformat()
    return {"event_id": str(uuid4()), "user_id": person["id"], "change": change, "at": at}


def new_chat() -> str:
    return str(uuid4().int % 2**40 + 1)


def test_a_chat_that_was_written_in_by_hand_is_nobodys_proof(gateway: Gateway, controller: Controller) -> None:
    person, linked, other = gateway.person(), new_chat(), new_chat()
    url = f"/admin/api/users/{person['id']}"

    def verified() -> bool:
        return gateway.http.get(f"{url}/preferences").json()["telegram"]["is_verified"]

    chat(gateway, person, linked)
    controller.say("nurture.evt.telegram.chats_changed", {"items": [changed(person, "linked")]})
    with eventually() as until:
        until(lambda: contact(gateway, person).get("address") == linked)
    assert verified()
    gateway.http.patch(url, json={"telegram_chat_id": other})
    assert not verified()
    gateway.http.patch(url, json={"telegram_chat_id": linked})
    assert verified()


def test_updates_are_taken_one_by_one_in_a_list_or_under_a_name(gateway: Gateway, controller: Controller) -> None:
    one, two, three = update(message={"text": "a\x00b\\u0000"}), update(), update()
    for body, count in ((one, 1), ([two], 1), ({"updates": [three, two]}, 2), ([], 0)):
        answer = gateway.post("/admin/api/telegram/updates", body)
        assert (answer.status_code, answer.json()) == (202, {"accepted": count}), answer.text
    found = stored(gateway, {one["update_id"], two["update_id"], three["update_id"]})
    assert len(found) == 4
    assert next(item for item in found if item["update_id"] == one["update_id"])["message"]["text"] == "ab\\u0000"
    page = controller.await_message("telegram_updates_received")
    assert page.keys() == {"page_id"}, "texts and chats stay in the database"


def test_updates_need_the_key_and_have_to_be_updates(gateway: Gateway) -> None:
    problem(gateway.anonymous.post("/admin/api/telegram/updates", json=update()), 401, "unauthorized")
    for body in ({}, {"update_id": "5"}, {"updates": 5}, [update(), 5], 5, {"update_id": -1}):
        problem(gateway.post("/admin/api/telegram/updates", body), 400, "malformed_request")
    headers = {"Content-Type": "application/json"}
    for raw in (b"", b"{", b'{"a":' * 5000, b"\xff"):
        answer = gateway.http.post("/admin/api/telegram/updates", content=raw, headers=headers)
        problem(answer, 400, "malformed_request")
    many = gateway.post("/admin/api/telegram/updates", [{"update_id": n} for n in range(MOST + 1)])
    problem(many, 400, "malformed_request")


def test_telegrams_webhook_is_known_by_its_secret(gateway: Gateway) -> None:
    sent = update(message={"text": "hello"})
    for headers in ({}, {"X-Telegram-Bot-Api-Secret-Token": "wrong"}, {"X-Telegram-Bot-Api-Secret-Token": ""}):
        problem(gateway.anonymous.post("/telegram/webhook", json=sent, headers=headers), 401, "bad_telegram_secret")
    assert stored(gateway, {sent["update_id"]}) == []
    answer = gateway.anonymous.post("/telegram/webhook", json=sent, headers=HOOK)
    assert answer.status_code == 200 and stored(gateway, {sent["update_id"]}) == [sent]
    for raw in (b"", b"[5]", b'{"no": "update"}'):
        answer = gateway.anonymous.post("/telegram/webhook", content=raw, headers=HOOK)
        assert answer.status_code == 200 and answer.json() == {"status": "ignored"}


WORDS = st.recursive(
    st.none() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3), max_leaves=4
)


@given(st.binary(max_size=60) | st.dictionaries(st.sampled_from(["updates", "update_id"]), WORDS).map(json.encode))
def test_whatever_comes_is_updates_or_malformed(body: bytes) -> None:
    try:
        found = updates(body)
    except Malformed:
        return
    assert all(type(item["update_id"]) is int for item in found)


def test_a_link_connects_one_person_once_the_bot_is_known(gateway: Gateway) -> None:
    person = gateway.person()
    path = f"/admin/api/users/{person['external_id']}/telegram-link"
    gateway.servers.sql("delete from telegram.channel")
    body = problem(gateway.post(path), 409, "telegram_not_ready")
    assert "not started" in body["detail"]
    gateway.servers.sql("insert into telegram.channel (ready, bot_username, updates) values (true, 'acme_bot', 'poll')")
    answer = gateway.post(path, key=uuid4().hex)
    assert answer.status_code == 200, answer.text
    url = urlsplit(answer.json()["url"])
    assert f"{url.scheme}://{url.netloc}{url.path}" == "https://t.me/acme_bot"
    (token,) = parse_qs(url.query)["start"]
    invited = TOKENS.read_chat(token)
    assert len(token) <= 64 and invited is not None and str(invited.user_id) == person["id"]
    expires = datetime.fromisoformat(answer.json()["expires_at"])
    assert expires == datetime.fromtimestamp(invited.made_at, UTC) + timedelta(days=30)
    problem(gateway.post("/admin/api/users/nobody/telegram-link"), 404, "person_not_found")


def test_a_linked_chat_becomes_the_address_with_consent(gateway: Gateway, controller: Controller) -> None:
    person, other, chat_id = gateway.person(), gateway.person(), new_chat()
    gateway.http.patch(f"/admin/api/users/{other['id']}", json={"telegram_chat_id": chat_id})
    assert contact(gateway, other)["address"] == chat_id and contact(gateway, person) == {}
    chat(gateway, person, chat_id)
    linked = changed(person, "linked")
    controller.say("nurture.evt.telegram.chats_changed", {"items": [linked]})
    with eventually() as until:
        until(lambda: contact(gateway, person).get("address") == chat_id)
    mine, theirs = contact(gateway, person), contact(gateway, other)
    assert (mine["state"], mine["consent"], mine["reason"]) == ("ok", "granted", None)
    assert theirs["address"] is None and theirs["state"] == "blocked" and "another person" in theirs["reason"]
    # An address that came later by hand stays, however often the old word is repeated.
    moved = new_chat()
    gateway.http.patch(f"/admin/api/users/{person['id']}", json={"telegram_chat_id": moved})
    controller.say("nurture.evt.telegram.chats_changed", {"items": [linked]})
    _settle(gateway, controller)
    assert contact(gateway, person)["address"] == moved
    # So does a chat that was given to somebody by hand after it was linked.
    gateway.http.patch(f"/admin/api/users/{other['id']}", json={"telegram_chat_id": chat_id})
    controller.say("nurture.evt.telegram.chats_changed", {"items": [linked, changed(person, "linked", 9_999_999)]})
    _settle(gateway, controller)
    assert contact(gateway, other)["address"] == chat_id and contact(gateway, person)["address"] == moved


def test_who_changes_a_wish_does_not_keep_a_chat_that_somebody_else_has_linked(
    gateway: Gateway, controller: Controller
) -> None:
    chat_id = new_chat()
    ada, bob = gateway.person(), gateway.person(telegram_chat_id=chat_id)
    chat(gateway, ada, chat_id)
    # The word of it is still on its way.
    wish = {"telegram": {"opt_in_announcements": False}}
    assert gateway.http.patch(f"/admin/api/users/{bob['id']}/preferences", json=wish).status_code == 200
    gateway.http.patch(f"/admin/api/users/{bob['id']}", json={"first_name": "Bob"})
    controller.say("nurture.evt.telegram.chats_changed", {"items": [changed(ada, "linked")]})
    with eventually() as until:
        until(lambda: contact(gateway, ada).get("address") == chat_id)
    assert contact(gateway, bob)["address"] is None


@pytest.mark.parametrize("swapped", [False, True])
def test_the_last_word_about_consent_stands(gateway: Gateway, controller: Controller, swapped: bool) -> None:
    person, chat_id = gateway.person(), new_chat()
    chat(gateway, person, chat_id)
    words = [changed(person, "linked"), changed(person, "stopped", 1)]
    for word in reversed(words) if swapped else words:
        controller.say("nurture.evt.telegram.chats_changed", {"items": [word]})
        _settle(gateway, controller)
    if swapped:
        controller.say("nurture.evt.telegram.chats_changed", {"items": words})
        _settle(gateway, controller)
    with eventually() as until:
        until(lambda: shown(gateway, person) == ("refused", "ok", "stopped"))
        controller.say("nurture.evt.telegram.chats_changed", {"items": [changed(person, "linked", 2)]})
        until(lambda: shown(gateway, person) == ("granted", "ok", None))


def test_a_change_of_mind_is_later_than_the_stop_that_it_takes_back(gateway: Gateway, controller: Controller) -> None:
    person, chat_id = gateway.person(), new_chat()
    chat(gateway, person, chat_id)
    preferences = f"/admin/api/users/{person['id']}/preferences"
    asks = "select consent, consent_at from public.contacts where user_id = $1 and channel = 'telegram'"

    def published() -> Any:
        return gateway.servers.sql(asks, person["id"])[0]

    # The room that heard the /stop has a clock that is ahead.
    ahead = int((datetime.now(UTC) - AT).total_seconds() / 60) + 5
    words = [changed(person, "linked"), changed(person, "stopped", ahead)]
    controller.say("nurture.evt.telegram.chats_changed", {"items": words})
    with eventually() as until:
        until(lambda: shown(gateway, person)[0] == "refused")
    stopped = published()["consent_at"]
    assert gateway.http.patch(preferences, json={"telegram": {"consent": "granted"}}).status_code == 200
    granted = published()
    assert granted["consent"] == "granted" and granted["consent_at"] > stopped > datetime.now(UTC)
    # What takes nothing back is no later word: a /stop may be on its way here.
    assert gateway.http.patch(preferences, json={"telegram": {"consent": "granted"}}).status_code == 200
    assert published() == granted
    controller.say("nurture.evt.telegram.chats_changed", {"items": [changed(person, "stopped", ahead + 5)]})
    with eventually() as until:
        until(lambda: shown(gateway, person)[0] == "refused")


def test_a_blocked_chat_is_blocked_until_it_is_not(gateway: Gateway, controller: Controller) -> None:
    person, chat_id = gateway.person(), new_chat()
    gateway.http.patch(f"/admin/api/users/{person['id']}", json={"telegram_chat_id": chat_id})
    for state, change, seen in (
        ("blocked", "blocked", ("granted", "blocked", "blocked by the person")),
        ("ok", "unblocked", ("granted", "ok", None)),
        ("gone", "gone", ("granted", "blocked", "gone")),
    ):
        chat(gateway, person, chat_id, state, linked=False)
        controller.say("nurture.evt.telegram.chats_changed", {"items": [changed(person, change)]})
        with eventually() as until:
            until(lambda seen=seen: shown(gateway, person) == seen)
    # Another address is another chat.
    gateway.http.patch(f"/admin/api/users/{person['id']}", json={"telegram_chat_id": new_chat()})
    controller.say("nurture.evt.telegram.chats_changed", {"items": [changed(person, "gone", 5)]})
    _settle(gateway, controller)
    assert contact(gateway, person)["state"] == "ok"


def _settle(gateway: Gateway, controller: Controller) -> None:
    """What was said before has been heard: a person who was linked after it has a contact."""
    marker, chat_id = gateway.person(), new_chat()
    chat(gateway, marker, chat_id)
    controller.say("nurture.evt.telegram.chats_changed", {"items": [changed(marker, "linked")]})
    with eventually() as until:
        until(lambda: bool(contact(gateway, marker)))


def test_a_click_in_a_telegram_message_is_that_channels(gateway: Gateway, controller: Controller) -> None:
    delivery, url = uuid4(), f"https://example.org/{uuid4().hex}"
    problem(
        gateway.anonymous.get(f"/t/c/{TOKENS.click_token(delivery, link_id(url), telegram=True)}"), 404, "not_found"
    )
    gateway.servers.sql("insert into telegram.links values ($1, $2)", link_id(url), url)
    answer = gateway.anonymous.get(f"/t/c/{TOKENS.click_token(delivery, link_id(url), telegram=True)}")
    assert answer.status_code == 302 and answer.headers["location"] == url
    page = controller.await_message(
        "tracking_hit", lambda m: any(i["delivery_id"] == str(delivery) for i in m["items"])
    )
    (hit,) = [item for item in page["items"] if item["delivery_id"] == str(delivery)]
    assert (hit["kind"], hit["channel"], hit["link"]) == ("clicked", "telegram", link_id(url))
