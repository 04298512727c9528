"""The controller's statements. Single messages asked for in SQL and restored databases are not simulated."""

import msgspec as _msgspec

from tests.simulation.tables import Session as _Session


def _json(value):
    return _msgspec.json.decode(_msgspec.json.encode(value))


def _some(rows, *names):
    return [{name: row[name] for name in names} for row in rows]


# ── sequences, commands, people ──────────────────────────────────────────────────────────────────────────────────────────


def sequence_latest(s: _Session, type):
    rows = [row for row in s.rows("sequences") if row["type"] == type]
    return sorted(rows, key=lambda row: -row["version"])[:1]


def sequence_by_ids(s: _Session, ids):
    return [row for id in ids if (row := s.get("sequences", id))]


def sequence_types(s: _Session):
    return [{"type": type} for type in sorted({row["type"] for row in s.rows("sequences")})]


def requests_by_ids(s: _Session, ids):
    return []


def command_lock(s: _Session, command_id):
    s.lock("advisory", command_id)
    return [{"": None}]


def command_result(s: _Session, command_id):
    return [row for row in [s.get("command_results", command_id)] if row]


def command_settle(s: _Session, command_id, status, result, at):
    row = {"command_id": command_id, "status": status, "result": _json(result), "at": at}
    return int(s.insert("command_results", command_id, row))


def start_cancelled(s: _Session, command_id):
    return [{"?column?": True}] if s.get("cancelled_starts", command_id) else []


def start_forestall(s: _Session, command_id, at):
    return int(s.insert("cancelled_starts", command_id, {"command_id": command_id, "at": at}))


def people(s: _Session, ids, now):
    answer = []
    for id in ids:
        person = s.get("gateway.users", id)
        if person is None:
            continue
        row = {"id": id, "email_score": None, "telegram_score": None, "overall_score": None}
        row |= {
            name: person.get(name)
            for name in ("first_name", "timezone", "locale", "attributes", "preferred_channel", "preferred_time")
        }
        for channel in ("email", "telegram"):
            contact = s.get("gateway.contacts", (id, channel)) or {}
            row |= {channel: contact.get("address")}
            row |= {f"{channel}_state": contact.get("state"), f"{channel}_unsubscribed": None}
            row |= dict.fromkeys((f"{channel}_consent", f"{channel}_announcement_consent"))
            if contact:
                said = contact["consent"]
                row[f"{channel}_unsubscribed"] = said == "refused"
                row[f"{channel}_consent"] = said if contact["opt_in_sequences"] else "refused"
                row[f"{channel}_announcement_consent"] = said if contact["opt_in_announcements"] else "refused"
        answer.append(row)
    return answer


def telegram_channel(s: _Session):
    return [{"ready": True, "bot_username": None}]


# ── enrolments ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def enrolments_running_of(s: _Session, type, users):
    rows = s.rows("enrolments")
    rows = [
        row for row in rows if row["state"] == "active" and row["sequence_type"] == type and row["user_id"] in users
    ]
    return _some(rows, "user_id", "id")


def enrolments_start(
    s: _Session,
    command,
    sequence,
    type,
    context,
    override,
    now,
    ids,
    users,
    steps,
    nexts,
    states,
    lasts,
    ends,
    reasons,
    paused,
    traceparent,
):
    answer = []
    columns = zip(ids, users, steps, nexts, states, lasts, ends, reasons, strict=True)
    for id, user, step, next_at, state, last, ended_at, reason in columns:
        row = {
            "id": id, "command_id": command, "user_id": user, "sequence_id": sequence, "sequence_type": type, "step": step,
            "next_at": next_at, "state": state, "context": _json(context), "override_channel": override,
            "last_delivery_id": last, "started_at": now, "ended_at": ended_at, "ended_reason": reason, "paused": paused,
            "due_at": None, "traceparent": traceparent,
        }  # fmt: skip
        if s.insert("enrolments", id, row, _by_command, _running):
            answer.append({"id": id})
    return answer


def _by_command(row):
    return row["command_id"], row["user_id"]


def _running(row):
    return (row["user_id"], row["sequence_type"]) if row["state"] == "active" else None


def enrolments_claim_due(s: _Session, now, limit):
    if _all_held(s):
        return []
    held = {row["type"] for row in s.rows("paused_types")}
    answer = []
    for row in _due(s):
        if row["next_at"] <= now and len(answer) < limit and s.lock("enrolments", row["id"], "skip"):
            last = s.get("deliveries", row["last_delivery_id"])
            names = (
                "id",
                "user_id",
                "sequence_id",
                "sequence_type",
                "step",
                "context",
                "override_channel",
                "started_at",
            )
            answer.append({
                **{name: row[name] for name in names}, "traceparent": row.get("traceparent"), "next_at": row["due_at"] or row["next_at"],
                "last_status": last and last["status"], "held": row["sequence_type"] in held,
            })  # fmt: skip
    return sorted(answer, key=lambda row: row["id"])


def _all_held(s: _Session):
    return s.get("paused_types", "*") is not None


def _due(s: _Session):
    rows = [row for row in s.rows("enrolments") if row["state"] == "active" and not row["paused"] and row["next_at"]]
    return sorted(rows, key=lambda row: row["next_at"])


def enrolments_advance(s: _Session, ids, steps, nexts, states, lasts, ends, reasons, dues):
    for id, step, next_at, state, last, ended_at, reason, due_at in zip(
        ids, steps, nexts, states, lasts, ends, reasons, dues, strict=True
    ):
        s.lock("enrolments", id)
        s.update(
            "enrolments", id, step=step, next_at=next_at, state=state,
            last_delivery_id=last or s.get("enrolments", id)["last_delivery_id"], ended_at=ended_at, ended_reason=reason,
            due_at=due_at,
        )  # fmt: skip
    return len(ids)


def enrolments_next_due(s: _Session):
    return [] if _all_held(s) else _some(_due(s)[:1], "next_at")


def start_held(s: _Session, type):
    own = s.get("paused_types", type) is not None
    if own:
        s.lock("paused_types", type, "share")
    return [{"type": own, "everything": _all_held(s)}]


def hold(s: _Session, type, at):
    return int(s.insert("paused_types", type, {"type": type, "at": at}))


def release(s: _Session, type):
    if s.get("paused_types", type) is None:
        return 0
    s.delete("paused_types", type)
    return 1


def enrolments_hold(s: _Session, type, paused):
    rows = [row for row in s.rows("enrolments") if row["state"] == "active" and row["sequence_type"] == type]
    rows = [row for row in rows if row["paused"] != paused]
    for row in rows:
        s.update("enrolments", row["id"], paused=paused)
    return len(rows)


def enrolments_hold_late(s: _Session, ids, types):
    still = {type for type in types if s.get("paused_types", type)}
    for type in still:
        s.lock("paused_types", type, "share")
    ids = [id for id in ids if s.get("enrolments", id)["sequence_type"] in still]
    for id in ids:
        s.update("enrolments", id, paused=True)
    return len(ids)


def enrolments_running(s: _Session):
    return [{"count": sum(row["state"] == "active" for row in s.rows("enrolments"))}]


def holds_of(s: _Session, type):
    rows = [row for row in s.rows("paused_types") if type in ("*", row["type"]) or row["type"] == "*"]
    rows = [{"sequence_type": row["type"], "reason": "paused", "at": row["at"], "detail": None} for row in rows]
    return sorted(rows, key=lambda row: row["sequence_type"])


def enrolments_cancel(s: _Session, at, id, command_id, user_id, type):
    rows = [
        row
        for row in s.rows("enrolments")
        if (row["state"] == "active" or (row["state"] == "completed" and _waits(s, row["id"])))
        and (
            row["id"] == id
            or row["command_id"] == command_id
            or (row["user_id"] == user_id and row["sequence_type"] == type)
        )
    ]
    for row in rows:
        s.update("enrolments", row["id"], state="cancelled", next_at=None, ended_at=at, ended_reason="cancelled")
    return _some(rows, "id")


def _waits(s: _Session, enrolment_id):
    return any(row["enrolment_id"] == enrolment_id and row["unsettled"] for row in s.rows("deliveries"))


def requests_cancel(s: _Session, at, user_id, type):
    return []


# ── starts for many people ───────────────────────────────────────────────────────────────────────────────────────────────


def job_open(s: _Session, command_id, sequence_id, type, users, context, override, at, traceparent):
    row = {
        "command_id": command_id, "traceparent": traceparent, "sequence_id": sequence_id, "sequence_type": type,
        "user_ids": users if users is not None else sorted(row["id"] for row in s.rows("gateway.users")),
        "cursor": 0, "context": _json(context), "override_channel": override, "started": 0, "running": 0,
        "refused_by_reason": {}, "refused": [], "at": at, "done": False,
    }  # fmt: skip
    return int(s.insert("start_jobs", command_id, row))


def job_wait(s: _Session, command_id):
    if s.get("start_jobs", command_id) is None:
        return 0
    s.lock("start_jobs", command_id)
    return 1


def job_claim(s: _Session, batch):
    for row in sorted((row for row in s.rows("start_jobs") if not row["done"]), key=lambda row: row["at"]):
        if s.lock("start_jobs", row["command_id"], "skip"):
            page = row["user_ids"][row["cursor"] : row["cursor"] + batch]
            return [{**row, "page": page, "people": len(row["user_ids"])}]
    return []


def job_advance(s: _Session, command_id, cursor, started, running, refused_by_reason, refused, done):
    s.update(
        "start_jobs", command_id, cursor=cursor, started=started, running=running, refused_by_reason=refused_by_reason,
        refused=_json(refused), done=done,
    )  # fmt: skip
    return 1
