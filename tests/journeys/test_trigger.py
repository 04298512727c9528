"""Triggering one person: every answer that the API promises."""

from uuid import uuid4

import pytest

from tests.journeys.system import System, eventually

TRIGGER = "/admin/api/nurture/trigger"


@pytest.fixture
def anna(system: System) -> str:
    name = f"anna-{uuid4().hex[:8]}"
    return system.person(name, email=f"{name}@example.test")


def test_a_person_gets_the_first_message_and_the_answer_says_which(system: System, anna: str) -> None:
    answer = system.answer({"user_id": anna, "sequence_type": "onboarding"})
    assert answer.status_code == 201, answer.text
    told = answer.json()
    assert (told["user_id"], told["sequence_type"], told["step"], told["channel"]) == (anna, "onboarding", 1, "email")
    assert told["enrolment_id"] and told["scheduled_at"]
    address = system.api.get(f"/admin/api/users/{anna}").json()["email"]
    (message,) = eventually(lambda: system.messages(to=address), what="the message")
    assert message["delivery_id"] == told["delivery_id"]
    assert message["text"] and "<html" in message["html"].lower()


def test_a_person_may_be_named_by_external_id(system: System, anna: str) -> None:
    external = system.api.get(f"/admin/api/users/{anna}").json()["external_id"]
    answer = system.answer({"user_id": external, "sequence_type": "re_engagement"})
    assert answer.status_code == 201
    assert answer.json()["user_id"] == anna


def test_a_second_trigger_names_the_running_enrolment(system: System, anna: str) -> None:
    first = system.answer({"user_id": anna, "sequence_type": "onboarding"}).json()
    second = system.answer({"user_id": anna, "sequence_type": "onboarding"})
    assert second.status_code == 409
    assert second.headers["content-type"].startswith("application/problem+json")
    assert second.json()["enrolment_id"] == first["enrolment_id"]
    assert second.json()["hint"]


def test_an_unknown_person_is_404(system: System) -> None:
    answer = system.answer({"user_id": str(uuid4()), "sequence_type": "onboarding"})
    assert (answer.status_code, bool(answer.json()["hint"])) == (404, True)


def test_an_unknown_sequence_lists_the_valid_ones(system: System, anna: str) -> None:
    answer = system.answer({"user_id": anna, "sequence_type": "onbording"})
    assert answer.status_code == 422
    for known in ("onboarding", "commitment_follow_up", "re_engagement"):
        assert known in answer.text


def test_nobody_to_reach_is_422(system: System) -> None:
    person = system.person(f"mute-{uuid4().hex[:8]}")
    answer = system.answer({"user_id": person, "sequence_type": "onboarding"})
    assert answer.status_code == 422
    assert answer.json()["code"] == "no_reachable_channel"


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"{", ""),
        (b'{"user_id": "x"}', "sequence_type"),
        (b'{"user_id": 7, "sequence_type": "onboarding"}', "user_id"),
        (b'{"user_id": "x", "sequence_type": "onboarding", "override_channel": "fax"}', "override_channel"),
        (b'{"user_id": "x", "sequence_type": "onboarding", "color": 1}', "color"),
    ],
)
def test_a_malformed_body_is_400_with_field_and_reason(system: System, body: bytes, named: str) -> None:
    answer = system.api.post(TRIGGER, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text
    problem = answer.json()
    assert problem["errors"][0]["reason"]
    assert named in str(problem["errors"])


def test_without_a_key_it_is_401(system: System) -> None:
    answer = system.api.post(TRIGGER, json={}, headers={"Authorization": "Bearer nope"})
    assert (answer.status_code, bool(answer.json()["hint"])) == (401, True)


def test_the_same_key_gives_the_same_answer_and_another_body_is_refused(system: System, anna: str) -> None:
    key, body = str(uuid4()), {"user_id": anna, "sequence_type": "commitment_follow_up"}
    first, again = system.answer(body, key=key), system.answer(body, key=key)
    assert (first.status_code, first.json()) == (again.status_code, again.json())
    assert first.status_code == 201
    assert system.answer({**body, "context": {"other": 1}}, key=key).status_code == 422


def test_a_cancelled_enrolment_ends_and_may_be_started_again(system: System, anna: str) -> None:
    first = system.answer({"user_id": anna, "sequence_type": "onboarding"}).json()
    cancelled = system.command("/admin/api/nurture/cancel", {"enrolment_id": first["enrolment_id"]})
    assert cancelled.status_code == 200, cancelled.text
    assert cancelled.json()["cancelled"] == 1
    assert system.answer({"user_id": anna, "sequence_type": "onboarding"}).status_code == 201


def test_a_cancel_that_overtakes_its_start_wins(system: System, anna: str) -> None:
    system.service("stop", "controller")
    try:
        started = system.trigger({"user_id": anna, "sequence_type": "onboarding"}, key=str(uuid4()))
        assert started.status_code == 202
        cancel = system.post("/admin/api/nurture/cancel", {"command_id": started.json()["command_id"]})
        assert cancel.status_code == 202
    finally:
        system.service("start", "controller")
    # Whichever the controller hears first, the cancel wins.
    system.settled(cancel.json()["command_id"])
    settled = system.settled(started.json()["command_id"])
    active = [row for row in system.pages("/admin/api/nurture/active") if row["user_id"] == anna]
    assert active == [], settled


def test_while_the_controller_is_away_a_trigger_waits_and_is_executed_later(system: System, anna: str) -> None:
    system.service("stop", "controller")
    key, body = str(uuid4()), {"user_id": anna, "sequence_type": "onboarding"}
    try:
        waiting = system.trigger(body, key=key)
        assert waiting.status_code == 202
        assert waiting.json()["status_url"].endswith(waiting.json()["command_id"])
    finally:
        system.service("start", "controller")
    settled = system.settled(waiting.json()["command_id"])
    assert settled["status"] == 201, settled
    assert system.answer(body, key=key).status_code == 201
    address = system.api.get(f"/admin/api/users/{anna}").json()["email"]
    assert len(eventually(lambda: system.messages(to=address))) == 1
