"""Pausing and resuming over REST: what the controller is told, what the caller is told, where it shows."""

from uuid import uuid4

from gateway_stand import Controller, Gateway
from test_health_and_pages import problem

HOLD = {"at": "2026-01-05T09:00:00Z", "reason": "paused", "sequence_type": "*"}


def heard(controller: Controller, command_id: str) -> dict:
    return controller.await_message("pause_sequence", lambda message: message["command_id"] == command_id)


def test_everything_or_one_sequence_and_the_same_key_the_same_answer(gateway: Gateway, controller: Controller) -> None:
    controller.answer = lambda _, command: (
        200,
        {"type": command["sequence_type"], "paused": command["paused"], "enrolments": 7, "holds": [HOLD]},
    )
    for path, body, wanted in (
        ("/nurture/pause", None, ("*", True, False)),
        ("/nurture/pause", {}, ("*", True, False)),
        ("/nurture/pause", {"sequence_type": "onboarding"}, ("onboarding", True, False)),
        ("/nurture/resume", None, ("*", False, False)),
        ("/nurture/resume", {"confirm_restored": True}, ("*", False, True)),
        ("/sequences/onboarding/resume", None, ("onboarding", False, False)),
    ):
        key = str(uuid4())
        answer = gateway.post(f"/admin/api{path}", body, key=key)
        assert answer.status_code == 200, answer.text
        message = heard(controller, answer.json()["command_id"])
        assert (message["sequence_type"], message["paused"], message["confirm_restored"]) == wanted
        assert (answer.json()["enrolments"], answer.json()["holds"]) == (7, [HOLD])
        assert gateway.post(f"/admin/api{path}", body, key=key).content == answer.content


def test_what_makes_no_sense_is_refused_with_the_field(gateway: Gateway, controller: Controller) -> None:
    for path, body, field in (
        ("pause", {"sequence": "onboarding"}, "sequence"),
        ("pause", {"sequence_type": ""}, "sequence_type"),
        ("pause", {"confirm_restored": True}, "confirm_restored"),
        ("resume", {"confirm_restored": "yes"}, "confirm_restored"),
        ("resume", {"sequence_type": "onboarding", "confirm_restored": True}, "confirm_restored"),
    ):
        told = problem(gateway.post(f"/admin/api/nurture/{path}", body), 400, "malformed_request")
        assert told["errors"][0]["field"] == field


def test_a_restored_database_is_a_conflict_that_says_what_to_do(gateway: Gateway, controller: Controller) -> None:
    controller.answer = lambda *_: (
        409,
        {"code": "database_restored", "detail": "Everything is held: it is a copy.", "hint": "Confirm it."},
    )
    told = problem(gateway.post("/admin/api/nurture/resume", {}), 409, "database_restored")
    assert (told["title"], told["detail"]) == (
        "The database was copied or restored",
        "Everything is held: it is a copy.",
    )
    assert told["hint"] == "Confirm it."


def test_what_is_held_shows_in_list_and_dashboard(gateway: Gateway) -> None:
    sql, browser = gateway.servers.sql, gateway.browser()
    try:
        sql("insert into controller.paused_types values ('*', '2026-01-05 09:00+00'), ('onboarding', now())")
        shown = gateway.http.get("/admin/api/nurture/holds").json()
        assert [(hold["sequence_type"], hold["reason"]) for hold in shown] == [
            ("*", "paused"),
            ("onboarding", "paused"),
        ]
        page = browser.page("/admin/dashboard")
        assert "Everything is paused since 2026-01-05 09:00 UTC" in page and "onboarding is paused" in page
        # Which sequences there are is nobody else's business.
        stranger = gateway.anonymous.get("/admin/sign-in").text
        assert "Everything is paused since" in stranger and "onboarding" not in stranger
        sql("insert into controller.installation (identity) values ('another/7')")
        assert gateway.http.get("/admin/api/nurture/holds").json()[1]["reason"] == "restored"
        assert "it was confirmed as another/7" in browser.page("/admin/dashboard")
        stranger = gateway.anonymous.get("/admin/sign-in").text
        assert "this database was copied or restored" in stranger and "another/7" not in stranger
    finally:
        sql("truncate controller.paused_types")
        sql("truncate controller.installation")
    assert gateway.http.get("/admin/api/nurture/holds").json() == []
