"""What a call can end in. No text of them holds the API key."""

from typing import Any

from msgspec import Struct


class NurtureError(Exception):
    """A call had no effect that is known of."""


class Problem(Struct):
    """Problem details (RFC 9457) as the gateway writes them; an answer of something in between may have none of it."""

    detail: str = ""
    code: str = ""
    hint: str | None = None
    errors: list[dict[str, Any]] = []
    request_id: str | None = None


class Refused(NurtureError):
    """The gateway said no. `code` is stable for programs; `errors` name fields; to repeat the call changes nothing."""

    def __init__(self, status: int, problem: Problem) -> None:
        super().__init__(" ".join(filter(None, (f"{status}", problem.code, problem.detail, problem.hint))))
        self.status = status
        self.code = problem.code
        self.detail = problem.detail
        self.hint = problem.hint
        self.errors = problem.errors
        self.request_id = problem.request_id


class Unavailable(NurtureError):
    """No answer within the client's patience. What was asked may still have been done: repeat it under the same `key`."""

    def __init__(self, what: str, key: str | None, reason: str) -> None:
        again = f"; the same call with key={key!r} takes effect once" if key else ""
        super().__init__(f"{what}: {reason}{again}")
        self.key = key
        self.reason = reason
