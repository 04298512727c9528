"""What a provider's answer means. Pure: one table from (HTTP status, error name) to a class, and the reading of replies.

accepted   the provider has it
rejected   it refused this request for good
not_sent   it certainly took nothing; trying again is safe, also under a new key
ambiguous  it may have taken it; only the same request under the same key is safe
conflict   the key stands for another request, so an earlier one was taken
concurrent an earlier request under this key is still running
account    it refuses the account, not the mail: nothing was sent, the channel is parked
"""

from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from msgspec import Struct

Kind = Literal["accepted", "rejected", "not_sent", "ambiguous", "conflict", "concurrent", "account"]
MemberKind = Literal["accepted", "rejected", "not_sent", "unknown"]

PARKED_MINUTES = 10
DAILY = "daily_quota_exceeded"

TABLE: dict[tuple[int, str], Kind] = {
    (400, "validation_error"): "rejected",
    (400, "invalid_idempotency_key"): "rejected",
    (401, "missing_api_key"): "account",
    (401, "restricted_api_key"): "account",
    (403, "invalid_api_key"): "account",
    (403, "validation_error"): "account",
    (403, "suspended_api_key"): "account",
    (403, "invalid_permission"): "account",
    (403, "email_above_quota"): "account",
    (404, "not_found"): "account",
    (405, "method_not_allowed"): "account",
    (409, "invalid_idempotent_request"): "conflict",
    (409, "concurrent_idempotent_requests"): "concurrent",
    (409, "resource_locked"): "concurrent",
    (422, "missing_required_field"): "rejected",
    (422, "missing_required_parameter"): "rejected",
    (422, "invalid_parameter"): "rejected",
    (422, "invalid_attachment"): "rejected",
    (422, "validation_error"): "rejected",
    (422, "invalid_from_address"): "account",
    (422, "invalid_access"): "account",
    (422, "invalid_region"): "account",
    (429, "rate_limit_exceeded"): "not_sent",
    (429, "daily_quota_exceeded"): "account",
    (429, "monthly_quota_exceeded"): "account",
    (451, "security_error"): "account",
    (500, "application_error"): "ambiguous",
    (500, "internal_server_error"): "ambiguous",
    (503, "service_unavailable"): "ambiguous",
    (504, "gateway_timeout"): "ambiguous",
}
"""A wrong address, path or sender domain is the installation's fault, not a person's: it parks, it rejects nobody."""

_BY_STATUS: dict[int, Kind] = {400: "rejected", 401: "account", 403: "account", 404: "account", 405: "account",
                               413: "rejected", 422: "rejected", 429: "not_sent", 451: "account"}  # fmt: skip

_RETRYABLE_MEMBER = {"rate_limit_exceeded", "application_error", "internal_server_error", "service_unavailable"}


class Answer(Struct, frozen=True, kw_only=True):
    """A provider's reply as it came: `body` is decoded JSON, None when it was none. `retry_after` in seconds."""

    status: int
    body: Any = None
    retry_after: float | None = None


class MemberVerdict(Struct, frozen=True, kw_only=True):
    """What became of one member of an accepted request. `not_sent` may be tried again under a new key."""

    kind: MemberKind
    provider_id: str | None = None
    reason: str | None = None


class Verdict(Struct, frozen=True, kw_only=True):
    """What became of a request. `members` stands beside `accepted` only, in the order of the request."""

    kind: Kind
    reason: str | None = None
    retry_after: float | None = None
    members: list[MemberVerdict] = []


def classify(status: int, name: str | None) -> Kind:
    """The class of an error reply. Unknown names go by their HTTP status, unknown statuses are ambiguous."""
    return TABLE.get((status, name or "")) or _BY_STATUS.get(status, "ambiguous")


def read(answer: Answer, count: int) -> Verdict:
    """The verdict on a request with `count` members."""
    if 200 <= answer.status < 300:
        if answer.body is None:
            # Asking again under the same key brings the original reply back.
            return Verdict(kind="ambiguous", reason="unreadable_reply")
        members = _single(answer.body) if count == 1 else None
        return Verdict(kind="accepted", members=members or _batch(answer.body, count))
    name = _name(answer.body)
    return Verdict(
        kind=classify(answer.status, name), reason=name or f"http_{answer.status}", retry_after=answer.retry_after
    )


def park_seconds(reason: str | None, now: datetime) -> float:
    """How long an account refusal stops the channel, real seconds: a daily quota until the next UTC day, others 10 min."""
    if reason != DAILY:
        return PARKED_MINUTES * 60.0
    midnight = datetime(now.year, now.month, now.day, tzinfo=UTC) + timedelta(days=1)
    return (midnight - now).total_seconds() + 60.0


def _name(body: Any) -> str | None:
    name = body.get("name") if isinstance(body, dict) else None
    # The name goes into events and logs, so it has to look like one.
    return (
        name
        if isinstance(name, str) and name.isascii() and name.replace("_", "").isalnum() and len(name) < 60
        else None
    )


def _id(entry: Any) -> str | None:
    found = entry.get("id") if isinstance(entry, dict) else None
    return found if isinstance(found, str) and found else None


def _single(body: Any) -> list[MemberVerdict] | None:
    found = _id(body)
    return [MemberVerdict(kind="accepted", provider_id=found)] if found else None


def _batch(body: Any, count: int) -> list[MemberVerdict]:
    """In permissive mode `data` has the members that are not in `errors`, in order."""
    fields = body if isinstance(body, dict) else {}
    refused = _refused(fields.get("errors") or [], count)
    data = fields.get("data")
    data = data if isinstance(data, list) else []
    ids = [_id(entry) for entry in data]
    fits = refused is not None and len(ids) == count - len(refused) and all(ids)
    unknown = MemberVerdict(kind="unknown", reason="reply_does_not_add_up")
    taken = iter(ids)
    return [
        refused[place]
        if refused and place in refused
        else MemberVerdict(kind="accepted", provider_id=next(taken))
        if fits
        else unknown
        for place in range(count)
    ]


def _refused(errors: Any, count: int) -> dict[int, MemberVerdict] | None:
    """The members named in `errors`; None when one of the indexes cannot be right, so that none can be trusted."""
    if not isinstance(errors, list):
        return None
    refused: dict[int, MemberVerdict] = {}
    for error in errors:
        index = error.get("index") if isinstance(error, dict) else None
        if type(index) is not int or not 0 <= index < count or index in refused:
            return None
        name = _name(error) or "validation_error"
        kind: MemberKind = "not_sent" if name in _RETRYABLE_MEMBER else "rejected"
        refused[index] = MemberVerdict(kind=kind, reason=name)
    return refused
