"""Planning now, new rounds, queues and numbers over REST; the test plays the controller."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from gateway_stand import Controller, Gateway
from test_health_and_pages import problem

COUNTS = {"planned": 3, "sent": 2, "skipped": 1, "failed": 0}


def fail(gateway: Gateway, delivery: UUID, fact: str = "failed_at") -> None:
    gateway.servers.sql(f"update controller.deliveries set {fact} = now() where id = $1", delivery)


@pytest.mark.parametrize("path", ["/admin/api/nurture/process", "/admin/api/email/queue/process"])
def test_a_pass_is_a_command_with_the_controllers_counts(path: str, gateway: Gateway, controller: Controller) -> None:
    controller.answer = lambda *_: (200, COUNTS)
    key = uuid4().hex
    answer = gateway.post(path, key=key)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert list(told) == ["command_id", *COUNTS] and {name: told[name] for name in COUNTS} == COUNTS
    controller.await_message("process_due", lambda message: message["command_id"] == told["command_id"])
    assert gateway.post(path, key=key).content == answer.content


def test_without_a_controller_a_pass_is_accepted_and_done_later(gateway: Gateway) -> None:
    answer = gateway.post("/admin/api/nurture/process")
    assert answer.status_code == 202
    assert gateway.http.get(answer.json()["status_url"]).json()["kind"] == "process"


def test_the_queue_is_retried_and_cleared_for_email_alone(gateway: Gateway, controller: Controller) -> None:
    retried = {"retried": 2, "remaining": 0, "refused_by_reason": {"no_address": 1}}
    controller.answer = lambda subject, _: (200, {"archived": 4} if "archive" in subject else retried)
    answer = gateway.post("/admin/api/email/queue/retry").json()
    assert {name: answer[name] for name in retried} == retried
    heard = controller.await_message("resend_deliveries", lambda one: one["command_id"] == answer["command_id"])
    assert (heard["channel"], heard["delivery_id"], heard["may_have_arrived"]) == ("email", None, False)
    answer = gateway.post("/admin/api/email/queue/clear-failed").json()
    assert answer["archived"] == 4
    heard = controller.await_message("archive_deliveries", lambda one: one["command_id"] == answer["command_id"])
    assert heard["channel"] == "email"


def test_a_message_is_sent_once_more_or_refused_with_what_to_do(gateway: Gateway, controller: Controller) -> None:
    delivery, again = uuid4(), str(uuid4())
    resent = {"delivery_id": again, "resend_of": str(delivery), "round": 1, "channel": "email", "sequence_type": "s"}
    controller.answer = lambda *_: (201, resent)
    url = f"/admin/api/deliveries/{delivery}/resend"
    told = gateway.post(url).json()
    assert {name: told[name] for name in resent} == resent
    heard = controller.await_message("resend_deliveries", lambda one: one["command_id"] == told["command_id"])
    assert (heard["delivery_id"], heard["may_have_arrived"]) == (str(delivery), False)
    told = gateway.post(url, {"may_have_arrived": True}).json()
    assert controller.await_message("resend_deliveries", lambda one: one["command_id"] == told["command_id"])[
        "may_have_arrived"
    ]
    controller.answer = lambda *_: (409, {"code": "may_have_arrived", "detail": "It may have.", "hint": "Say so."})
    assert problem(gateway.post(url), 409, "may_have_arrived")["hint"] == "Say so."
    problem(gateway.post(url, {"force": True}), 400, "malformed_request")


def of(groups: list[dict[str, Any]], **names: Any) -> dict[str, Any]:
    (found,) = [one for one in groups if all(one[name] == value for name, value in names.items())]
    return found


def test_analytics_count_each_fact_by_what_one_asks_them_by(gateway: Gateway) -> None:
    person, kind, now = gateway.person(), uuid4().hex, datetime.now(UTC)
    before = gateway.http.get("/admin/api/nurture/analytics?days=3").json()
    facts = [
        ({"sent_at", "delivered_at", "opened_at", "clicked_at"}, "a", 0),
        ({"sent_at", "delivered_at", "opened_at"}, "b", 0),
        ({"sent_at", "bounced_at"}, "b", 1),
        ({"failed_at"}, None, 1),
        ({"sent_at", "delivered_at"}, None, 40),
    ]
    made = []
    for columns, variant, days_ago in facts:
        delivery = gateway.servers.delivery(person["id"], person["email"])
        made.append(delivery)
        gateway.servers.sql(
            f"update controller.deliveries set {', '.join(f'{name} = now()' for name in columns)}, sequence_type = $2,"
            " variant = $3, created_at = $4 where id = $1",
            delivery, kind, variant, now - timedelta(days=days_ago),
        )  # fmt: skip
    saved = gateway.servers.delivery(person["id"], person["email"])
    gateway.servers.sql(
        "update controller.deliveries set sequence_type = $2, channel = 'telegram', fallback_of = $3, sent_at = now(),"
        " delivered_at = now() where id = $1",
        saved, kind, made[3],
    )  # fmt: skip
    shown = gateway.http.get("/admin/api/nurture/analytics?days=3").json()
    counted = of(shown["by_sequence"], sequence_type=kind)
    assert {name: count for name, count in counted.items() if count and name != "sequence_type"} == {
        "planned": 5, "sent": 4, "delivered": 3, "openable": 2, "opened": 2, "clicked": 1, "bounced": 1, "failed": 1, "fallbacks": 1,
        "fallback_saves": 1,
    }  # fmt: skip
    assert of(shown["by_step"], sequence_type=kind, step=1) == counted | {"step": 1}
    assert [(one["variant"], one["planned"]) for one in shown["by_variant"] if one["sequence_type"] == kind] == [
        ("a", 1), ("b", 2),
    ]  # fmt: skip
    assert [day["day"] for day in shown["by_day"]] == [(now.date() - timedelta(days=n)).isoformat() for n in (2, 1, 0)]
    grown = {name: shown["totals"][name] - before["totals"][name] for name in ("planned", "bounced", "fallback_saves")}
    assert grown == {"planned": 5, "bounced": 1, "fallback_saves": 1}
    assert sum(day["planned"] for day in shown["by_day"]) == shown["totals"]["planned"]
    assert sum(one["sent"] for one in shown["by_channel"]) == shown["totals"]["sent"]
    # Nobody tells when a Telegram message is opened: it is no part of those that could be.
    assert shown["rates"]["open"] == round(shown["totals"]["opened"] / shown["totals"]["openable"], 4)
    assert of(shown["by_channel"], channel="telegram")["openable"] == 0
    assert shown["rates"]["bounce"] == round(shown["totals"]["bounced"] / shown["totals"]["sent"], 4)
    stats = gateway.http.get("/admin/api/email/stats?days=3").json()
    assert stats["totals"] == {
        name: value for name, value in of(shown["by_channel"], channel="email").items() if name != "channel"
    }
    for days in (0, 367, "x"):
        problem(gateway.http.get(f"/admin/api/nurture/analytics?days={days}"), 400, "malformed_request")
        problem(gateway.http.get(f"/admin/api/email/stats?days={days}"), 400, "malformed_request")


def test_analytics_show_scores_over_time(gateway: Gateway) -> None:
    today = datetime.now(UTC).date()
    for day in (today, today - timedelta(days=3)):
        gateway.servers.sql(
            "insert into scoring.score_days values ($1, 'overall', now(), 5, 31.256, 10, 30, 60, '{0,1,0,3,0,0,1,0,0,0}')"
            " on conflict do nothing",
            day,
        )
    shown = gateway.http.get("/admin/api/nurture/analytics?days=3").json()["scores"]
    assert shown == [
        {"day": today.isoformat(), "score_type": "overall", "people": 5, "mean": 31.26, "p10": 10.0, "median": 30.0, "p90": 60.0,
         "buckets": [0, 1, 0, 3, 0, 0, 1, 0, 0, 0]}
    ]  # fmt: skip


def test_the_queue_and_the_metrics_show_what_waits_and_what_went_wrong(gateway: Gateway) -> None:
    person = gateway.person()
    before, metrics = gateway.http.get("/admin/api/email/queue").json(), gateway.http.get("/admin/api/metrics").json()
    for fact in (None, "failed_at", "expired_at", "unknown_at", "sent_at"):
        delivery = gateway.servers.delivery(person["id"], person["email"])
        if fact:
            fail(gateway, delivery, fact)
    reason = uuid4().hex
    gateway.servers.sql("update controller.deliveries set failure_reason = $2 where id = $1", delivery, reason)
    fail(gateway, delivery, "bounced_at")
    queue, later = gateway.http.get("/admin/api/email/queue").json(), gateway.http.get("/admin/api/metrics").json()
    grown = {name: queue[name] - before[name] for name in ("pending", "failed", "unknown")}
    assert grown == {"pending": 1, "failed": 2, "unknown": 1}
    assert queue in later["queues"] and len(later["queues"]) == 2
    assert later["failures_24h"][reason] == 1
    assert later["deliveries_24h"]["bounced"] == metrics["deliveries_24h"].get("bounced", 0) + 1
    assert later["active"] == metrics["active"] + 5 == sum(later["active_sequences"].values())
    assert later["people"]["total"] == metrics["people"]["total"]


def test_a_test_mail_moves_no_number(gateway: Gateway) -> None:
    names = ("/admin/api/nurture/analytics", "/admin/api/email/stats", "/admin/api/email/queue")
    before = [{**gateway.http.get(name).json(), "until": 0} for name in names]
    assert gateway.post("/admin/api/email/test", {"email_address": "a@example.org"}).status_code == 202
    assert [{**gateway.http.get(name).json(), "until": 0} for name in names] == before
