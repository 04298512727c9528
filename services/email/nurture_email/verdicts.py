"""What a provider's answer means. Pure: one table from HTTP status and error name to a class, and the reading of replies.

accepted   the provider has it
rejected   it refused this request for good
not_sent   it certainly took nothing; trying again is safe, also under a new key
ambiguous  it may have taken it; only the same request under the same key is safe

What is not in the table is ambiguous.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple

from msgspec import Struct

Kind = Literal["accepted", "rejected", "not_sent", "ambiguous"]
Then = Literal["park", "conflict", "concurrent", "unrepeatable", "dead"]
"""What follows beside that.

park          it refuses the account, not the mail: the channel stops
conflict      the key stands for another request, so an earlier one was taken: no attempt can tell more
concurrent    an earlier request under this key is still running: ask again a little later
unrepeatable  there is no key, so asking again could send it again: no attempt can tell more
dead          there is no such address
"""
MemberKind = Literal["accepted", "rejected", "not_sent", "unknown"]

PARKED_MINUTES = 10
DAILY = "daily_quota_exceeded"
OUT_OF_REACH = "relay_unreachable"
OUT_OF_REACH_SECONDS = 30.0
ANY = None
"""Any name, or none: the status alone says it."""


class Row(NamedTuple):
    """One kind of error reply."""

    status: int
    name: str | None
    kind: Kind
    then: Then | None = None


TABLE: tuple[Row, ...] = (
    Row(400, "validation_error", "rejected"),
    Row(400, "invalid_idempotency_key", "rejected"),
    Row(401, ANY, "not_sent", "park"),
    Row(403, ANY, "not_sent", "park"),
    Row(404, ANY, "not_sent", "park"),
    Row(405, ANY, "not_sent", "park"),
    Row(409, "invalid_idempotent_request", "ambiguous", "conflict"),
    Row(409, "concurrent_idempotent_requests", "ambiguous", "concurrent"),
    Row(409, "resource_locked", "ambiguous", "concurrent"),
    Row(413, ANY, "rejected"),
    Row(422, "missing_required_field", "rejected"),
    Row(422, "missing_required_parameter", "rejected"),
    Row(422, "invalid_parameter", "rejected"),
    Row(422, "invalid_attachment", "rejected"),
    Row(422, "validation_error", "rejected"),
    Row(422, "invalid_from_address", "not_sent", "park"),
    Row(422, "invalid_access", "not_sent", "park"),
    Row(422, "invalid_region", "not_sent", "park"),
    Row(429, DAILY, "not_sent", "park"),
    Row(429, "monthly_quota_exceeded", "not_sent", "park"),
    Row(429, ANY, "not_sent"),
    Row(451, ANY, "not_sent", "park"),
    Row(301, ANY, "not_sent", "park"),
    Row(302, ANY, "not_sent", "park"),
    Row(307, ANY, "not_sent", "park"),
    Row(308, ANY, "not_sent", "park"),
    Row(500, ANY, "ambiguous"),
    Row(503, ANY, "ambiguous"),
    Row(504, ANY, "ambiguous"),
)
"""A row with a name goes before one for any. A wrong key, address, path or sender domain is the installation's fault, not
a person's: it parks, it rejects nobody. 5xx stand here for the reader; they are what the default is."""

_BY_NAME = {(row.status, row.name): row for row in TABLE}

MEMBERS: dict[str | None, MemberKind] = {
    None: "rejected",
    "validation_error": "rejected",
    "missing_required_field": "rejected",
    "missing_required_parameter": "rejected",
    "invalid_parameter": "rejected",
    "rate_limit_exceeded": "not_sent",
    "application_error": "not_sent",
    "internal_server_error": "not_sent",
    "service_unavailable": "not_sent",
}
"""Members that a permissive batch names under `errors`, which says that it did not queue them; a strange name is unknown."""


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
    then: Then | None = None
    reason: str | None = None
    retry_after: float | None = None
    members: list[MemberVerdict] = []


def row_of(status: int, name: str | None) -> Row:
    """What the table says of an error reply: the row with its name, else the one for any name, else ambiguous."""
    return _BY_NAME.get((status, name)) or _BY_NAME.get((status, ANY)) or Row(status, name, "ambiguous")


def read(answer: Answer, count: int) -> Verdict:
    """The verdict on a request with `count` members."""
    if 200 <= answer.status < 300:
        if answer.body is None:
            # Asking again under the same key brings the original reply back.
            return Verdict(kind="ambiguous", reason="unreadable_reply")
        members = _single(answer.body) if count == 1 else None
        return Verdict(kind="accepted", members=members or _batch(answer.body, count))
    name = _name(answer.body)
    row = row_of(answer.status, name)
    reason = name or f"http_{answer.status}"
    return Verdict(kind=row.kind, then=row.then, reason=reason, retry_after=answer.retry_after)


def park_seconds(reason: str | None, now: datetime) -> float:
    """How long an account refusal stops the channel, real seconds: a daily quota until the next UTC day, a relay that nobody
    can reach half a minute, others 10 min."""
    if reason == OUT_OF_REACH:
        return OUT_OF_REACH_SECONDS
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
        name = _name(error)
        refused[index] = MemberVerdict(kind=MEMBERS.get(name, "unknown"), reason=name or "validation_error")
    return refused
