"""The pages of the dashboard over HTTP: what they show, what their forms do, and what comes by itself."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import httpx
import pytest
from browser import Browser
from gateway_stand import PUBLIC, Controller, Gateway

HOME = "/admin/dashboard"
SEQUENCES, EMAIL, USERS = f"{HOME}/sequences", f"{HOME}/email", f"{HOME}/users"


@pytest.fixture
def browser(gateway: Gateway) -> Browser:
    return gateway.browser()


@pytest.fixture(scope="session", autouse=True)
def onboarding(gateway: Gateway) -> None:
    gateway.servers.sql(
        "insert into controller.sequences values ($1, 'onboarding', 1, $2, 'x', now()) on conflict do nothing",
        uuid4(), {"steps": [{}, {}, {}]},
    )  # fmt: skip


def enrolled(user_id: str) -> dict[str, Any]:
    return {
        "enrolment_id": str(uuid4()), "user_id": user_id, "sequence_type": "onboarding", "version": 1, "step": 1,
        "channel": "telegram", "scheduled_at": "2026-01-05T09:00:00Z",
    }  # fmt: skip


def running(gateway: Gateway, user_id: str) -> str:
    """An enrolment as the controller would have made it."""
    enrolment_id = str(uuid4())
    gateway.servers.sql(
        "insert into controller.enrolments"
        " (id, command_id, user_id, sequence_id, sequence_type, step, state, started_at, next_at)"
        " select $1, $2, $3, id, type, 2, 'active', now(), now() + interval '3 hours' from controller.sequences"
        " where type = 'onboarding'",
        enrolment_id, uuid4(), user_id,
    )  # fmt: skip
    return enrolment_id


def test_a_trigger_reaches_the_controller_with_channel_and_context(
    gateway: Gateway, browser: Browser, controller: Controller
) -> None:
    person = gateway.person()
    controller.answer = lambda subject, command: (201, enrolled(person["id"])) if "start" in subject else None
    fields = browser.hidden(SEQUENCES, f"{SEQUENCES}/trigger") | {
        "user_id": person["external_id"], "sequence_type": "onboarding", "override_channel": "telegram",
        "context": '{"goal": "5 km"}',
    }  # fmt: skip
    answer = browser.http.post(f"{SEQUENCES}/trigger", data=fields)
    assert answer.status_code == 303
    told = browser.page(answer.headers["location"].partition("#")[0])
    assert f"onboarding started for {person['external_id']}: step 1 by telegram." in told
    assert "started for" not in browser.page(SEQUENCES), "it is said once"
    command = controller.await_message("start_sequences", lambda body: body["user_ids"] == [person["id"]])
    assert command["override_channel"] == "telegram" and command["context"] == {"goal": "5 km"}
    # The same form again, as a second click sends it: the same command, and nobody hears of it twice.
    assert browser.http.post(f"{SEQUENCES}/trigger", data=fields).status_code == 303
    heard = [body for subject, body in controller.heard if subject.endswith("start_sequences")]
    assert [body["command_id"] for body in heard if body["user_ids"] == [person["id"]]] == [command["command_id"]]


def test_a_refused_form_keeps_what_was_typed_and_says_what_is_wrong(
    gateway: Gateway, browser: Browser, controller: Controller
) -> None:
    def send(**fields: str) -> httpx.Response:
        return browser.send(SEQUENCES, f"{SEQUENCES}/trigger", sequence_type="onboarding", **fields)

    nobody = send(user_id="nobody-17", context='{"a": 1}')
    assert nobody.status_code == 404 and "There is no person" in nobody.text and 'value="nobody-17"' in nobody.text
    assert "{&#34;a&#34;: 1}" in nobody.text
    unreadable = send(user_id="x", context="goal: 5 km")
    assert unreadable.status_code == 400 and "must be a JSON object" in unreadable.text
    assert send(user_id="").status_code == 400
    person = gateway.person()
    refusal = {"code": "already_running", "detail": "This sequence runs already.", "hint": "Wait, or cancel it."}
    controller.answer = lambda subject, command: (409, refusal) if "start" in subject else None
    conflict = send(user_id=person["id"])
    assert conflict.status_code == 409 and "This sequence runs already." in conflict.text
    assert "Wait, or cancel it." in conflict.text


def test_who_is_in_a_sequence_is_shown_and_can_be_taken_out(
    gateway: Gateway, browser: Browser, controller: Controller
) -> None:
    person, other = gateway.person(first_name="Grace"), gateway.person(first_name="Linus")
    enrolment_id = running(gateway, person["id"])
    running(gateway, other["id"])
    page = browser.page(f"{SEQUENCES}?user={person['external_id']}")
    assert "Grace" in page and "Linus" not in page and "step 2 of 3" in page and "in 2 h" in page
    controller.answer = lambda subject, command: (200, {"cancelled": 1}) if "cancel" in subject else None
    told = browser.done(SEQUENCES, f"{SEQUENCES}/cancel", enrolment_id=enrolment_id)
    assert "Cancelled." in told
    controller.await_message("cancel_enrolments", lambda body: body["enrolment_id"] == enrolment_id)
    assert "There is no person" in browser.page(f"{SEQUENCES}?user=nobody-17")


def test_pausing_and_resuming(gateway: Gateway, browser: Browser, controller: Controller) -> None:
    held = {"type": "onboarding", "enrolments": 3, "holds": []}
    controller.answer = lambda subject, command: (
        (200, held | {"paused": command["paused"]}) if "pause" in subject else None
    )
    assert "onboarding is paused." in browser.done(SEQUENCES, f"{SEQUENCES}/pause", sequence_type="onboarding")
    assert controller.await_message("pause_sequence", lambda body: body["sequence_type"] == "onboarding")["paused"]
    assert "Everything is paused." in browser.done(SEQUENCES, f"{SEQUENCES}/pause", sequence_type="")
    assert controller.await_message("pause_sequence", lambda body: body["sequence_type"] == "*")["paused"]
    assert gateway.post("/admin/api/nurture/resume", {}).status_code == 200
    overview = browser.page("/admin/dashboard")
    assert overview.index("resume everything") < overview.index("pause everything") < overview.index("pause onboarding")


def test_a_test_mail_is_sent_and_followed(browser: Browser, controller: Controller) -> None:
    address = f"{uuid4().hex[:8]}@example.org"
    told = browser.done(EMAIL, f"{EMAIL}/test", email_address=address, user_name="Ada", template_type="welcome_email")
    assert f"A test mail to {address} is on its way" in told and "queued" in told
    command = controller.await_message("send_emails", lambda body: body["test"])
    test_id = command["items"][0]
    item = {"delivery_id": test_id, "kind": "sent", "at": "2026-01-05T09:00:00Z", "event_id": str(uuid4())}
    with streamed(browser, f"{EMAIL}/live") as events:
        next(events)
        controller.say("nurture.evt.email.test_progressed", {"items": [item]})
        assert any(name == "tests" and address in data and ">sent<" in data for name, data in events)
        # Whoever goes live learns here what the provider has against it.
        refusal = item | {"kind": "failed", "event_id": str(uuid4()), "reason": "domain_not_verified"}
        controller.say("nurture.evt.email.test_progressed", {"items": [refusal]})
        assert any(address in data and "domain_not_verified" in data for _, data in events)
    assert browser.send(EMAIL, f"{EMAIL}/test", email_address="nonsense").status_code == 400


@contextmanager
def streamed(browser: Browser, path: str) -> Iterator[Iterator[tuple[str, str]]]:
    """The events of a stream as (name, data), as they come."""
    with browser.http.stream("GET", path, headers={"Accept": "text/event-stream"}, timeout=15) as answer:
        assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream")

        def events() -> Iterator[tuple[str, str]]:
            name, data = "", []
            for line in answer.iter_lines():
                if line.startswith("event: "):
                    name = line[7:]
                elif line.startswith("data: "):
                    data.append(line[6:])
                elif not line and name:
                    yield name, "\n".join(data)
                    name, data = "", []

        yield events()


def test_a_stream_tells_of_a_step_and_of_nothing_else(gateway: Gateway, browser: Browser) -> None:
    person = gateway.person(first_name="Radia")
    enrolment_id = running(gateway, person["id"])
    with streamed(browser, f"{SEQUENCES}/live?user={person['id']}&sequence_type=") as events:
        name, first = next(events)
        assert name == "active" and "Radia" in first and "step 2 of 3" in first and "form_token" not in first
        gateway.servers.sql("update controller.enrolments set step = 3 where id = $1", enrolment_id)
        name, second = next(events)
        assert name == "active" and "step 3 of 3" in second


def test_overview_tells_each_service_and_what_failed(gateway: Gateway, browser: Browser) -> None:
    sql = gateway.servers.sql
    sql(
        "insert into email.presence values ('there:1', now(), now(), $1, '[]'), "
        "('gone:2', now() - interval '1 hour', now() - interval '5 minutes', '[]', '[]')",
        ["the provider refuses our key"],
    )
    sql("insert into telegram.presence values ('old', now(), now() - interval '2 minutes', '[]', '[]')")
    try:
        page = browser.page(HOME)
        assert "the provider refuses our key" in page and "1 process, 1 away" in page
        assert page.count('badge ready">ready') == 1, "only the gateway is there"
        assert page.count('badge away">away') == 3
    finally:
        sql("truncate email.presence")
        sql("truncate telegram.presence")
    person = gateway.person()
    delivery_id = gateway.servers.delivery(person["id"], person["email"])
    sql(
        "update controller.deliveries set failed_at = now(), failure_reason = 'rejected_by_test' where id = $1",
        delivery_id,
    )
    page = browser.page(HOME)
    assert "rejected by test" in page and f"{HOME}/deliveries/{delivery_id}" in page
    newest = gateway.servers.delivery(person["id"], person["email"])
    sql("update controller.deliveries set failed_at = now(), failure_reason = 'rejected_by_test' where id = $1", newest)
    page = browser.page(HOME)
    assert page.count("rejected by test") == 1 and f"{HOME}/deliveries/{newest}" in page and "and 1 more" in page
    assert f"{HOME}/deliveries/{delivery_id}" not in page, "one reason is one line, with its newest message"


def test_people_are_added_found_and_changed(gateway: Gateway, browser: Browser) -> None:
    name = uuid4().hex[:10]
    told = browser.done(
        USERS, USERS, first_name="Hedy", external_id=name, email=f"{name}@example.org", timezone="Europe/Vienna"
    )
    assert "Hedy is saved." in told and "Europe/Vienna" in told
    found = browser.page(f"{USERS}?q={name}")
    assert "Hedy" in found and f"{name}@example.org" in found
    assert "begins with “zzz”" in browser.page(f"{USERS}?q=zzz")
    (person,) = gateway.http.get("/admin/api/users", params={"q": name}).json()["items"]
    assert f"{USERS}/{person['id']}" in found
    nobody = browser.http.get(f"{USERS}/nobody-17")
    assert nobody.status_code == 404 and nobody.headers["content-type"].startswith("text/html")
    assert "There is no person" in nobody.text and "To the dashboard" in nobody.text


def test_a_persons_page_tells_why_each_message(gateway: Gateway, browser: Browser) -> None:
    person = gateway.person()
    delivery_id = gateway.servers.delivery(person["id"], person["email"])
    decision = {"decision": "send", "reasons": [{"code": "x", "text": "Email works and the person agreed to it."}]}
    gateway.servers.sql(
        "update controller.delivery_contents set decision = $2 where delivery_id = $1", delivery_id, decision
    )
    gateway.servers.sql(
        "insert into controller.delivery_events (event_id, delivery_id, kind, at, received_at, detail) values ($1, $2, 'sent', now(), now(), $3)",
        uuid4(), delivery_id, {},
    )  # fmt: skip
    page = browser.page(f"{USERS}/{person['external_id']}")
    assert "Email works and the person agreed to it." in page and "everybody's rate is" in page.replace("&#39;", "'")
    shown = browser.page(f"{HOME}/deliveries/{delivery_id}")
    assert "Email works and the person agreed to it." in shown and "<strong>sent</strong>" in shown and "Body" in shown
    assert json.loads(gateway.http.get(f"/admin/api/deliveries/{delivery_id}").text)["decision"] == decision


def test_a_messages_story_is_told_in_words(gateway: Gateway, browser: Browser) -> None:
    person = gateway.person()
    delivery_id = gateway.servers.delivery(person["id"], person["email"])
    sql = gateway.servers.sql
    link = gateway.servers.link("https://example.org/plan")
    for kind, detail in (
        ("sent", {"attempts": 2, "arrived": True}),
        ("delivered", {"signal": "unknown"}),
        ("clicked", {"signal": "machine", "link": link}),
        ("bounced", {"signal": "unknown", "reason": "hard_bounce"}),
    ):
        sql(
            "insert into controller.delivery_events (event_id, delivery_id, kind, at, received_at, detail)"
            " values ($1, $2, $3, now(), now(), $4)",
            uuid4(), delivery_id, kind, detail,
        )  # fmt: skip
    body, decision = f"[Yours]({PUBLIC}/p/)", {"decision": "send", "reasons": [{"text": "Variant `a` is theirs."}]}
    sql(
        "update controller.delivery_contents set decision = $2, body = $3 where delivery_id = $1",
        delivery_id, decision, body,
    )  # fmt: skip
    shown = browser.page(f"{HOME}/deliveries/{delivery_id}")
    assert "after 2 attempts, and arrived" in shown and "https://example.org/plan, by a machine" in shown
    assert "as the provider reports, hard bounce" in shown and "signal" not in shown and "True" not in shown
    assert "Variant <code>a</code> is theirs." in shown and "their token is put in" in shown


def test_what_became_of_all_that_was_planned_is_shown(gateway: Gateway, browser: Browser) -> None:
    person = gateway.person()
    delivery_id = gateway.servers.delivery(person["id"], person["email"])
    gateway.servers.sql("update controller.deliveries set suppressed_at = now() where id = $1", delivery_id)
    shown = browser.page(f"{HOME}/analytics")
    assert "<dt>not sent</dt>" in shown and re.search(r"\d suppressed", shown)


def test_preferences_are_what_rest_says(gateway: Gateway, browser: Browser) -> None:
    person = gateway.person(telegram_chat_id=str(uuid4().int % 10**12))
    page, api = f"{USERS}/{person['id']}", f"/admin/api/users/{person['id']}/preferences"
    usual = {
        "preferred_channel": "telegram", "preferred_time": "09:30", "timezone": "Asia/Tokyo",
        "email_consent": "granted", "telegram_consent": "granted",
    }  # fmt: skip
    # Boxes that are not ticked are not sent, as browsers do it.
    assert "Preferences saved." in browser.done(page, f"{page}/preferences", **usual, email_sequences="yes")
    told = gateway.http.get(api).json()
    assert (told["preferred_channel"], told["preferred_time"], told["timezone"]) == ("telegram", "09:30", "Asia/Tokyo")
    assert told["email"]["opt_in_sequences"] and not told["email"]["opt_in_announcements"]
    assert not told["telegram"]["opt_in_sequences"]
    wrong = browser.send(
        page, f"{page}/preferences", **(usual | {"preferred_time": "noonish", "timezone": "Mars/Base"})
    )
    assert wrong.status_code == 400 and 'value="Mars/Base"' in wrong.text and "must be an IANA time zone" in wrong.text
    # The person's word: no more email. And back: what they wanted before, they want again.
    browser.done(page, f"{page}/preferences", **(usual | {"email_consent": "refused", "preferred_channel": ""}))
    told = gateway.http.get(api).json()
    assert told["email"]["consent"] == "refused" and not told["email"]["opt_in_sequences"]
    assert told["preferred_channel"] is None
    browser.done(page, f"{page}/preferences", **usual)
    assert gateway.http.get(api).json()["email"]["opt_in_sequences"]


def test_an_address_is_asked_for_and_a_chat_linked(gateway: Gateway, browser: Browser, controller: Controller) -> None:
    person = gateway.person()
    page = f"{USERS}/{person['id']}"
    assert "not verified" in browser.page(page)
    told = browser.done(page, f"{page}/verification")
    assert f"A mail to {person['email']} asks whether it is theirs." in told
    assert controller.await_message("send_emails", lambda body: body["test"])
    again = browser.send(page, f"{page}/verification")
    assert again.status_code == 429 and int(again.headers.get("retry-after", "60")) <= 60
    refused = browser.send(page, f"{page}/telegram-link")
    assert refused.status_code == 409 and "There is no bot to link to" in refused.text


def test_the_queue_is_worked_off_by_hand(browser: Browser, controller: Controller) -> None:
    answers = {
        "process_due": {"planned": 3, "sent": 2, "skipped": 1, "failed": 0},
        "resend_deliveries": {"retried": 4, "remaining": 1, "refused_by_reason": {"address_unusable": 2}},
        "archive_deliveries": {"archived": 5},
    }
    controller.answer = lambda subject, _: next(
        ((200, told) for name, told in answers.items() if name in subject), None
    )
    queue = f"{EMAIL}/queue"
    assert "3 due: 2 handed to their channel, 1 not to be sent" in browser.done(EMAIL, f"{queue}/process")
    retried = browser.done(EMAIL, f"{queue}/retry")
    assert "4 mails are sent once more. Not sent again: 2 address unusable. 1 more wait" in retried
    assert "5 failed mails left the queue." in browser.done(EMAIL, f"{queue}/clear-failed")
    assert controller.await_message("archive_deliveries")["channel"] == "email"


def test_a_message_is_sent_once_more(gateway: Gateway, browser: Browser, controller: Controller) -> None:
    person = gateway.person()
    first = gateway.servers.delivery(person["id"], person["email"])
    second = gateway.servers.delivery(person["id"], person["email"])
    page = f"{HOME}/deliveries/{first}"
    refusal = {"code": "may_have_arrived", "detail": "It arrived, or may have.", "hint": "Say so."}
    controller.answer = lambda subject, command: (
        None if "resend" not in subject
        else (201, {"delivery_id": str(second), "round": 1, "channel": "email"}) if command["may_have_arrived"]
        else (409, refusal)
    )  # fmt: skip
    assert "It arrived, or may have." in browser.send(page, f"{page}/resend").text
    told = browser.done(page, f"{page}/resend", may_have_arrived="yes")
    assert "This is round 1: sent once more by email." in told and str(second) in told


def test_analytics_are_the_numbers_of_rest(gateway: Gateway, browser: Browser) -> None:
    person = gateway.person()
    gateway.servers.delivery(person["id"], person["email"])
    told = gateway.http.get("/admin/api/nurture/analytics?days=7").json()
    page = browser.page(f"{HOME}/analytics?days=7")
    assert told["totals"]["planned"] > 0 and f"<dt>planned</dt><dd>{told['totals']['planned']}</dd>" in page
    # One of messages and one of shares; whether there is one of scores too, other tests have decided.
    charts = [chart for chart in re.findall(r"<svg.*?</svg>", page, re.DOTALL) if 'role="img"' in chart]
    assert [chart.count("<circle") for chart in charts[:2]] == [3 * 7] * 2
    for table in ("By sequence", "By channel", "By step"):
        assert "Not sent" in page.split(f"<h2>{table}</h2>")[1].split("</table>")[0]
    assert browser.http.get(f"{HOME}/analytics?days=0").status_code == 400


def test_a_file_of_people_is_imported_and_lines_that_were_left_out_are_named(browser: Browser) -> None:
    action, name = f"{USERS}/import", uuid4().hex[:8]
    csv = f"external_id,first_name,email\nf-{name},Ada,f-{name}@example.test\ng-{name},<b>,no address\n"

    def send(text: bytes, **hidden: str) -> httpx.Response:
        fields = browser.hidden(USERS, action) | hidden
        return browser.http.post(action, data=fields, files={"file": ("people.csv", text, "text/csv")})

    first = send(csv.encode())
    assert first.status_code == 200, first.text
    assert "1 created, 0 updated, 0 unchanged, 1 rejected" in first.text
    assert '<td data-name="Line">3</td>' in first.text and "email" in first.text and "<b>" not in first.text
    # Sent once more, as an impatient person does, it changes nothing.
    assert "0 created, 0 updated, 1 unchanged, 1 rejected" in send(csv.encode()).text
    assert f"f-{name}@example.test" in browser.page(f"{USERS}?q=f-{name}")
    wrong = send(b"\xff\xfe not a table")
    assert wrong.status_code == 400 and 'role="alert"' in wrong.text
    nothing = browser.http.post(action, data=browser.hidden(USERS, action))
    assert nothing.status_code == 400 and "choose a CSV file" in nothing.text
    assert send(csv.encode(), form_token="elsewhere").status_code == 403
