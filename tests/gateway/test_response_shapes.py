"""What each path answers, pinned: names, their order and their kinds, a golden file a path.

After a change that is meant: `WRITE_GOLDEN=1 .venv/bin/pytest tests/gateway/test_response_shapes.py`, and read the difference.
"""

import json
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from gateway_stand import TOKENS, Controller, Gateway
from test_reports import FAILED, bounce

GOLDEN = Path(__file__).parent / "golden"
FREE = {
    "active_sequences", "attributes", "deliveries_24h", "failures_24h", "suppressed_addresses", "refused_by_reason",
    "summary", "decision", "inputs", "factors", "not_sent", "variants", "tiers",
}  # fmt: skip
"""Objects whose names are data."""
KINDS = {
    "uuid": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "time": r"\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)",
    "day": r"\d{4}-\d\d-\d\d",
}
BOUNCE = bounce(FAILED.format("5.1.1", ""))
ANSWERS = {
    "start_sequences": (
        201,
        {
            "enrolment_id": str(UUID(int=1)),
            "user_id": str(UUID(int=2)),
            "sequence_type": "onboarding",
            "version": 1,
            "step": 1,
            "channel": "email",
            "scheduled_at": "2026-01-05T09:00:00Z",
        },
    ),
    "cancel_enrolments": (200, {"cancelled": 1}),
    "process_due": (200, {"planned": 3, "sent": 2, "skipped": 1, "failed": 0}),
    "archive_deliveries": (200, {"archived": 4}),
    "simulate_sequence": (
        200,
        {
            "sequence_type": "onboarding",
            "version": 1,
            "start_at": "2026-01-05T09:00:00Z",
            "of": 1,
            "held": False,
            "people": 1,
            "started": 1,
            "refused_by_reason": {},
            "messages": 1,
            "steps": [
                {
                    "step": 1,
                    "name": "welcome",
                    "email": 1,
                    "telegram": 0,
                    "fallbacks": 0,
                    "failed": 0,
                    "not_sent": {"no_reachable_channel": 1},
                    "variants": {"a": 1},
                    "tiers": {"low": 1},
                    "first_at": "2026-01-05T09:00:00Z",
                    "last_at": "2026-01-05T09:00:00Z",
                }
            ],
            "days": [{"day": "2026-01-05", "email": 1, "telegram": 0}],
            "busiest": [{"channel": "email", "minute": "2026-01-05T09:00:00Z", "messages": 1}],
            "timelines": [
                {
                    "user_id": str(UUID(int=2)),
                    "timezone": "UTC",
                    "refused": None,
                    "events": [
                        {
                            "step": 1,
                            "at": "2026-01-05T09:00:00Z",
                            "local_time": "2026-01-05 09:00",
                            "channel": "email",
                            "decision": "send",
                            "fallback": False,
                            "failed": None,
                            "variant": None,
                            "tier": None,
                            "reasons": [{"code": "reachable", "text": "Email works."}],
                        }
                    ],
                }
            ],
        },
    ),
}


def resent(command: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    if command["delivery_id"] is None:
        return 200, {"retried": 2, "remaining": 0, "refused_by_reason": {"no_address": 1}}
    new = {"delivery_id": str(UUID(int=3)), "resend_of": command["delivery_id"], "round": 1}
    return 201, new | {"channel": "email", "sequence_type": "onboarding"}


def shape(value: Any, name: str = "") -> Any:
    """The kinds of what is in it. Lists by their first item; free objects by their first value."""
    match value:
        case dict():
            if name in FREE:
                return {"…": shape(next(iter(value.values())))} if value else {}
            return {key: shape(item, key) for key, item in value.items()}
        case list():
            return [shape(value[0], name)] if value else []
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case None:
            return "null"
    return next((kind for kind, form in KINDS.items() if re.fullmatch(form, value)), "text")


@pytest.fixture
def known(gateway: Gateway, controller: Controller) -> dict[str, str]:
    """Somebody with a message that was opened, and a mail that failed."""
    controller.answer = lambda subject, command: (
        resent(command) if subject.endswith("resend_deliveries") else ANSWERS[subject.rpartition(".")[2]]
    )
    once = gateway.person()
    gateway.servers.delivery(once["id"], once["email"])
    person = gateway.person(
        telegram_chat_id=uuid4().int % 10**12 + 1, attributes={"plan": "free"}, preferred_channel="email"
    )
    failed, opened, _pending = (gateway.servers.delivery(person["id"], person["email"]) for _ in range(3))
    gateway.servers.sql(
        "update controller.deliveries set failed_at = now(), failure_reason = 'rejected' where id = $1", failed
    )
    gateway.servers.sql(
        "update controller.deliveries set sent_at = now(), delivered_at = now(), opened_at = now(), variant = 'a',"
        " attempts = 1 where id = $1",
        opened,
    )
    gateway.servers.sql(
        "insert into controller.delivery_events (event_id, delivery_id, kind, at) values (gen_random_uuid(), $1, 'opened', now())",
        opened,
    )
    gateway.servers.sql(
        "insert into email.suppressions values ($1, 'bounced', now(), $2)", f"{uuid4().hex}@example.org", failed
    )
    gateway.servers.sql(
        "insert into scoring.score_days (day, kind, at, people, mean, p10, median, p90, buckets)"
        " values (current_date - 10, 'overall', now(), 1, 20, 20, 20, 20, array[0, 0, 1, 0, 0, 0, 0, 0, 0, 0]) on conflict do nothing"
    )
    gateway.servers.sql(
        "insert into gateway.canaries (channel, user_id, address) values ('email', gen_random_uuid(), 'canary@example.org')"
        " on conflict do nothing"
    )
    gateway.servers.sql(
        "insert into gateway.commands (id, kind, request, state, status, result, settled_at, people, trace_id)"
        " values ($1, 'trigger', $2, 'settled', 200, $3, now(), 2, $4), ($5, 'trigger', $2, 'settled', 200, $3, now(), 2, $4)",
        uuid4(),
        {"single": False, "sequence_type": "listed"},
        {"started": 2},
        uuid4().hex,
        uuid4(),
    )
    gateway.servers.sql(
        "insert into controller.sequences values (gen_random_uuid(), 'tested', 1, $1, 'x', now()) on conflict do nothing",
        {"steps": [{"name": "first", "body": "Hi", "variants": [{"name": "a"}, {"name": "b"}]}]},
    )
    gateway.servers.sql(
        "update controller.deliveries set sequence_type = 'tested', variant = 'a' where id = $1",
        gateway.servers.delivery(uuid4(), once["email"], sent_at=datetime.now(UTC)),
    )
    assert gateway.webhook({"type": "email.sent"}).status_code == 200
    test = gateway.post("/admin/api/email/test", {"email_address": "test@example.com"}).json()["id"]
    command = gateway.post("/admin/api/nurture/process").json()["command_id"]
    return {
        "once": once["id"],
        "person": person["external_id"],
        "id": person["id"],
        "delivery": str(opened),
        "test": test,
        "command": command,
    }


PATHS: dict[str, Callable[[Gateway, dict[str, str]], httpx.Response]] = {
    "health": lambda g, _: g.anonymous.get("/"),
    "metrics": lambda g, _: g.http.get("/admin/api/metrics"),
    "nurture.trigger": lambda g, k: g.post(
        "/admin/api/nurture/trigger", {"user_id": k["person"], "sequence_type": "onboarding"}
    ),
    "nurture.trigger.many": lambda g, k: g.post(
        "/admin/api/nurture/trigger", {"user_ids": [k["person"]], "sequence_type": "onboarding"}
    ),
    "nurture.simulate": lambda g, k: g.post(
        "/admin/api/nurture/simulate", {"user_id": k["person"], "sequence_type": "onboarding"}
    ),
    "nurture.cancel": lambda g, k: g.post("/admin/api/nurture/cancel", {"enrolment_id": k["id"]}),
    "nurture.active": lambda g, k: g.http.get(f"/admin/api/nurture/active?limit=1&user={k['id']}"),
    "nurture.process": lambda g, _: g.post("/admin/api/nurture/process"),
    "nurture.analytics": lambda g, _: g.http.get("/admin/api/nurture/analytics?days=30"),
    "nurture.analytics.variants": lambda g, _: g.http.get(
        "/admin/api/nurture/analytics/variants?sequence_type=tested&version=1"
    ),
    "commands.listed": lambda g, _: g.http.get("/admin/api/commands?limit=1&sequence_type=listed"),
    "commands": lambda g, k: g.http.get(f"/admin/api/commands/{k['command']}"),
    "email.stats": lambda g, _: g.http.get("/admin/api/email/stats?days=7"),
    "email.queue": lambda g, _: g.http.get("/admin/api/email/queue"),
    "email.queue.process": lambda g, _: g.post("/admin/api/email/queue/process"),
    "email.queue.retry": lambda g, _: g.post("/admin/api/email/queue/retry"),
    "email.queue.clear-failed": lambda g, _: g.post("/admin/api/email/queue/clear-failed"),
    "email.reports": lambda g, _: g.http.post("/admin/api/email/reports", content=BOUNCE),
    "email.suppressions.closed": lambda g, _: g.post("/admin/api/email/suppressions", {"address": "shape@example.com"}),
    "email.suppressions": lambda g, _: g.http.get("/admin/api/email/suppressions?q=shape@example.com"),
    "email.suppressions.lifted": lambda g, _: g.http.delete("/admin/api/email/suppressions/shape@example.com"),
    "email.test": lambda g, _: g.post(
        "/admin/api/email/test",
        {"email_address": "test@example.com", "user_name": "Test User", "template_type": "nurture_sequence"},
    ),
    "email.test.shown": lambda g, k: g.http.get(f"/admin/api/email/test/{k['test']}"),
    "email.webhook": lambda g, k: g.webhook(
        {
            "type": "email.opened",
            "data": {
                "tags": [{"name": "tracking_id", "value": k["delivery"]}],
                "timestamp": "2024-01-01T12:00:00Z",
            },
        }
    ),
    "users": lambda g, _: g.http.get("/admin/api/users?limit=1"),
    "users.shown": lambda g, k: g.http.get(f"/admin/api/users/{k['person']}"),
    "users.preferences": lambda g, k: g.http.get(f"/admin/api/users/{k['person']}/preferences"),
    "users.scores": lambda g, k: g.http.get(f"/admin/api/users/{k['person']}/scores"),
    "users.verification": lambda g, k: g.post(f"/admin/api/users/{k['person']}/verification"),
    "users.why": lambda g, k: g.http.get(f"/admin/api/users/{k['once']}/why"),
    "deliveries": lambda g, k: g.http.get(f"/admin/api/deliveries?limit=1&user={k['id']}&status=opened"),
    "deliveries.shown": lambda g, k: g.http.get(f"/admin/api/deliveries/{k['delivery']}"),
    "deliveries.doubts": lambda g, _: g.http.get("/admin/api/deliveries/doubts"),
    "deliveries.resend": lambda g, k: g.post(
        f"/admin/api/deliveries/{k['delivery']}/resend", {"may_have_arrived": True}
    ),
    "unsubscribed": lambda g, k: g.anonymous.post(f"/u/{TOKENS.unsubscribe_token(UUID(k['delivery']))}"),
    "problem": lambda g, _: g.http.get("/admin/api/nurture/analytics?days=0"),
}


def test_answers_have_the_shapes_that_are_written_down(gateway: Gateway, known: dict[str, str]) -> None:
    told: dict[str, Any] = {}
    for name, ask in PATHS.items():
        answer = ask(gateway, known)
        kind = answer.headers["content-type"].partition(";")[0]
        body = shape(answer.json()) if kind.endswith("json") else None
        told[name] = {"status": answer.status_code, "content-type": kind, "body": body}
    if os.environ.get("WRITE_GOLDEN"):
        GOLDEN.mkdir(exist_ok=True)
        for name, seen in told.items():
            (GOLDEN / f"{name}.json").write_text(json.dumps(seen, indent=1, ensure_ascii=False) + "\n")
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(PATHS)
    for name, seen in told.items():
        golden = json.loads((GOLDEN / f"{name}.json").read_text())
        assert json.dumps(seen, ensure_ascii=False) == json.dumps(golden, ensure_ascii=False), name
