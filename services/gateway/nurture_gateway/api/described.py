"""What the OpenAPI document says about every path alike: problems, keys, paging, bodies that are not JSON."""

from dataclasses import dataclass
from typing import Annotated, Any

from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example, OpenAPIMediaType, Operation, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIType
from litestar.params import HeaderParameter, QueryParameter
from msgspec import Meta, Struct

from nurture_gateway.idempotency import PROBLEM_JSON
from nurture_gateway.problems import KINDS


class FieldError(Struct):
    """One field of a request that is wrong."""

    field: str
    reason: str


class ProblemShown(Struct):
    """RFC 9457 problem details: `code` is stable for programs, `hint` says what to do."""

    type: str
    title: str
    status: int
    detail: str
    hint: str | None
    code: str
    errors: list[FieldError]
    request_id: str | None


_STATUS_TEXT = {
    400: "The request cannot be read: the field and the reason are in `errors`",
    401: "No valid API key",
    404: "Not there",
    409: "In conflict with what is there",
    413: "The body is too large",
    415: "The body is of a type that this path does not take",
    422: "Understood, but cannot be done",
    429: "Too many requests: `Retry-After` says in how many seconds there is room again",
    500: "An error of ours",
    503: "Not available right now",
}


def problems(*statuses: int, guarded: bool = True) -> dict[int, ResponseSpec]:
    """Response specs for the problems that a path can answer with; those that every path has are included."""
    every = {*statuses, 400, 500, 503, *((401, 429) if guarded else ())}
    return {status: _problem(status) for status in sorted(every)}


def refusals(*statuses: int) -> dict[int, ResponseSpec]:
    """The same for a path that takes a body and an Idempotency-Key: either may be unusable."""
    return problems(*statuses, 413, 422)


def _problem(status: int) -> ResponseSpec:
    code, kind = next(((code, kind) for code, kind in KINDS.items() if kind.status == status), ("refused", None))
    value = {
        "type": f"/docs#problem-{code}",
        "title": kind.title if kind else "Refused",
        "status": status,
        "detail": "user_id: is missing" if status == 400 else (kind.title if kind else "Refused"),
        "hint": kind.hint if kind else None,
        "code": code,
        "errors": [{"field": "user_id", "reason": "is missing"}] if status == 400 else [],
        "request_id": "5bd66ef5095369c7b0d1f8f4bd33716a",
    }
    return ResponseSpec(
        ProblemShown,
        description=_STATUS_TEXT.get(status, "Refused"),
        media_type=PROBLEM_JSON,
        generate_examples=False,
        examples=[Example(summary=code, value=value)],
    )


def made(model: Any, description: str, example: Any = None, media_type: str = "application/json") -> ResponseSpec:
    """A successful response."""
    examples = [Example(value=example)] if example is not None else None
    return ResponseSpec(
        model, description=description, media_type=media_type, generate_examples=False, examples=examples
    )


IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        required=False,
        min_length=1,
        max_length=255,
        description="Any text of your own, new for each new request. The same key and body give the same answer for seven "
        "days and take effect once; the same key with another body is refused with 422.",
    ),
]
CursorText = Annotated[
    str | None, QueryParameter(name="cursor", required=False, max_length=64, description="`next` of the page before.")
]
Limit = Annotated[int, QueryParameter(name="limit", ge=1, le=200, description="Rows per page.")]
Count = Annotated[int, Meta(ge=0)]


def raw_body(summary: str, examples: dict[str, Any]) -> type[Operation]:
    """An operation whose body is not one JSON struct; `examples` by media type."""
    content = {
        media_type: OpenAPIMediaType(
            schema=Schema(type=OpenAPIType.STRING if isinstance(value, str) else OpenAPIType.OBJECT),
            examples={"example": Example(value=value)},
        )
        for media_type, value in examples.items()
    }

    @dataclass
    class TextOperation(Operation):
        def __post_init__(self) -> None:
            self.request_body = RequestBody(content=dict(content), description=summary, required=True)

    return TextOperation
