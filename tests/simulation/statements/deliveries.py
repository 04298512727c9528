"""The controller's statements about deliveries and what becomes of them."""

from nurture_controller.facts import PRECEDENCE as _PRECEDENCE
from nurture_controller.facts import status as _status

from tests.simulation.statements.controller import _json, _some
from tests.simulation.tables import Session as _Session
from tests.simulation.tables import UniqueViolation as _UniqueViolation

_FACTS = [f"{kind}_at" for kind in _PRECEDENCE]
_TOLD = (
    "sent_at", "delivered_at", "opened_at", "clicked_at", "bounced_at", "complained_at", "failed_at", "suppressed_at",
    "cancelled_at", "expired_at", "unknown_at", "reason", "provider_id", "attempts", "possible_duplicate",
)  # fmt: skip


def _least(*values):
    return min((value for value in values if value is not None), default=None)


def deliveries_plan(s: _Session, *columns):
    names = (
        "id", "enrolment_id", "user_id", "sequence_type", "step", "channel", "scheduled_at", "created_at", "failed_at",
        "suppressed_at", "expired_at", "failure_reason", "variant", "tier", "fallback_of",
    )  # fmt: skip
    for values in zip(*columns, strict=True):
        row = dict.fromkeys(_FACTS) | {"round": 0, "provider_id": None, "attempts": 0, "possible_duplicate": False}
        row |= dict(zip(names, values, strict=True))
        if not s.insert("deliveries", row["id"], _with_status(row), _place):
            raise _UniqueViolation("deliveries_enrolment_id_step_channel_round_key")
    return len(columns[0])


def _place(row):
    return row["enrolment_id"], row["step"], row["channel"], row["round"]


def _with_status(row):
    known = [kind for kind in _PRECEDENCE if row[f"{kind}_at"] is not None]
    return row | {"status": _status(known), "unsettled": not known}


def contents_plan(s: _Session, *columns):
    names = ("delivery_id", "address", "template", "subject", "body", "params", "decision", "expires_at", "traceparent")
    for values in zip(*columns, strict=True):
        row = dict(zip(names, values, strict=True))
        row |= {"params": _json(row["params"]), "decision": _json(row["decision"])}
        s.insert("delivery_contents", row["delivery_id"], row)
    return len(columns[0])


def events_log(s: _Session, *columns):
    answer = []
    for event_id, delivery_id, provider_id, kind, at, detail in sorted(
        zip(*columns, strict=True), key=lambda one: one[0]
    ):
        if delivery_id is None and provider_id is not None:
            rows = s.tables.committed[s.table("delivery_events")].values()
            sent = (row for row in rows if row["provider_id"] == provider_id and row["kind"] == "sent")
            delivery_id = next((row["delivery_id"] for row in sent), None)
        elif delivery_id is not None and s.get("deliveries", delivery_id) is None:
            continue
        row = {
            "event_id": event_id, "delivery_id": delivery_id, "provider_id": provider_id, "kind": kind, "at": at,
            "detail": _json(detail), "received_at": s.now,
        }  # fmt: skip
        if s.insert("delivery_events", event_id, row):
            answer.append(row)
    return _some(answer, "delivery_id", "provider_id", "kind", "at", "detail")


def events_waiting(s: _Session, provider_ids, delivery_ids):
    known = dict(zip(provider_ids, delivery_ids, strict=True))
    rows = [row for row in s.rows("delivery_events") if row["delivery_id"] is None and row["provider_id"] in known]
    rows = [s.update("delivery_events", row["event_id"], delivery_id=known[row["provider_id"]]) for row in rows]
    return _some(rows, "delivery_id", "provider_id", "kind", "at", "detail")


def facts_fold(s: _Session, ids, *columns):
    for id, *values in sorted(zip(ids, *columns, strict=True), key=lambda one: one[0]):
        if s.get("deliveries", id) is None:
            continue
        s.lock("deliveries", id)
        row, told = s.get("deliveries", id), dict(zip(_TOLD, values, strict=True))
        new = row | {name: _least(row[name], told[name]) for name in (*_FACTS, "provider_id")}
        new |= {
            "failure_reason": _least(row["failure_reason"], told["reason"]),
            "attempts": max(row["attempts"], told["attempts"]),
            "possible_duplicate": row["possible_duplicate"] or told["possible_duplicate"],
        }
        s.update("deliveries", id, **_with_status(new))
    return len(ids)


def failures(s: _Session, ids):
    answer = []
    for id in ids:
        one = s.get("deliveries", id)
        if one is None or s.get("fallbacks", id):
            continue
        enrolment = s.get("enrolments", one["enrolment_id"])
        s.lock("enrolments", enrolment["id"])
        answer.append({
            "id": id, "channel": one["channel"], "step": one["step"], "scheduled_at": one["scheduled_at"],
            "is_fallback": one["fallback_of"] is not None,
            "evidence": any(one[name] for name in ("delivered_at", "opened_at", "clicked_at", "complained_at")),
            "enrolment_id": enrolment["id"], "current": enrolment["last_delivery_id"] and enrolment["last_delivery_id"] == id,
            "running": enrolment["state"] in ("active", "completed"),
            "traceparent": s.get("delivery_contents", id).get("traceparent"),
            **{
                name: enrolment[name] for name in ("user_id", "sequence_id", "sequence_type", "override_channel", "context")
            },
        })  # fmt: skip
    return sorted(answer, key=lambda row: row["enrolment_id"])


def fallbacks_note(s: _Session, ids, fallback_ids, ats, decisions):
    for id, fallback_id, at, decision in zip(ids, fallback_ids, ats, decisions, strict=True):
        row = {"delivery_id": id, "fallback_id": fallback_id, "at": at, "decision": _json(decision)}
        s.insert("fallbacks", id, row)
    return len(ids)


def enrolments_follow(s: _Session, ids, delivery_ids):
    for id, delivery_id in zip(ids, delivery_ids, strict=True):
        s.update("enrolments", id, last_delivery_id=delivery_id)
    return len(ids)
