"""External events over REST, each answered on its own; scores with what is behind them."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from gateway_stand import Controller, Gateway
from test_health_and_pages import problem

EVENTS = "/admin/api/events"


def test_one_event_is_passed_on_by_id(gateway: Gateway, controller: Controller) -> None:
    ada = gateway.person()
    answer = gateway.post(EVENTS, {"user": ada["external_id"], "event": "attended", "at": "2026-01-05T18:00:00+02:00"})
    assert answer.status_code == 202, answer.text
    (result,) = answer.json()["results"]
    assert result["index"] == 0 and result["status"] == "accepted"
    heard = controller.await_message("record_events", lambda page: page["items"][0]["event_id"] == result["event_id"])
    (item,) = heard["items"]
    assert item["user_id"] == ada["id"] and item["external_id"] is None and item["event"] == "attended"
    assert datetime.fromisoformat(item["at"]) == datetime(2026, 1, 5, 16, tzinfo=UTC)


def test_in_a_list_each_is_answered_on_its_own(gateway: Gateway, controller: Controller) -> None:
    ada, ben = gateway.person(), gateway.person()
    known, given = uuid4(), uuid4()
    gateway.servers.sql(
        "insert into scoring.external_events values ($1, $2, 'attended', now())", known, UUID(ada["id"])
    )
    late = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    events: list[Any] = [
        {"user": ada["id"], "event": "attended", "event_id": str(given)},
        {"user": ben["external_id"], "event": "bought a book", "event_id": "order-4711"},
        {"user": ben["external_id"], "event": "bought a book", "event_id": "order-4711"},
        {"user": ada["id"], "event": "attended", "event_id": str(known)},
        {"user": "nobody at all", "event": "attended"},
        {"user": "no\0body", "event": "attended"},
        {"user": ada["id"], "event": "a\0b"},
        {"user": ada["id"], "event": ""},
        {"user": ada["id"]},
        {"user": ada["id"], "event": "attended", "at": late},
        {"user": ada["id"], "event": "attended", "at": "0001-01-01T00:00:00+14:00"},
        {"user": ada["id"], "event": "attended", "at": "2026-01-05T18:00:00"},
        {"user": ada["id"], "event": "attended", "colour": "red"},
        "attended",
        {"user": ada["id"], "event": "missed"},
    ]
    answer = gateway.post(EVENTS, {"events": events})
    assert answer.status_code == 202, answer.text
    results = answer.json()["results"]
    assert [result["index"] for result in results] == list(range(len(events)))
    statuses = [result["status"] for result in results]
    assert statuses == ["accepted", "accepted", "repeated", "repeated", *["rejected"] * 10, "accepted"]
    assert all(result["reason"] for result in results if result["status"] == "rejected")
    assert "nobody at all" in results[4]["reason"] and "colour" in results[12]["reason"]
    heard = controller.await_message("record_events", lambda page: page["items"][0]["event_id"] == str(given))
    assert [item["event_id"] for item in heard["items"]] == [
        results[0]["event_id"],
        results[1]["event_id"],
        results[14]["event_id"],
    ]
    again = gateway.post(EVENTS, {"user": ben["id"], "event": "bought a book", "event_id": "order-4711"})
    assert again.json()["results"][0]["event_id"] == results[1]["event_id"]


def test_a_thousand_events_go_in_pages_under_one_key(gateway: Gateway, controller: Controller) -> None:
    ada, key = gateway.person(), uuid4().hex
    body = {"events": [{"user": ada["id"], "event": "attended"}] * 1000}
    first = gateway.post(EVENTS, body, key=key)
    assert first.status_code == 202 and {result["status"] for result in first.json()["results"]} == {"accepted"}
    assert gateway.post(EVENTS, body, key=key).content == first.content
    wanted = {result["event_id"] for result in first.json()["results"]}
    for start in range(0, 1000, 200):
        id = first.json()["results"][start]["event_id"]
        page = controller.await_message("record_events", lambda page, id=id: page["items"][0]["event_id"] == id)
        assert len(page["items"]) == 200
        wanted -= {item["event_id"] for item in page["items"]}
    assert not wanted
    problem(gateway.post(EVENTS, {"events": body["events"] + body["events"][:1]}), 400, "malformed_request")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "user"),
        ({"user": "x"}, "event"),
        ({"events": [], "user": "x"}, "events"),
        ({"events": {}}, "events"),
        ({"user": "x", "event": "attended", "at": "yesterday"}, "at"),
    ],
    ids=range(5),
)
def test_what_is_no_event_is_a_problem(gateway: Gateway, body: Any, field: str) -> None:
    told = problem(gateway.post(EVENTS, body), 400, "malformed_request")
    assert told["errors"][0]["field"].startswith(field)


def test_a_single_event_that_cannot_be_taken_is_a_problem(gateway: Gateway) -> None:
    problem(gateway.post(EVENTS, {"user": "nobody at all", "event": "attended"}), 404, "person_not_found")
    ada = gateway.person()
    body = {"user": ada["id"], "event": "attended", "at": "1969-01-01T00:00:00Z"}
    assert problem(gateway.post(EVENTS, body), 400, "malformed_request")["errors"][0]["field"] == "at"
    problem(gateway.anonymous.post(EVENTS, json={"user": ada["id"], "event": "attended"}), 401, "unauthorized")


def test_an_empty_list_is_nothing(gateway: Gateway) -> None:
    answer = gateway.post(EVENTS, {"events": []})
    assert answer.status_code == 202 and answer.json() == {"results": []}


def test_somebody_new_is_like_everybody(gateway: Gateway) -> None:
    ada = gateway.person()
    told = gateway.http.get(f"/admin/api/users/{ada['external_id']}/scores").json()
    assert told["user_id"] == ada["id"]
    assert [one["score_type"] for one in told["scores"]] == ["overall", "email", "telegram", "attendance", "commitment"]
    for one in told["scores"]:
        assert one["score"] == 20 and one["factors"]["mean"] == 0.2 and one["factors"]["n"] == 0
    problem(gateway.http.get("/admin/api/users/nobody-at-all/scores"), 404, "person_not_found")


def test_scores_say_what_they_are_made_from(gateway: Gateway) -> None:
    ada = gateway.person()
    person = UUID(ada["id"])
    gateway.servers.sql(
        "insert into scoring.states (user_id, email_r, email_n, attendance_r, attendance_n, updated_at)"
        " select $1, w, 2 * w, w, w, now() from (select engagement_weight_at(now()) as w) x",
        person,
    )
    gateway.servers.sql(
        "insert into scoring.message_credits (delivery_id, user_id, channel, delivered_at, credit, signals)"
        " select gen_random_uuid(), $1, 'email', now(), 0.6, $2 from generate_series(1, 7)",
        person, [{"kind": "clicked", "at": 1_767_600_000.5, "signal": "human", "credit": 0.6}],
    )  # fmt: skip
    told = gateway.http.get(f"/admin/api/users/{ada['id']}/scores").json()
    scores = {one["score_type"]: one for one in told["scores"]}
    email = scores["email"]
    assert email["score"] == pytest.approx(100 * (1 + 0.8) / (2 + 4), abs=0.01)
    assert email["factors"]["r"] == pytest.approx(1, abs=1e-3) and email["factors"]["n"] == pytest.approx(2, abs=1e-3)
    assert email["factors"]["messages"] == 7 and len(email["factors"]["last"]) == 5
    assert email["factors"]["last"][0] == {"kind": "clicked", "at": "2026-01-05T08:00:00.5+00:00", "credit": 0.6}
    assert scores["attendance"]["score"] == pytest.approx(100 * 1.8 / 5, abs=0.01)
    assert scores["overall"]["factors"]["parts"]["email"]["score"] == email["score"]
    gateway.servers.sql("update gateway.contacts set consent = 'refused' where user_id = $1", person)
    scores = {
        one["score_type"]: one for one in gateway.http.get(f"/admin/api/users/{ada['id']}/scores").json()["scores"]
    }
    assert scores["email"]["score"] == 0 and scores["email"]["factors"]["blocked"] and scores["overall"]["score"] == 0
    # Silence moves a score without anything being written.
    before = gateway.http.get(f"/admin/api/users/{ada['id']}/scores").json()["calculated_at"]
    assert before > told["calculated_at"]
