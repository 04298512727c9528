"""What a caller is told about a command, now and at every repeat."""

from collections import Counter
from typing import Any

ORDER = (
    "enrolment_id", "user_id", "sequence_type", "version", "step", "channel", "scheduled_at", "type", "findings",
    "started", "running", "cancelled", "refused", "delivery_id", "resend_of", "round", "planned", "sent", "skipped", "failed",
    "retried", "remaining", "archived", "start_at", "people", "of", "held", "messages", "steps", "days", "busiest", "timelines",
)  # fmt: skip
"""jsonb forgets the order of members; this one keeps a repeated answer the same to the byte."""


def ordered(result: dict[str, Any]) -> dict[str, Any]:
    """Known members first, the rest by name."""
    known = [name for name in ORDER if name in result]
    return {name: result[name] for name in (*known, *sorted(result.keys() - set(known)))}


def status_url(command_id: Any) -> str:
    """Where a command's state is shown."""
    return f"/admin/api/commands/{command_id}"


def pending(command_id: Any) -> dict[str, Any]:
    """The body of a 202."""
    return {"command_id": command_id, "status_url": status_url(command_id)}


def progress(early: list[dict[str, str]], result: dict[str, Any]) -> dict[str, Any]:
    """Counts of a start for many: those refused before the controller saw them, and its own, in one list."""
    refused = [*early, *result.get("refused", [])]
    reasons = Counter(entry["reason"] for entry in early) + Counter(
        result.get("refused_by_reason") or Counter(entry["reason"] for entry in result.get("refused", []))
    )
    return {
        "started": result.get("started", 0),
        "running": result.get("running", 0),
        "refused_count": reasons.total(),
        "refused_by_reason": dict(reasons.most_common()),
        "refused": refused,
    }


def report(row: dict[str, Any]) -> dict[str, Any]:
    """The status page of a command. `result` may be the progress of one that is not settled yet."""
    result = row["result"] or {}
    state = "expired" if row["expired"] else row["state"]
    shown = {
        "id": row["id"],
        "kind": row["kind"],
        "state": state,
        "status": row["status"],
        "created_at": row["created_at"],
        "settled_at": row["settled_at"],
        "expires_at": row["expires_at"],
        "trace_id": row["trace_id"],
    }
    refusal = row["status"] is not None and row["status"] >= 400
    if row["kind"] == "trigger":
        if row["request"].get("single"):
            done = row["status"] is not None and not refusal
            early = (
                [{"user": str(row["request"].get("user_id")), "reason": result.get("code", "refused")}]
                if refusal
                else []
            )
            shown |= progress(early, {"started": int(done)})
        else:
            shown |= progress(row["refused_early"], {} if refusal else result)
    return shown | {"result": ordered(result) if row["status"] is not None else None}
