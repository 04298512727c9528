"""Resend's error vocabulary: the body is `{statusCode, name, message}`, clients branch on `name`."""

import msgspec

NAME_OF_STATUS = {
    400: "validation_error",
    401: "missing_api_key",
    403: "invalid_api_key",
    404: "not_found",
    405: "method_not_allowed",
    409: "concurrent_idempotent_requests",
    422: "validation_error",
    429: "rate_limit_exceeded",
    451: "security_error",
    500: "application_error",
    503: "service_unavailable",
}


class ApiError(Exception):
    """A call that is answered with one of Resend's errors. `effective`: though it took effect."""

    effective = False

    def __init__(self, status: int, name: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.name = name
        self.message = message
        self.headers = headers or {}

    def body(self) -> bytes:
        return msgspec.json.encode({"statusCode": self.status, "name": self.name, "message": self.message})


def missing_field(field: str) -> ApiError:
    return ApiError(422, "missing_required_field", f"Missing `{field}` field.")


def invalid(message: str, status: int = 422) -> ApiError:
    return ApiError(status, "validation_error", message)


class BrokenUpstream(Exception):
    """An error of a web server in front of the API: HTML instead of JSON, as a CDN answers."""

    effective = False

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status


class ConnectionDropped(Exception):
    """The caller gets no reply; what it asked for has happened, unless it is not `effective`."""

    def __init__(self, *, effective: bool = True) -> None:
        super().__init__("the connection was dropped")
        self.effective = effective
