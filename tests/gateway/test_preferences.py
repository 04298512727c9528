"""What a person wants, over REST, and what it means for those who send."""

from typing import Any
from uuid import uuid4

from gateway_stand import TOKENS, Gateway
from test_health_and_pages import problem


def contact(gateway: Gateway, person: dict[str, Any], channel: str = "email") -> dict[str, Any]:
    (row,) = gateway.servers.sql(
        "select * from public.contacts where user_id = $1::text::uuid and channel = $2", person["id"], channel
    )
    return dict(row)


def test_preferences_are_shown_and_changed_by_name(gateway: Gateway) -> None:
    person = gateway.person(timezone="Europe/Berlin")
    url = f"/admin/api/users/{person['external_id']}/preferences"
    shown = gateway.http.get(url).json()
    assert (shown["user_id"], shown["timezone"], shown["preferred_time"]) == (person["id"], "Europe/Berlin", "morning")
    assert shown["telegram"] is None and shown["email"]["opt_in_sequences"] and not shown["email"]["is_verified"]
    change = {
        "preferred_channel": "telegram",
        "preferred_time": "20:15",
        "timezone": "America/New_York",
        "email": {"opt_in_announcements": False},
        "telegram": {"opt_in_sequences": False},
    }
    changed = gateway.http.patch(url, json=change)
    assert changed.status_code == 200, changed.text
    told = changed.json()
    assert {name: told[name] for name in ("preferred_channel", "preferred_time", "timezone")} == {
        name: change[name] for name in ("preferred_channel", "preferred_time", "timezone")
    }
    assert (told["email"]["opt_in_sequences"], told["email"]["opt_in_announcements"]) == (True, False)
    # Said before there is an address, and kept for the day on which there is one.
    assert (told["telegram"]["address"], told["telegram"]["opt_in_sequences"]) == (None, False)
    gateway.http.patch(f"/admin/api/users/{person['id']}", json={"telegram_chat_id": uuid4().int % 10**12 + 1})
    assert contact(gateway, person, "telegram")["consent"] == "refused"
    assert gateway.http.get(url).json()["telegram"]["opt_in_sequences"] is False
    assert gateway.http.patch(url, json={"preferred_channel": None}).json()["preferred_channel"] is None


def test_wanting_no_sequences_is_a_refusal_for_planning_and_ends_when_they_are_wanted(gateway: Gateway) -> None:
    person = gateway.person()
    url = f"/admin/api/users/{person['id']}/preferences"
    for wanted, consent in ((False, "refused"), (True, "granted")):
        gateway.http.patch(url, json={"email": {"opt_in_sequences": wanted}})
        assert contact(gateway, person)["consent"] == consent


def test_each_switch_is_its_own_for_those_who_send_and_for_those_who_ask_why(gateway: Gateway) -> None:
    person = gateway.person()
    url = f"/admin/api/users/{person['id']}"
    for sequences, announcements, reason in (
        (True, True, None),
        (True, False, "wants no announcements"),
        (False, True, "wants no sequences"),
        (False, False, "wants neither sequences nor announcements"),
    ):
        wanted = {"opt_in_sequences": sequences, "opt_in_announcements": announcements}
        gateway.http.patch(f"{url}/preferences", json={"email": wanted})
        told = contact(gateway, person)
        # Services of the version before know `consent` alone, which is about sequences.
        assert (told["consent"] == "granted", told["announcement_consent"] == "granted") == (sequences, announcements)
        assert told["unsubscribed"] is False
        (why,) = gateway.http.get(f"{url}/why").json()["contacts"]
        assert wanted.items() <= why.items() and (why["consent"], why["reason"]) == ("granted", reason)
    gateway.http.patch(f"{url}/preferences", json={"email": wanted | {"consent": "refused"}})
    told = contact(gateway, person)
    assert (told["consent"], told["announcement_consent"], told["unsubscribed"]) == ("refused", "refused", True)
    gateway.http.patch(
        f"{url}/preferences",
        json={"email": {"consent": "granted", "opt_in_sequences": True, "opt_in_announcements": True}},
    )
    gateway.http.patch(f"{url}/preferences", json={"email": {"consent": "refused"}})
    (why,) = gateway.http.get(f"{url}/why").json()["contacts"]
    assert (why["consent"], why["opt_in_sequences"], why["opt_in_announcements"]) == ("refused", False, False)


def test_an_unsubscription_stands_until_the_person_takes_it_back(gateway: Gateway) -> None:
    person = gateway.person()
    url = f"/admin/api/users/{person['id']}/preferences"
    delivery = gateway.servers.delivery(person["id"], person["email"])
    assert gateway.anonymous.post(f"/u/{TOKENS.unsubscribe_token(delivery)}").status_code == 200
    shown = gateway.http.get(url).json()["email"]
    assert (shown["opt_in_sequences"], shown["consent"], shown["reason"]) == (False, "refused", "unsubscribed")
    first = shown["unsubscribed_at"]
    told = problem(gateway.http.patch(url, json={"email": {"opt_in_sequences": True}}), 409, "consent_refused")
    assert told["errors"][0]["field"] == "email" and "granted" in told["hint"]
    assert contact(gateway, person)["consent"] == "refused"
    back = gateway.http.patch(url, json={"email": {"opt_in_sequences": True, "consent": "granted"}}).json()["email"]
    assert (back["opt_in_sequences"], back["reason"], back["unsubscribed_at"]) == (True, None, None)
    assert gateway.anonymous.post(f"/u/{TOKENS.unsubscribe_token(delivery)}").status_code == 200
    assert gateway.http.get(url).json()["email"]["unsubscribed_at"] > first


def test_another_address_is_no_other_word(gateway: Gateway) -> None:
    person = gateway.person()
    url = f"/admin/api/users/{person['id']}"
    gateway.anonymous.post(f"/u/{TOKENS.unsubscribe_token(gateway.servers.delivery(person['id'], person['email']))}")
    for address, reason in (
        (f"{uuid4().hex}@example.org", "unsubscribed"),
        (None, "address removed"),
        (f"{uuid4().hex}@example.org", "unsubscribed"),
    ):
        gateway.http.patch(url, json={"email": address})
        shown = gateway.http.get(f"{url}/preferences").json()["email"]
        assert (shown["consent"], shown["reason"]) == ("refused", reason)


def test_what_makes_no_sense_is_refused_with_the_field(gateway: Gateway) -> None:
    url = f"/admin/api/users/{gateway.person()['id']}/preferences"
    for body, field in (
        ({"preferred_time": "teatime"}, "preferred_time"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"preferred_channel": "post"}, "preferred_channel"),
        ({"email": {"opt_in": True}}, "email.opt_in"),
        ({"email": {"consent": "maybe"}}, "email.consent"),
        ({"mail": {}}, "mail"),
    ):
        told = problem(gateway.http.patch(url, json=body), 400, "malformed_request")
        assert told["errors"][0]["field"].removeprefix("data.") == field, told
    problem(gateway.http.get(f"/admin/api/users/{uuid4()}/preferences"), 404, "person_not_found")
