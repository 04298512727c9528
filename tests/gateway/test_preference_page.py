"""A person's own page, behind the link in a message."""

from typing import Any
from uuid import UUID, uuid4

from gateway_stand import PUBLIC, TOKENS, Gateway


def page(gateway: Gateway, person: dict[str, Any]) -> str:
    return f"/p/{TOKENS.preferences_token(gateway.servers.delivery(person['id'], person['email']))}"


def shown(gateway: Gateway, person: dict[str, Any]) -> dict[str, Any]:
    return gateway.http.get(f"/admin/api/users/{person['id']}/preferences").json()


def test_the_tracked_link_of_a_message_leads_to_the_page_of_whoever_got_it(gateway: Gateway) -> None:
    person = gateway.person()
    delivery, link = gateway.servers.delivery(person["id"], person["email"]), gateway.servers.link(f"{PUBLIC}/p/")
    answer = gateway.anonymous.get(f"/t/c/{TOKENS.click_token(delivery, link)}")
    assert answer.status_code == 302
    assert answer.headers["location"] == f"{PUBLIC}/p/{TOKENS.preferences_token(delivery)}"
    # A test mail is nobody's, and another link stays as it is.
    assert (
        gateway.anonymous.get(f"/t/c/{TOKENS.click_token(delivery, link, test=True)}")
        .headers["location"]
        .endswith("/p/")
    )
    other = gateway.servers.link(f"{PUBLIC}/p/else")
    assert gateway.anonymous.get(f"/t/c/{TOKENS.click_token(delivery, other)}").headers["location"].endswith("/p/else")


def test_what_the_person_chooses_is_stored(gateway: Gateway) -> None:
    person = gateway.person(telegram_chat_id=uuid4().int % 10**12 + 1, preferred_time="07:45")
    url = page(gateway, person)
    first = gateway.anonymous.get(url)
    assert first.status_code == 200 and "<option selected>07:45</option>" in first.text
    assert first.text.count(" checked") == 4 and person["email"] not in first.text
    saved = gateway.anonymous.post(
        url,
        data={
            "email_announcements": "on",
            "telegram_sequences": "on",
            "preferred_channel": "telegram",
            "preferred_time": "evening",
            "timezone": "Asia/Tokyo",
        },
    )
    assert saved.status_code == 200 and "Saved." in saved.text
    now = shown(gateway, person)
    assert (now["preferred_channel"], now["preferred_time"], now["timezone"]) == ("telegram", "evening", "Asia/Tokyo")
    assert (now["email"]["opt_in_sequences"], now["email"]["opt_in_announcements"]) == (False, True)
    assert (now["telegram"]["opt_in_sequences"], now["telegram"]["opt_in_announcements"]) == (True, False)
    assert now["email"]["consent"] == "granted"
    # Nothing named is nothing wanted, and no channel preferred.
    assert gateway.anonymous.post(url, data={"timezone": "Asia/Tokyo"}).status_code == 200
    now = shown(gateway, person)
    assert now["preferred_channel"] is None and not now["telegram"]["opt_in_sequences"]
    assert now["preferred_time"] == "evening"


def test_the_person_can_come_back_after_unsubscribing(gateway: Gateway) -> None:
    person = gateway.person()
    url = page(gateway, person)
    delivery = TOKENS.read_preferences(url.rpartition("/")[2])
    assert isinstance(delivery, UUID)
    gateway.anonymous.post(f"/u/{TOKENS.unsubscribe_token(delivery)}")
    assert " checked" not in gateway.anonymous.get(url).text
    # Saving the form as it is does not end the refusal.
    gateway.anonymous.post(url, data={"timezone": "UTC"})
    assert shown(gateway, person)["email"]["consent"] == "refused"
    gateway.anonymous.post(url, data={"email_sequences": "on"})
    assert shown(gateway, person)["email"]["consent"] == "granted"
    assert shown(gateway, person)["email"]["opt_in_sequences"]


def test_what_cannot_be_stored_is_said_and_nothing_is(gateway: Gateway) -> None:
    person = gateway.person()
    url = page(gateway, person)
    wrong = gateway.anonymous.post(url, data={"timezone": "Mars/<b>", "email_sequences": "on"})
    assert wrong.status_code == 400 and "Nothing was saved" in wrong.text and "<b>" not in wrong.text
    assert shown(gateway, person)["timezone"] == "UTC" and shown(gateway, person)["email"]["opt_in_announcements"]
    for foreign in ("/p/nonsense", f"/p/{TOKENS.preferences_token(uuid4())}", f"/p/{TOKENS.open_token(uuid4())}"):
        assert [gateway.anonymous.get(foreign).status_code, gateway.anonymous.post(foreign).status_code] == [404, 404]
