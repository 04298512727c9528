"""Whether a mailbox is the person's, over REST and by the page behind the link."""

from datetime import timedelta
from uuid import UUID, uuid4

from gateway_stand import TOKENS, Controller, Gateway
from test_health_and_pages import problem


def ask(gateway: Gateway, person: dict, controller: Controller) -> str:
    """Has the mail sent; returns the path that stands in it."""
    sent = gateway.post(f"/admin/api/users/{person['id']}/verification")
    assert sent.status_code == 202, sent.text
    assert (sent.json()["email_address"], sent.headers["location"]) == (person["email"], sent.json()["status_url"])
    mail = gateway.http.get(sent.json()["status_url"]).json()
    assert (mail["status"], mail["address"]) == ("queued", person["email"])
    heard = controller.await_message("send_emails", lambda message: mail["id"] in message["items"])
    assert heard["test"] is True
    return f"/v/{TOKENS.verify_token(UUID(mail['id']))}"


def test_a_look_changes_nothing_and_the_button_confirms_once(gateway: Gateway, controller: Controller) -> None:
    person = gateway.person()
    page, preferences = ask(gateway, person, controller), f"/admin/api/users/{person['id']}/preferences"
    assert "<button" in gateway.anonymous.get(page).text
    email = gateway.http.get(preferences).json()["email"]
    assert email["verification_sent_at"] and not email["is_verified"]
    assert gateway.anonymous.post(page).status_code == 200
    first = gateway.http.get(preferences).json()["email"]["verified_at"]
    assert first and "<button" not in gateway.anonymous.get(page).text
    assert gateway.anonymous.post(page).status_code == 200
    assert gateway.http.get(preferences).json()["email"]["verified_at"] == first
    problem(gateway.post(f"/admin/api/users/{person['id']}/verification"), 409, "already_verified")
    # The proof is the address's.
    gateway.http.patch(f"/admin/api/users/{person['id']}", json={"email": f"{uuid4().hex}@example.org"})
    assert gateway.http.get(preferences).json()["email"]["is_verified"] is False
    gateway.http.patch(f"/admin/api/users/{person['id']}", json={"email": person["email"]})
    assert gateway.http.get(preferences).json()["email"]["is_verified"] is True


def test_the_token_itself_is_kept_nowhere(gateway: Gateway, controller: Controller) -> None:
    page = ask(gateway, gateway.person(), controller)
    rows = gateway.servers.sql("select to_jsonb(v)::text as row from gateway.verifications v")
    rows += gateway.servers.sql("select to_jsonb(t)::text as row from gateway.test_messages t")
    assert rows and not any(page.rpartition("/")[2] in row["row"] for row in rows)


def test_old_and_foreign_links_say_so(gateway: Gateway, controller: Controller) -> None:
    page = ask(gateway, gateway.person(), controller)
    gateway.servers.sql("update gateway.verifications set expires_at = now() - $1::interval", timedelta(seconds=1))
    assert [gateway.anonymous.get(page).status_code, gateway.anonymous.post(page).status_code] == [410, 410]
    for foreign in ("/v/nonsense", f"/v/{TOKENS.verify_token(uuid4())}", f"/v/{TOKENS.open_token(uuid4())}"):
        assert [gateway.anonymous.get(foreign).status_code, gateway.anonymous.post(foreign).status_code] == [404, 404]


def test_a_mailbox_is_asked_once_a_minute_and_only_where_that_is_wanted(
    gateway: Gateway, controller: Controller
) -> None:
    person, key = gateway.person(), uuid4().hex
    url = f"/admin/api/users/{person['id']}/verification"
    ask(gateway, person, controller)
    hasty = gateway.post(url, key=key)
    problem(hasty, 429, "too_many_requests")
    assert 1 <= int(hasty.headers["retry-after"]) <= 60
    gateway.servers.sql("update gateway.verifications set sent_at = sent_at - interval '1 minute'")
    # What was only too early is not refused for good under its key.
    assert gateway.post(url, key=key).status_code == 202
    nowhere = gateway.person(email=None)
    problem(gateway.post(f"/admin/api/users/{nowhere['id']}/verification"), 409, "no_address")
    closed, left = gateway.person(), gateway.person()
    gateway.servers.sql("update gateway.contacts set state = 'bounced' where user_id = $1::text::uuid", closed["id"])
    problem(gateway.post(f"/admin/api/users/{closed['id']}/verification"), 409, "address_unusable")
    gateway.http.patch(f"/admin/api/users/{left['id']}/preferences", json={"email": {"consent": "refused"}})
    problem(gateway.post(f"/admin/api/users/{left['id']}/verification"), 409, "consent_refused")
    problem(gateway.post(f"/admin/api/users/{uuid4()}/verification"), 404, "person_not_found")
