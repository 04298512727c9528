"""Webhooks, tracking links, unsubscribing: stored before they are answered, and nothing but ids passed on."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx
import pytest
from gateway_stand import EARLIER, TOKENS, Controller, Gateway, eventually
from nurture_chassis.tokens import Tokens
from test_health_and_pages import problem

FIREFOX = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}


def consent(gateway: Gateway, person: dict) -> dict:
    contacts = gateway.http.get(f"/admin/api/users/{person['id']}").json()["contacts"]
    return next(contact for contact in contacts if contact["channel"] == "email")


def test_a_signed_webhook_is_stored_and_passed_on_as_ids(gateway: Gateway, controller: Controller) -> None:
    delivery, provider = str(uuid4()), f"re_{uuid4().hex}"
    event = {
        "type": "email.delivered", "created_at": "2026-01-05T09:00:03Z",
        "data": {"email_id": provider, "to": ["ada@example.org"], "subject": "Secret", "tags": {"delivery_id": delivery}},
    }  # fmt: skip
    assert gateway.webhook(event).status_code == 200
    rows = gateway.servers.sql(
        "select items::text from gateway.inbound_pages where kind = 'webhooks' and items::text like $1", f"%{provider}%"
    )
    assert len(rows) == 1 and "ada@example.org" not in rows[0][0] and "Secret" not in rows[0][0]
    page = controller.await_message(
        "email_webhooks_received", lambda m: any(i["provider_id"] == provider for i in m["items"])
    )
    (item,) = [item for item in page["items"] if item["provider_id"] == provider]
    assert (
        item["delivery_id"] == delivery and item["type"] == "email.delivered" and item["webhook_id"].startswith("msg_")
    )


@pytest.mark.parametrize("event", [{"type": "email.some_new_thing"}, {"data": 5}, {}, b"not json", b"", b"[]"])
def test_whatever_is_signed_is_answered_200(gateway: Gateway, event: object) -> None:
    assert gateway.webhook(event).status_code == 200


def test_forged_and_stale_webhooks_are_401(gateway: Gateway) -> None:
    event = {"type": "email.delivered"}
    problem(gateway.webhook(event, key=b"another secret of some length"), 401, "bad_signature")
    problem(gateway.webhook(event, at=1_700_000_000), 401, "bad_signature")
    problem(gateway.webhook(event, **{"svix-signature": "nocomma"}), 401, "bad_signature")
    problem(gateway.anonymous.post("/admin/api/email/webhook", json=event), 401, "bad_signature")


def test_webhooks_of_one_moment_share_a_transaction(gateway: Gateway) -> None:
    pages = gateway.servers.sql("select count(*) from gateway.inbound_pages")[0][0]
    mark = f"re_{uuid4().hex}"
    with ThreadPoolExecutor(20) as pool:
        answers = list(
            pool.map(lambda n: gateway.webhook({"type": "email.sent", "data": {"email_id": f"{mark}_{n}"}}), range(200))
        )
    assert {answer.status_code for answer in answers} == {200}
    assert gateway.servers.sql("select count(*) from gateway.inbound_pages")[0][0] - pages < 120
    query = "select count(distinct i->>'provider_id') from gateway.inbound_pages, jsonb_array_elements(items) i"
    query += " where i->>'provider_id' like $1"
    assert gateway.servers.sql(query, f"{mark}%")[0][0] == 200


def test_a_pixel_is_always_a_pixel_and_counts_once_per_look(gateway: Gateway, controller: Controller) -> None:
    delivery = uuid4()
    token = TOKENS.open_token(delivery)
    assert gateway.anonymous.head(f"/t/o/{token}").status_code == 200
    for path in (f"/t/o/{token}", "/t/o/nonsense", f"/t/o/{TOKENS.unsubscribe_token(delivery)}"):
        answer = gateway.anonymous.get(path, headers=FIREFOX)
        assert answer.status_code == 200 and len(answer.content) == 43 and answer.content.startswith(b"GIF89a")
        assert answer.headers["cache-control"] == "no-store" and answer.headers["content-type"] == "image/gif"
    page = controller.await_message(
        "tracking_hit", lambda m: any(i["delivery_id"] == str(delivery) for i in m["items"])
    )
    (hit,) = [item for item in page["items"] if item["delivery_id"] == str(delivery)]
    assert (hit["kind"], hit["signal"], hit["test"]) == ("opened", "human", False)
    stored = "select count(*) from gateway.inbound_pages, jsonb_array_elements(items) i where i->>'delivery_id' = $1"
    assert gateway.servers.sql(stored, str(delivery))[0][0] == 1


def test_a_link_leads_to_its_stored_target_only(gateway: Gateway, controller: Controller) -> None:
    delivery, url = uuid4(), f"https://example.org/{uuid4().hex}?a=1&b=2#c"
    token = TOKENS.click_token(delivery, gateway.servers.link(url), test=True)
    answer = gateway.anonymous.get(f"/t/c/{token}?url=https://evil.example", headers=FIREFOX)
    assert answer.status_code == 302 and answer.headers["location"] == url
    assert answer.headers["referrer-policy"] == "no-referrer" and answer.headers["cache-control"] == "no-store"
    page = controller.await_message(
        "tracking_hit", lambda m: any(i["delivery_id"] == str(delivery) for i in m["items"])
    )
    (hit,) = [item for item in page["items"] if item["delivery_id"] == str(delivery)]
    assert hit["kind"] == "clicked" and hit["link"] == gateway.servers.link(url) and hit["test"] is True
    head = uuid4()
    assert gateway.anonymous.head(f"/t/c/{TOKENS.click_token(head, gateway.servers.link(url))}").status_code == 302
    for bad in (
        token[:-2] + ("AA" if not token.endswith("AA") else "BB"), "x", TOKENS.open_token(delivery),
        TOKENS.click_token(delivery, "0" * 16), TOKENS.click_token(delivery, gateway.servers.link("javascript:alert(1)")),
        Tokens("another secret").click_token(delivery, gateway.servers.link(url)),
    ):  # fmt: skip
        answer = gateway.anonymous.get(f"/t/c/{bad}")
        problem(answer, 404, "not_found")
        assert "location" not in answer.headers
    marker = uuid4()
    gateway.anonymous.get(f"/t/o/{TOKENS.open_token(marker)}")
    controller.await_message("tracking_hit", lambda m: any(i["delivery_id"] == str(marker) for i in m["items"]))
    assert not any(str(head) in str(message) for _, message in controller.heard)


def test_unsubscribing_shows_on_get_and_acts_on_post(gateway: Gateway, controller: Controller) -> None:
    person = gateway.person()
    delivery = gateway.servers.delivery(person["id"], person["email"])
    path = f"/u/{TOKENS.unsubscribe_token(delivery)}"
    page = gateway.anonymous.get(path)
    assert page.status_code == 200 and '<form method="post">' in page.text and person["email"] not in page.text
    assert consent(gateway, person)["consent"] == "granted"
    done = gateway.anonymous.post(path, data={"List-Unsubscribe": "One-Click"})
    assert done.status_code == 200 and consent(gateway, person)["consent"] == "refused"
    page = controller.await_message(
        "tracking_hit", lambda m: any(i["delivery_id"] == str(delivery) for i in m["items"])
    )
    assert page["items"][0]["kind"] == "unsubscribed"
    first = consent(gateway, person)["changed_at"]
    again = gateway.anonymous.post(path, files={"List-Unsubscribe": (None, "One-Click")})
    assert again.status_code == 200 and consent(gateway, person)["changed_at"] == first
    assert gateway.anonymous.post(path).status_code == 200
    seen = gateway.servers.sql(
        "select unsubscribed_at, opt_in_sequences from public.user_email_preferences where user_id = $1", person["id"]
    )
    assert seen[0]["unsubscribed_at"] is not None and seen[0]["opt_in_sequences"] is False


def test_a_refusal_outlives_the_address(gateway: Gateway) -> None:
    person = gateway.person()
    delivery = gateway.servers.delivery(person["id"], person["email"])
    gateway.http.patch(f"/admin/api/users/{person['id']}", json={"email": None})
    assert gateway.anonymous.post(f"/u/{TOKENS.unsubscribe_token(delivery)}").status_code == 200
    gateway.http.patch(f"/admin/api/users/{person['id']}", json={"email": f"new-{person['email']}"})
    now = consent(gateway, person)
    assert (now["state"], now["consent"]) == ("ok", "refused")
    never = gateway.person(email=None)
    other = gateway.servers.delivery(never["id"], "gone@example.org")
    assert gateway.anonymous.post(f"/u/{TOKENS.unsubscribe_token(other)}").status_code == 200
    assert consent(gateway, never)["consent"] == "refused"


@pytest.mark.parametrize("key", EARLIER)
def test_a_link_made_under_an_earlier_key_still_works(gateway: Gateway, key: str) -> None:
    person = gateway.person()
    delivery = gateway.servers.delivery(person["id"], person["email"])
    path = f"/u/{Tokens(key).unsubscribe_token(delivery)}"
    assert gateway.anonymous.get(path).status_code == 200
    assert gateway.anonymous.post(path).status_code == 200
    assert consent(gateway, person)["consent"] == "refused"


def test_unknown_and_test_tokens_change_nothing(gateway: Gateway) -> None:
    person = gateway.person()
    delivery = gateway.servers.delivery(person["id"], person["email"])
    before = gateway.servers.sql("select count(*), max(changed_at) from gateway.contacts")
    for token, status in (
        (TOKENS.unsubscribe_token(uuid4()), 404), ("x" * 40, 404), (TOKENS.open_token(delivery), 404),
        (Tokens("other").unsubscribe_token(delivery), 404), (TOKENS.unsubscribe_token(delivery, test=True), 200),
    ):  # fmt: skip
        for answer in (gateway.anonymous.get(f"/u/{token}"), gateway.anonymous.post(f"/u/{token}")):
            assert answer.status_code == status and "<form" not in answer.text
    assert gateway.servers.sql("select count(*), max(changed_at) from gateway.contacts") == before


def suppression(person: dict, delivery: object, reason: str) -> dict:
    return {
        "user_id": person["id"],
        "channel": "email",
        "delivery_id": str(delivery),
        "reason": reason,
        "at": "2026-01-05T09:00:00Z",
    }


def test_a_suppression_binds_the_address_it_is_about_and_the_worst_one_stands(
    gateway: Gateway, controller: Controller
) -> None:
    stays, moved = gateway.person(), gateway.person()
    first = gateway.servers.delivery(stays["id"], stays["email"].upper())
    second = gateway.servers.delivery(moved["id"], moved["email"])
    gateway.http.patch(f"/admin/api/users/{moved['id']}", json={"email": f"new-{moved['email']}"})
    page = [
        suppression(stays, first, "complained"),
        suppression(stays, first, "bounced"),
        suppression(moved, second, "bounced"),
    ]
    controller.say("nurture.evt.email.addresses_suppressed", {"items": page})
    with eventually() as until:
        until(lambda: consent(gateway, stays)["state"] == "complained")
    assert consent(gateway, moved)["state"] == "ok"
    controller.say("nurture.evt.email.addresses_suppressed", {"items": [suppression(stays, first, "bounced")]})
    marker = gateway.person()
    last = gateway.servers.delivery(marker["id"], marker["email"])
    controller.say("nurture.evt.email.addresses_suppressed", {"items": [suppression(marker, last, "suppressed")]})
    with eventually() as until:
        until(lambda: consent(gateway, marker)["state"] == "suppressed")
    assert consent(gateway, stays)["state"] == "complained"
    # Another spelling of a dead address is as dead; another address is not.
    url = f"/admin/api/users/{stays['id']}"
    assert (
        gateway.http.patch(url, json={"email": stays["email"].title()}).json()["contacts"][0]["state"] == "complained"
    )
    assert gateway.http.patch(url, json={"email": f"other-{stays['email']}"}).json()["contacts"][0]["state"] == "ok"


def test_no_page_for_readers_sets_a_cookie(gateway: Gateway) -> None:
    answers: list[httpx.Response] = [gateway.anonymous.get(path) for path in ("/", "/docs", "/u/x", "/t/o/x", "/t/c/x")]
    assert not any("set-cookie" in answer.headers for answer in answers)
