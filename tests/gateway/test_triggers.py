"""What set messages going: kept with where it came from and how it ended, and counted without what callers make up."""

from typing import Any
from uuid import uuid4

from gateway_stand import Controller, Gateway, eventually
from prometheus_client.parser import text_string_to_metric_families
from test_commands import TRIGGER, starts


def test_commands_are_listed_with_where_they_came_from_and_how_they_ended(
    gateway: Gateway, controller: Controller
) -> None:
    controller.answer = starts
    person, name = gateway.person(), f"type-{uuid4().hex[:8]}"
    body = {"user_id": person["id"], "sequence_type": name}
    agents = {"cli": "nurture-cli/1", "client": "nurture-client/1", "rest": "curl/8"}
    trace = uuid4().hex
    for agent in agents.values():
        headers = {"User-Agent": agent, "traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
        assert gateway.post(TRIGGER, body, headers=headers).status_code == 201
    controller.answer = lambda *_: (409, {"code": "already_running", "detail": "It runs.", "hint": "Wait."})
    assert gateway.post(TRIGGER, body).status_code == 409
    nobody = {"user_ids": [f"stranger-{uuid4()}"], "sequence_type": name}
    assert gateway.post(TRIGGER, nobody).status_code == 202
    message = gateway.servers.sql(
        "select schedule_multi_channel_message($1, $2, 1, '{}', null, 'Hello') as id", person["id"], name
    )[0]["id"]

    def ask() -> list[dict[str, Any]]:
        return gateway.http.get("/admin/api/commands", params={"sequence_type": name}).json()["items"]

    # The answer to the caller may be a moment before its row.
    with eventually() as until:
        until(lambda: sum(row["outcome"] == "waiting" for row in ask()) == 1)
    listed = ask()
    assert [(row["source"], row["people"], row["outcome"], row["started"], row["reason"]) for row in listed] == [
        ("sql", 1, "waiting", None, None),
        ("rest", 0, "nobody", 0, None),
        ("rest", 1, "refused", None, "already_running"),
        ("rest", 1, "started", 1, None),
        ("client", 1, "started", 1, None),
        ("cli", 1, "started", 1, None),
    ]
    assert listed[0]["id"] == str(message) and listed[0]["kind"] == "message"
    assert {row["trace_id"] for row in listed[3:]} == {trace}
    for filters, found in (({"source": "cli"}, 1), ({"kind": "message"}, 1), ({"kind": "pause"}, 0)):
        items = gateway.http.get("/admin/api/commands", params={"sequence_type": name, **filters}).json()["items"]
        assert len(items) == found, filters
    first = gateway.http.get("/admin/api/commands", params={"sequence_type": name, "limit": 4}).json()
    rest = gateway.http.get(
        "/admin/api/commands", params={"sequence_type": name, "limit": 4, "cursor": first["next"]}
    ).json()
    assert [*first["items"], *rest["items"]] == listed and rest["next"] is None


def test_a_resume_is_listed_as_no_pause_and_a_check_as_no_publishing(gateway: Gateway, controller: Controller) -> None:
    controller.answer = lambda *_: (200, {"type": "onboarding", "enrolments": 0, "holds": [], "paused": False})
    ids = [
        gateway.post(f"/admin/api/nurture/{verb}", {"sequence_type": "onboarding"}).json()["command_id"]
        for verb in ("pause", "resume")
    ]
    controller.answer = lambda *_: (200, {"type": "onboarding", "version": None, "findings": []})
    toml = {"Content-Type": "application/toml"}
    checked = gateway.http.post("/admin/api/sequences/lint", content=b"format = 1", headers=toml)
    assert checked.status_code == 200, checked.text
    ids.append(checked.json()["command_id"])

    def found(**filters: str) -> list[tuple[str, str]]:
        items = gateway.http.get("/admin/api/commands", params=filters).json()["items"]
        return [(row["kind"], row["id"]) for row in items if row["id"] in ids]

    assert found() == [("lint", ids[2]), ("resume", ids[1]), ("pause", ids[0])]
    assert found(kind="publish") == []
    assert found(kind="pause") == [("pause", ids[0])]
    assert found(kind="resume") == [("resume", ids[1])]


def test_made_up_types_become_no_time_series(gateway: Gateway, controller: Controller) -> None:
    def counted() -> dict[tuple[str, str, str], float]:
        text = gateway.http.get("/metrics").text
        return {
            (sample.labels["type"], sample.labels["source"], sample.labels["outcome"]): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "nurture_triggers_total"
        }

    controller.answer = lambda *_: (422, {"code": "unknown_sequence", "detail": "There is none.", "hint": "Name one."})
    before, made_up = counted(), f"made-up-{uuid4().hex[:8]}"
    body = {"user_id": gateway.person()["id"], "sequence_type": made_up}
    assert gateway.post(TRIGGER, body).status_code == 422
    series = ("unknown", "rest", "refused")
    # What others of this gateway's callers asked for may be counted meanwhile.
    with eventually() as until:
        until(lambda: counted().get(series, 0) == before.get(series, 0) + 1)
    assert made_up not in {name for name, _, _ in counted()}
