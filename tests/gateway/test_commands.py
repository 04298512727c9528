"""Triggers, cancels and publications: a row first, then the controller's answer, or 202 and the same answer later."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import pytest
from gateway_stand import Controller, Gateway, Servers, eventually
from nurture_contracts.life import COMMAND_LIFE
from test_health_and_pages import problem

TRIGGER = "/admin/api/nurture/trigger"
STARTED = {"enrolment_id": str(uuid4()), "sequence_type": "onboarding", "version": 1, "step": 1, "channel": "email"}


def starts(_subject: str, command: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    return 201, STARTED | {"user_id": command["user_ids"][0], "scheduled_at": "2026-01-05T09:00:00Z"}


def test_a_command_that_its_room_found_too_old_is_told_as_expired(gateway: Gateway, controller: Controller) -> None:
    controller.answer = lambda _subject, _command: (
        422,
        {"code": "expired", "detail": "It waited.", "hint": "Ask again."},
    )
    person = gateway.person()
    told = problem(gateway.post(TRIGGER, {"user_id": person["id"], "sequence_type": "onboarding"}), 422, "expired")

    def listed() -> tuple[str, str, str | None]:
        items = gateway.http.get("/admin/api/commands").json()["items"]
        (one,) = [item for item in items if item["id"] == told["command_id"]]
        return one["state"], one["outcome"], one["reason"]

    with eventually() as until:
        until(lambda: listed() == ("settled", "expired", "expired"))
    life = "select expires_at - created_at as life from gateway.commands where id = $1"
    assert gateway.servers.sql(life, told["command_id"])[0]["life"] == COMMAND_LIFE


def test_one_person_gets_the_real_answer(gateway: Gateway, controller: Controller) -> None:
    controller.answer = starts
    person = gateway.person()
    body = {
        "user_id": person["external_id"],
        "sequence_type": "onboarding",
        "context": {"k": [1]},
        "override_channel": "email",
    }
    answer = gateway.post(TRIGGER, body)
    assert answer.status_code == 201, answer.text
    told = answer.json()
    assert {name: told[name] for name in STARTED} == STARTED
    assert told["user_id"] == person["id"] and told["scheduled_at"] == "2026-01-05T09:00:00Z"
    heard = controller.await_message("start_sequences", lambda message: message["command_id"] == told["command_id"])
    assert heard["single"] and heard["user_ids"] == [person["id"]] and heard["context"] == {"k": [1]}
    assert person["email"] not in str(heard)
    with eventually() as until:
        until(lambda: gateway.http.get(answer.headers["location"]).json()["state"] == "settled")
    assert gateway.http.get(answer.headers["location"]).json()["started"] == 1


def test_a_refusal_is_a_problem_that_names_what_is_in_the_way(gateway: Gateway, controller: Controller) -> None:
    running = str(uuid4())
    controller.answer = lambda *_: (
        409,
        {"code": "already_running", "detail": "It runs.", "hint": "Cancel it.", "enrolment_id": running},
    )
    person, key = gateway.person(), uuid4().hex
    body = {"user_id": person["id"], "sequence_type": "onboarding"}
    first = gateway.post(TRIGGER, body, key=key)
    told = problem(first, 409, "already_running")
    assert told["enrolment_id"] == running and told["hint"] == "Cancel it."
    assert gateway.post(TRIGGER, body, key=key).content == first.content
    shown = gateway.http.get(f"/admin/api/commands/{told['command_id']}").json()
    assert shown["refused"] == [{"user": person["id"], "reason": "already_running"}] and shown["started"] == 0
    types = {
        "code": "unknown_sequence",
        "detail": "There is none.",
        "hint": "There are: onboarding.",
        "sequence_types": ["onboarding"],
    }
    controller.answer = lambda *_: (422, types)
    told = problem(gateway.post(TRIGGER, {"user_id": person["id"], "sequence_type": "nope"}), 422, "unknown_sequence")
    assert told["sequence_types"] == ["onboarding"]


def test_an_unknown_person_is_told_at_once_and_stays_unknown_under_the_key(
    gateway: Gateway, controller: Controller
) -> None:
    name, key = uuid4().hex, uuid4().hex
    body = {"user_id": name, "sequence_type": "onboarding"}
    # Nobody plays the controller yet: what waited for it would be told 202.
    first = gateway.post(TRIGGER, body, key=key)
    told = problem(first, 404, "person_not_found")
    assert name in told["detail"]
    gateway.person(external_id=name)
    assert gateway.post(TRIGGER, body, key=key).content == first.content
    controller.answer = starts
    assert gateway.post(TRIGGER, body).status_code == 201
    assert not any(message.get("command_id") == told["command_id"] for _, message in controller.heard)


def test_without_a_controller_it_is_202_and_done_later_with_the_same_answer(
    gateway: Gateway, controller: Controller
) -> None:
    person, key = gateway.person(), uuid4().hex
    body = {"user_id": person["id"], "sequence_type": "onboarding"}
    first = gateway.post(TRIGGER, body, key=key)
    assert first.status_code == 202 and first.json()["status_url"] == first.headers["location"]
    command_id = first.json()["command_id"]
    assert gateway.http.get(first.json()["status_url"]).json()["state"] == "accepted"
    again = gateway.post(TRIGGER, body, key=key)
    assert again.status_code == 202 and again.json() == first.json()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(gateway.post, TRIGGER, body, key=key)
        controller.settle(command_id, *starts("", {"user_ids": [person["id"]]}))
        real = waiting.result()
    assert real.status_code == 201 and real.json()["command_id"] == command_id
    with eventually() as until:
        until(lambda: gateway.http.get(first.json()["status_url"]).json()["state"] == "settled")
    assert gateway.post(TRIGGER, body, key=key).content == real.content
    assert (
        len(
            [
                1
                for subject, m in controller.heard
                if subject.endswith("start_sequences") and m["command_id"] == command_id
            ]
        )
        == 1
    )
    # A second settlement changes nothing.
    controller.settle(command_id, 409, {"code": "already_running", "detail": "no"})
    with eventually() as until:
        until(lambda: gateway.servers.sql("select count(*) from gateway.dead_letters")[0][0] >= 0)
    assert gateway.post(TRIGGER, body, key=key).content == real.content


def test_many_are_202_and_unknown_ones_are_listed_beside_the_controllers(
    gateway: Gateway, controller: Controller
) -> None:
    ada, bob = gateway.person(), gateway.person()
    refs = [ada["id"], bob["external_id"], ada["external_id"], "nobody-1", str(uuid4()), "nobody-1"]
    answer = gateway.post(TRIGGER, {"user_ids": refs, "sequence_type": "onboarding"})
    assert answer.status_code == 202
    command_id = answer.json()["command_id"]
    heard = controller.await_message("start_sequences", lambda message: message["command_id"] == command_id)
    assert heard["user_ids"] == [ada["id"], bob["id"]] and not heard["single"]
    shown = gateway.http.get(answer.json()["status_url"]).json()
    assert shown["state"] == "accepted" and shown["refused_by_reason"] == {"unknown_person": 2}
    controller.settle(
        command_id, 200, {"started": 1, "running": 0, "refused": [{"user": bob["id"], "reason": "unreachable"}]}
    )
    with eventually() as until:
        until(lambda: gateway.http.get(answer.json()["status_url"]).json()["state"] == "settled")
    shown = gateway.http.get(answer.json()["status_url"]).json()
    assert (shown["started"], shown["running"], shown["refused_count"]) == (1, 0, 3)
    assert shown["refused_by_reason"] == {"unknown_person": 2, "unreachable": 1}
    assert {entry["user"] for entry in shown["refused"]} == {"nobody-1", refs[4], bob["id"]}


def test_a_list_of_strangers_is_settled_without_the_controller(gateway: Gateway, controller: Controller) -> None:
    answer = gateway.post(TRIGGER, {"user_ids": ["stranger"], "sequence_type": "onboarding"})
    shown = gateway.http.get(answer.json()["status_url"]).json()
    assert (
        answer.status_code == 202
        and shown["state"] == "settled"
        and shown["refused_count"] == 1
        and shown["started"] == 0
    )


def test_ten_thousand_references_are_resolved_in_one_query(gateway: Gateway, controller: Controller) -> None:
    before = gateway.metric("nurture_sql_statements", query="resolve_people")
    refs = [uuid4().hex for _ in range(10_000)]
    answer = gateway.post(TRIGGER, {"user_ids": refs, "sequence_type": "onboarding"})
    assert answer.status_code == 202
    assert gateway.metric("nurture_sql_statements", query="resolve_people") - before == 1
    problem(gateway.post(TRIGGER, {"user_ids": [*refs, "x"], "sequence_type": "onboarding"}), 422, "too_many_people")


def test_progress_of_a_running_start_is_shown(gateway: Gateway, controller: Controller) -> None:
    answer = gateway.post(TRIGGER, {"segment": "all", "sequence_type": "onboarding"})
    command_id = answer.json()["command_id"]
    heard = controller.await_message("start_sequences", lambda message: message["command_id"] == command_id)
    assert heard["segment"] == "all" and heard["user_ids"] == []
    gateway.servers.sql(
        "insert into controller.sequences values ($1, $2, 1, '{}', '', now())", (sequence := uuid4()), sequence.hex
    )
    gateway.servers.sql(
        "insert into controller.start_jobs (command_id, sequence_id, sequence_type, user_ids, context, started, running, at)"
        " values ($1, $2, 'onboarding', '{}', '{}', 7, 2, now())", command_id, sequence,
    )  # fmt: skip
    shown = gateway.http.get(answer.json()["status_url"]).json()
    assert (shown["state"], shown["started"], shown["running"]) == ("accepted", 7, 2)


@pytest.mark.parametrize(
    "body",
    [
        {"sequence_type": "onboarding"},
        {"sequence_type": "onboarding", "user_id": "a", "segment": "all"},
        {"sequence_type": "onboarding", "user_ids": []},
        {"sequence_type": "onboarding", "segment": "some"},
        {"sequence_type": "onboarding", "user_id": "a", "override_channel": "fax"},
        {"sequence_type": "onboarding", "user_id": "a", "context": {"x": "y" * 40_000}},
        {"user_id": "a"},
        {"sequence_type": "onboarding", "user_id": 5},
    ],
)
def test_triggers_that_cannot_be_read(gateway: Gateway, body: dict) -> None:
    assert problem(gateway.post(TRIGGER, body), 400, "malformed_request")["errors"]


def test_text_that_cannot_be_stored_is_the_callers_mistake(gateway: Gateway) -> None:
    body = b'{"sequence_type": "a", "user_ids": ["x"], "context": {"k": "\\u0000"}}'
    answer = gateway.http.post(TRIGGER, content=body, headers={"Content-Type": "application/json"})
    problem(answer, 400, "malformed_request")


@pytest.fixture(scope="module")
def live(servers: Servers) -> Iterator[Gateway]:
    with ExitStack() as stack:
        yield Gateway(servers, stack, "live", NURTURE_SANDBOX="", RESEND_WEBHOOK_SECRET="")


def test_many_on_a_live_channel_need_their_number(live: Gateway, controller: Controller) -> None:
    assert live.anonymous.get("/").json()["email"] == "LIVE (Resend)"
    assert "LIVE (Resend)" in live.anonymous.get("/admin/sign-in").text
    person, key = live.person(), uuid4().hex
    body = {"user_ids": [person["id"], person["external_id"], "nobody"], "sequence_type": "onboarding"}
    told = problem(live.post(TRIGGER, body, key=key), 422, "confirm_needed")
    assert told["people"] == 1 and "1 people" in told["detail"]
    problem(live.post(TRIGGER, body | {"confirm": 2}), 422, "confirm_needed")
    assert live.post(TRIGGER, body | {"confirm": 1}, key=key).status_code == 202
    count = live.servers.sql("select count(*) from gateway.users")[0][0]
    everybody = {"segment": "all", "sequence_type": "onboarding"}
    assert problem(live.post(TRIGGER, everybody), 422, "confirm_needed")["people"] == count
    assert live.post(TRIGGER, everybody | {"confirm": count}).status_code == 202
    controller.answer = starts
    assert live.post(TRIGGER, {"user_id": person["id"], "sequence_type": "onboarding"}).status_code == 201


def test_without_a_secret_no_webhook_is_believed(live: Gateway) -> None:
    problem(live.webhook({"type": "email.delivered"}), 503, "webhook_secret_missing")
    problem(live.webhook({"type": "email.delivered"}, key=b""), 503, "webhook_secret_missing")


def test_cancel_by_enrolment_person_or_command(gateway: Gateway, controller: Controller) -> None:
    controller.answer = lambda *_: (200, {"cancelled": 1})
    person, identity = gateway.person(), str(uuid4())
    for body, field, value in (
        ({"enrolment_id": identity}, "enrolment_id", identity),
        ({"user_id": person["external_id"], "sequence_type": "onboarding"}, "user_id", person["id"]),
        ({"command_id": identity}, "start_command_id", identity),
        ({"waiting": True}, "waiting", True),
    ):
        answer = gateway.post("/admin/api/nurture/cancel", body)
        assert answer.status_code == 200 and answer.json()["cancelled"] == 1
        command_id = answer.json()["command_id"]
        assert (
            controller.await_message("cancel_enrolments", lambda m, c=command_id: m["command_id"] == c)[field] == value
        )
    problem(
        gateway.post("/admin/api/nurture/cancel", {"user_id": "nobody", "sequence_type": "x"}), 404, "person_not_found"
    )
    for body in (
        {},
        {"user_id": "a"},
        {"sequence_type": "a"},
        {"enrolment_id": identity, "command_id": identity},
        {"waiting": False},
        {"waiting": True, "command_id": identity},
    ):
        problem(gateway.post("/admin/api/nurture/cancel", body), 400, "malformed_request")


def test_publish_and_lint_pass_the_text_on(gateway: Gateway, controller: Controller) -> None:
    finding = {"where": "steps[0].delay", "problem": "is no duration", "hint": "2d", "severity": "error"}

    def answer(_subject: str, command: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if command["toml"] == "broken":
            return 422, {
                "code": "sequence_invalid",
                "detail": "steps[0].delay",
                "hint": "Mend it.",
                "findings": [finding],
            }
        return (
            (200, {"findings": []}) if command["dry_run"] else (201, {"type": "welcome", "version": 3, "findings": []})
        )

    controller.answer = answer
    toml, json = {"Content-Type": "application/toml"}, {"Content-Type": "application/json"}
    for content, headers in (
        (b"fine", toml), (b"fine", {"Content-Type": "text/plain; charset=utf-8"}), (b'{"toml": "fine"}', json),
    ):  # fmt: skip
        published = gateway.http.post("/admin/api/sequences", content=content, headers=headers)
        assert (
            published.status_code == 201 and published.json()["version"] == 3 and published.json()["type"] == "welcome"
        )
    assert gateway.http.post("/admin/api/sequences/lint", content=b"fine", headers=toml).json()["findings"] == []
    refused = problem(
        gateway.http.post("/admin/api/sequences/lint", content=b"broken", headers=toml), 422, "sequence_invalid"
    )
    assert refused["errors"] == [{"field": "steps[0].delay", "reason": "is no duration"}] and refused["findings"] == [
        finding
    ]
    for content, headers, status in (
        (b"", toml, 400), (b"\xff", toml, 400), (b"{}", json, 400), (b"x" * 300_000, toml, 400),
        (b"x", {"Content-Type": "image/png"}, 415),
    ):  # fmt: skip
        assert gateway.http.post("/admin/api/sequences", content=content, headers=headers).status_code == status


def test_sequences_are_listed_and_shown(gateway: Gateway) -> None:
    name = f"seq-{uuid4().hex[:6]}"
    for version in (1, 2):
        gateway.servers.sql(
            "insert into controller.sequences values ($1, $2, $3, $4, $5, now())",
            uuid4(), name, version, {"steps": [{}] * version}, f"# v{version}",
        )  # fmt: skip
    listed = {row["type"]: row for row in gateway.http.get("/admin/api/sequences").json()}
    assert (listed[name]["version"], listed[name]["steps"]) == (2, 2)
    assert gateway.http.get(f"/admin/api/sequences/{name}").json()["toml"] == "# v2"
    assert gateway.http.get(f"/admin/api/sequences/{name}?version=1").json()["version"] == 1
    text = gateway.http.get(f"/admin/api/sequences/{name}", headers={"Accept": "application/toml"})
    assert text.text == "# v2" and text.headers["content-type"].startswith("application/toml")
    problem(gateway.http.get(f"/admin/api/sequences/{name}?version=9"), 404, "not_found")


def test_deliveries_and_active_enrolments_are_listed_and_filtered(gateway: Gateway) -> None:
    person = gateway.person()
    made = [gateway.servers.delivery(person["id"], person["email"]) for _ in range(3)]
    pages = gateway.http.get("/admin/api/deliveries", params={"user": person["external_id"], "limit": 2}).json()
    rest = gateway.http.get(
        "/admin/api/deliveries", params={"user": person["id"], "limit": 2, "cursor": pages["next"]}
    ).json()
    assert {row["id"] for row in pages["items"] + rest["items"]} == {str(one) for one in made} and rest["next"] is None
    for query, count in (
        ({"status": "pending"}, 3),
        ({"status": "sent"}, 0),
        ({"channel": "telegram"}, 0),
        ({"sequence_type": "onboarding"}, 3),
        ({"since": "2099-01-01T00:00:00Z"}, 0),
    ):
        found = gateway.http.get("/admin/api/deliveries", params=query | {"user": person["id"]}).json()["items"]
        assert len(found) == count, query
    assert gateway.http.get("/admin/api/deliveries/summary").json()["pending"] >= 3
    shown = gateway.http.get(f"/admin/api/deliveries/{made[0]}").json()
    assert (
        shown["delivery"]["recipient_address"] == person["email"]
        and shown["decision"] == {"why": "test"}
        and shown["events"] == []
    )
    problem(gateway.http.get(f"/admin/api/deliveries/{uuid4()}"), 404, "not_found")
    active = gateway.http.get("/admin/api/nurture/active", params={"user": person["id"]}).json()["items"]
    assert len(active) == 3 and active[0]["external_id"] == person["external_id"] and active[0]["step"] == 1


def test_a_test_mail_is_stored_sent_on_and_followed(gateway: Gateway, controller: Controller) -> None:
    body = {"email_address": "test@example.com", "user_name": "Test User", "template_type": "welcome_email"}
    answer = gateway.post("/admin/api/email/test", body)
    assert answer.status_code == 202
    told = answer.json()
    message = controller.await_message("send_emails", lambda m: told["id"] in m["items"])
    assert message["test"] is True and told["tracking_id"] == told["id"]
    assert gateway.http.get(told["status_url"]).json()["status"] == "queued"
    times = {"delivered": "2026-01-05T09:00:05Z", "sent": "2026-01-05T09:00:00Z", "opened": "2026-01-05T09:01:00Z"}
    items = [
        {"event_id": str(uuid4()), "kind": kind, "at": at, "delivery_id": told["id"]} for kind, at in times.items()
    ]
    controller.say("nurture.evt.email.test_progressed", {"items": items})
    controller.say(
        "nurture.evt.email.test_progressed", {"items": [items[0], items[1] | {"at": "2026-01-05T08:59:00Z"}]}
    )
    with eventually() as until:
        until(lambda: gateway.http.get(told["status_url"]).json()["sent_at"] == "2026-01-05T08:59:00Z")
    shown = gateway.http.get(told["status_url"]).json()
    assert shown["status"] == "opened" and shown["delivered_at"] == times["delivered"] and shown["bounced_at"] is None
    problem(gateway.post("/admin/api/email/test", {"email_address": "no"}), 400, "malformed_request")
    problem(gateway.post("/admin/api/email/test", body | {"template_type": "x"}), 400, "malformed_request")
