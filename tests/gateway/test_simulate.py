"""Simulating over REST: what the controller is asked, and what is refused before it; the test plays the controller."""

from typing import Any
from uuid import uuid4

import pytest
from gateway_stand import Controller, Gateway, eventually
from test_health_and_pages import problem
from test_response_shapes import ANSWERS

SEQUENCES = "/admin/dashboard/sequences"
PATH = "/admin/api/nurture/simulate"
TOLD: dict[str, Any] = {"sequence_type": "welcome", "version": None, "started": 1}


def test_the_question_is_passed_on_and_answered_as_commands_are(gateway: Gateway, controller: Controller) -> None:
    controller.answer = lambda *_: (200, TOLD)
    person, key = gateway.person(), uuid4().hex
    body = {
        "toml": "format = 1",
        "user_id": person["external_id"],
        "start_at": "2026-12-24T20:00:00+01:00",
        "failing": ["email"],
        "context": {"plan": "pro"},
    }
    answer = gateway.post(PATH, body, key=key)
    assert answer.status_code == 200, answer.text
    assert {name: answer.json()[name] for name in TOLD} == TOLD
    heard = controller.await_message("simulate_sequence", lambda one: one["command_id"] == answer.json()["command_id"])
    assert heard["user_ids"] == [person["id"]] and heard["start_at"] == "2026-12-24T20:00:00+01:00"
    assert {name: heard[name] for name in ("toml", "failing", "context")} == {
        name: body[name] for name in ("toml", "failing", "context")
    }
    assert gateway.post(PATH, body, key=key).content == answer.content


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"user_id": "x"}, "sequence_type"),
        ({"user_id": "x", "sequence_type": "welcome", "toml": "format = 1"}, "sequence_type"),
        ({"sequence_type": "welcome"}, "user_id"),
        ({"sequence_type": "welcome", "segment": "all", "failing": ["fax"]}, "failing[0]"),
        ({"sequence_type": "welcome", "segment": "all", "start_at": "2026-12-24T20:00:00"}, "start_at"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused_with_its_field(
    body: dict[str, Any], field: str, gateway: Gateway
) -> None:
    told = problem(gateway.post(PATH, body), 400, "malformed_request")
    assert told["errors"][0]["field"] == field


def test_a_person_that_nobody_knows_is_named(gateway: Gateway) -> None:
    known = gateway.person()
    told = problem(
        gateway.post(PATH, {"sequence_type": "welcome", "user_ids": [known["id"], "no-one"]}), 404, "person_not_found"
    )
    assert "no-one" in told["detail"]


def test_the_page_shows_the_answer_and_waits_for_one_that_is_late(gateway: Gateway, controller: Controller) -> None:
    browser, person = gateway.browser(), gateway.person()
    form = f"{SEQUENCES}/trigger"
    fields = {"user_id": person["id"], "sequence_type": "onboarding"}
    late = browser.http.post(f"{SEQUENCES}/simulate", data=browser.hidden(SEQUENCES, form) | fields)
    waiting = browser.http.get(late.headers["location"])
    assert waiting.headers["refresh"] == "1" and "Being worked out" in waiting.text
    command = late.headers["location"].rpartition("/")[2]
    status, told = ANSWERS["simulate_sequence"]
    shown = told["timelines"][0] | {"user_id": person["id"]}
    controller.settle(command, status, told | {"timelines": [shown]})
    with eventually() as until:
        until(lambda: "refresh" not in browser.http.get(late.headers["location"]).headers)
    page = browser.page(late.headers["location"])
    assert "by email" in page and f'<a href="/admin/dashboard/users/{person["id"]}">Ada</a>' in page
    controller.answer = lambda *_: (
        422,
        {"code": "unknown_sequence", "detail": "There is no sequence 'x'.", "hint": "Try y."},
    )
    refused = browser.http.post(
        f"{SEQUENCES}/simulate", data=browser.hidden(SEQUENCES, form) | fields | {"user_id": ""}
    )
    assert refused.status_code == 422 and "There is no sequence" in refused.text
    assert browser.http.get(f"{SEQUENCES}/simulations/{uuid4()}").status_code == 404
