"""Addresses that get no mail: what providers reported and what operators say, in one list that people's contacts follow."""

from urllib.parse import quote
from uuid import UUID, uuid4

from browser import Browser
from gateway_stand import KEY, TOKENS, Controller, Gateway
from test_health_and_pages import problem
from test_inbound import consent, eventually, suppression

HOME = "/admin/api/email/suppressions"
PAGE = "/admin/dashboard/email/suppressions"


def report(gateway: Gateway, address: str, reason: str = "bounced", at: str = "2026-01-05T09:00:00Z") -> None:
    """What the email service keeps once a provider has said it."""
    gateway.servers.sql(
        "insert into email.suppressions values (lower($1), $2, $3::text::timestamptz, $4)"
        " on conflict (address_key) do update set reason = excluded.reason, at = excluded.at",
        address, reason, at, uuid4(),
    )  # fmt: skip


def lift(gateway: Gateway, address: str, **params: str) -> object:
    return gateway.http.delete(f"{HOME}/{quote(address, safe='')}", params=params)


def test_an_address_that_is_known_to_be_dead_is_dead_for_whoever_gets_it(gateway: Gateway) -> None:
    person = gateway.person()
    address, url = person["email"], f"/admin/api/users/{person['id']}"
    report(gateway, address)
    for email in (None, address.upper()):
        assert gateway.http.patch(url, json={"email": email}).status_code == 200
    assert (consent(gateway, person)["state"], consent(gateway, person)["reason"]) == (
        "bounced",
        "reported by the provider",
    )
    gateway.http.patch(url, json={"email": f"new-{address}"})
    assert consent(gateway, person)["state"] == "ok"
    other = gateway.person(email=address)
    assert consent(gateway, other)["state"] == "bounced"


def test_a_report_closes_the_address_whoever_has_it_by_then(gateway: Gateway, controller: Controller) -> None:
    first = gateway.person()
    address, delivery = first["email"], gateway.servers.delivery(first["id"], first["email"])
    gateway.http.patch(f"/admin/api/users/{first['id']}", json={"email": None})
    second = gateway.person(email=address)
    assert consent(gateway, second)["state"] == "ok"
    controller.say("nurture.evt.email.addresses_suppressed", {"items": [suppression(first, delivery, "bounced")]})
    with eventually() as until:
        until(lambda: consent(gateway, second)["state"] == "bounced")


def test_the_list_is_paged_and_filtered(gateway: Gateway) -> None:
    start = uuid4().hex[:10]
    for number in range(5):
        report(
            gateway,
            f"{start}-{number}@x.test",
            "complained" if number == 3 else "bounced",
            f"2026-01-0{number + 1}T00:00:00Z",
        )
    url, seen = f"{HOME}?q={start.upper()}&limit=2", []
    while url:
        told = gateway.http.get(url).json()
        seen += [item["address"].removeprefix(f"{start}-") for item in told["items"]]
        url = told["next"] and f"{HOME}?q={start}&limit=2&cursor={told['next']}"
    assert seen == [f"{number}@x.test" for number in (4, 3, 2, 1, 0)]
    only = gateway.http.get(f"{HOME}?q={start}&reason=complained").json()["items"]
    assert [item["address"] for item in only] == [f"{start}-3@x.test"]
    assert gateway.http.get(f"{HOME}?q={start}_").json()["items"] == [], "an underscore is a letter like others"


def test_a_lifted_address_is_written_to_until_the_next_report(gateway: Gateway, controller: Controller) -> None:
    person = gateway.person()
    delivery = gateway.servers.delivery(person["id"], person["email"])
    page = {"items": [suppression(person, delivery, "bounced")]}
    report(gateway, person["email"])
    controller.say("nurture.evt.email.addresses_suppressed", page)
    with eventually() as until:
        until(lambda: consent(gateway, person)["state"] == "bounced")
    before = lift(gateway, person["email"].upper()).json()
    assert (before["address"], before["reason"], before["user_id"]) == (person["email"], "bounced", person["id"])
    assert (consent(gateway, person)["state"], consent(gateway, person)["reason"]) == ("ok", None)
    problem(lift(gateway, person["email"]), 404, "not_found")
    # What is heard again of the time before says nothing.
    controller.say("nurture.evt.email.addresses_suppressed", page)
    marker = gateway.person()
    late = gateway.servers.delivery(marker["id"], marker["email"])
    controller.say("nurture.evt.email.addresses_suppressed", {"items": [suppression(marker, late, "bounced")]})
    with eventually() as until:
        until(lambda: consent(gateway, marker)["state"] == "bounced")
    assert consent(gateway, person)["state"] == "ok"
    # A new report closes it again.
    report(gateway, person["email"], at="2100-01-01T00:00:00Z")
    again = suppression(person, delivery, "bounced") | {"at": "2100-01-01T00:00:00Z"}
    controller.say("nurture.evt.email.addresses_suppressed", {"items": [again]})
    with eventually() as until:
        until(lambda: consent(gateway, person)["state"] == "bounced")
    assert gateway.http.get(f"{HOME}?q={person['email']}").json()["items"][0]["at"].startswith("2100")
    # A provider's clock may be ahead of ours: lifted is lifted.
    assert lift(gateway, person["email"]).status_code == 200
    assert gateway.http.get(f"{HOME}?q={person['email']}").json()["items"] == []


def test_a_complaint_is_lifted_only_by_who_knows_of_it(gateway: Gateway) -> None:
    person = gateway.person()
    report(gateway, person["email"], "complained")
    problem(lift(gateway, person["email"]), 409, "address_complained")
    assert lift(gateway, person["email"], although_complained="true").status_code == 200
    problem(lift(gateway, "nobody"), 400, "malformed_request")


def test_an_address_is_closed_by_hand_and_lifted(gateway: Gateway) -> None:
    person = gateway.person()
    answer = gateway.post(
        HOME, {"address": person["email"].upper(), "note": "belongs to somebody else"}, key=(key := uuid4().hex)
    )
    told = answer.json()
    assert (answer.status_code, told["reason"], told["note"]) == (201, "manual", "belongs to somebody else")
    assert (told["address"], told["user_id"], told["delivery_id"]) == (person["email"], person["id"], None)
    assert (
        gateway.post(HOME, {"address": person["email"].upper(), "note": "belongs to somebody else"}, key=key).json()
        == told
    )
    assert gateway.post(HOME, {"address": person["email"]}).status_code == 200
    assert (consent(gateway, person)["state"], consent(gateway, person)["reason"]) == ("suppressed", "closed by hand")
    assert consent(gateway, person)["consent"] == "granted"
    assert gateway.http.get("/admin/api/email/stats").json()["suppressed_addresses"]["manual"] >= 1
    assert lift(gateway, person["email"]).status_code == 200
    assert consent(gateway, person)["state"] == "ok"
    # Nobody has it yet: it counts once somebody does.
    name = uuid4().hex
    assert gateway.post(HOME, {"address": f"{name}@example.org"}).json()["user_id"] is None
    assert consent(gateway, gateway.person(email=f"{name}@example.org"))["state"] == "suppressed"
    problem(gateway.post(HOME, {"address": "nobody"}), 400, "malformed_request")


def test_the_page_does_what_the_api_does(gateway: Gateway) -> None:
    browser: Browser = gateway.stranger()
    assert browser.sign_in(KEY).status_code == 303
    person = gateway.person()
    page = browser.done(PAGE, PAGE, address=person["email"], note="<b>by phone</b>")
    assert f"No mail goes to {person['email']} any more." in page and "&lt;b&gt;by phone" in page
    assert f"{PAGE}?q=" in browser.page(f"/admin/dashboard/users/{person['id']}")
    search = f"{PAGE}?q={quote(person['email'])}"
    page = browser.done(search, f"{PAGE}/lift", address=person["email"])
    assert f"Mails go to {person['email']} again." in page
    assert "No closed address begins with" in browser.page(search)
    report(gateway, person["email"], "complained", "2100-01-01T00:00:00Z")
    assert "although_complained" in browser.page(search) and "reported a mail as spam" in browser.page(search)
    assert browser.send(PAGE, PAGE, address="nobody").status_code == 400


def test_who_unsubscribes_in_a_mail_that_asked_for_their_address_is_heard(
    gateway: Gateway, controller: Controller
) -> None:
    person = gateway.person()
    mail = gateway.post(f"/admin/api/users/{person['id']}/verification").json()["status_url"].rpartition("/")[2]
    token = TOKENS.unsubscribe_token(UUID(mail), test=True)
    assert "<form" in gateway.anonymous.get(f"/u/{token}").text
    assert "You are unsubscribed" in gateway.anonymous.post(f"/u/{token}").text
    assert (consent(gateway, person)["consent"], consent(gateway, person)["reason"]) == ("refused", "unsubscribed")
    test = gateway.post("/admin/api/email/test", {"email_address": person["email"]}).json()["id"]
    token = TOKENS.unsubscribe_token(UUID(test), test=True)
    for answer in (gateway.anonymous.get(f"/u/{token}"), gateway.anonymous.post(f"/u/{token}")):
        assert answer.status_code == 200 and "nothing to unsubscribe from" in answer.text
