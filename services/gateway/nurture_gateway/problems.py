"""Everything that can go wrong for a caller, in one table: RFC 9457 problem details with a hint and a stable code."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Kind(NamedTuple):
    """One kind of problem: its HTTP status, what it is called, and what a caller can do about it."""

    status: int
    title: str
    hint: str


KINDS: dict[str, Kind] = {
    "malformed_request": Kind(
        400, "Malformed request", "Correct the fields listed in `errors`; /docs shows an example."
    ),
    "malformed_csv": Kind(400, "Malformed CSV", "Send UTF-8 CSV whose first line names the columns; /docs lists them."),
    "bad_cursor": Kind(
        400, "Bad cursor", "Pass `next` of the previous page unchanged, or leave `cursor` out to start again."
    ),
    "unauthorized": Kind(
        401,
        "API key needed",
        "Send `Authorization: Bearer <ADMIN_API_KEY>`; `nurture status` shows the key of a local instance.",
    ),
    "bad_signature": Kind(
        401,
        "Signature refused",
        "Set RESEND_WEBHOOK_SECRET to the signing secret of this endpoint in the provider's dashboard.",
    ),
    "foreign_form": Kind(
        403, "Form refused", "Open the page again and send its form from there; cookies have to be allowed."
    ),
    "not_found": Kind(404, "Not found", "/docs lists every path."),
    "person_not_found": Kind(
        404, "Unknown person", "Name them by id or external_id, or create them with POST /admin/api/users."
    ),
    "method_not_allowed": Kind(405, "Method not allowed", "The `Allow` header lists what this path takes."),
    "address_taken": Kind(409, "Address belongs to another person", "Change or clear it there first."),
    "identity_clash": Kind(
        409, "These belong to different people", "Name one person: by id, by external_id or by address."
    ),
    "consent_refused": Kind(
        409,
        "The person has refused this",
        'If they have changed their mind and said so, send "consent": "granted" as well.',
    ),
    "no_address": Kind(409, "There is no address", "Give the person one with PATCH /admin/api/users/{ref}."),
    "already_verified": Kind(409, "Verified already", "There is nothing to do."),
    "address_unusable": Kind(409, "The address is closed", "Give the person another address."),
    "address_complained": Kind(
        409,
        "The address complained",
        "If they have asked to be written to again, repeat it with `although_complained=true`.",
    ),
    "database_restored": Kind(
        409,
        "The database was copied or restored",
        'Compare with the provider\'s log; then resume with "confirm_restored": true.',
    ),
    "body_too_large": Kind(413, "Body too large", "Requests take 1 MiB, imports 32 MiB; split it."),
    "unsupported_media_type": Kind(415, "Unsupported media type", "/docs shows what this path takes."),
    "too_many_requests": Kind(
        429, "Too many requests", "Wait as many seconds as `Retry-After` says; the limits are settings of the gateway."
    ),
    "key_reused": Kind(
        422, "Idempotency-Key reused", "This key came with another body before; use a new key for a new request."
    ),
    "confirm_needed": Kind(422, "Confirmation needed", "Repeat the request with `confirm` set to that number."),
    "too_many_people": Kind(
        422, "Too many people", 'Name at most 10,000 people in one request, or use `"segment": "all"`.'
    ),
    "internal_error": Kind(
        500, "Internal error", "Nothing was done, or all of it; repeat with the same Idempotency-Key."
    ),
    "unavailable": Kind(503, "Not available right now", "Repeat in a moment, with the same Idempotency-Key."),
    "telegram_not_ready": Kind(
        409, "Telegram is not ready", "Set TELEGRAM_BOT_TOKEN; `nurture status` says what the telegram service sees."
    ),
    "bad_telegram_secret": Kind(
        401,
        "Secret refused",
        "Give the gateway and the telegram service the same TELEGRAM_WEBHOOK_SECRET.",
    ),
    "telegram_secret_missing": Kind(
        503, "Telegram's webhook is not set up", "Set TELEGRAM_WEBHOOK_SECRET and restart the gateway."
    ),
    "webhook_secret_missing": Kind(
        503, "Webhooks are not set up", "Set RESEND_WEBHOOK_SECRET and restart the gateway."
    ),
}

_TITLES = {
    400: "Bad request",
    401: "API key needed",
    403: "Forbidden",
    404: "Not found",
    409: "Conflict",
    422: "Cannot be done",
}


class Problem(Exception):
    """A refusal as the caller gets it. `code` is stable for programs, `detail` is for people."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        status: int | None = None,
        hint: str | None = None,
        errors: list[dict[str, Any]] | None = None,
        members: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        kind = KINDS.get(code)
        self.code = code
        self.detail = detail
        self.status = status or (kind.status if kind else 500)
        self.title = kind.title if kind else _TITLES.get(self.status, "Error")
        self.hint = hint or (kind.hint if kind else None)
        self.errors = errors or []
        self.members = dict(members or {})
        self.headers = dict(headers or {})

    def body(self, request_id: str | None) -> dict[str, Any]:
        """The members of application/problem+json; those of ours never give way to a caller's."""
        return {
            "type": f"/docs#problem-{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "hint": self.hint,
            "code": self.code,
            "errors": self.errors,
            "request_id": request_id,
        } | {name: value for name, value in self.members.items() if name not in RESERVED}


RESERVED = frozenset({"type", "title", "status", "detail", "hint", "code", "errors", "request_id"})


def field_errors(pairs: list[tuple[str, str]]) -> Problem:
    """One problem for every field that is wrong."""
    detail = "; ".join(f"{field}: {reason}" for field, reason in pairs)
    return Problem("malformed_request", detail, errors=[{"field": field, "reason": reason} for field, reason in pairs])
