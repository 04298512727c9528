"""Every exception as problem+json, whatever raised it."""

import re
from typing import Any

import asyncpg
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.handlers import BaseRouteHandler
from nurture_chassis.database import UNREACHABLE

from nurture_gateway import malformed
from nurture_gateway.api import query
from nurture_gateway.dashboard.access import SIGN_IN, SignInNeeded, door_for
from nurture_gateway.html import HTML, for_people, html, unavailable
from nurture_gateway.idempotency import PROBLEM_JSON
from nurture_gateway.inbound import Closed
from nurture_gateway.problems import Problem, field_errors
from nurture_gateway.shell import request_id

log = structlog.get_logger()
_UNKNOWN = re.compile(r"Object contains unknown field `(.+)`")
_MISSING = re.compile(r"Object missing required field `(.+)`")
_CODES = {
    400: "malformed_request",
    401: "unauthorized",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
}
_UNSTORABLE = (asyncpg.CharacterNotInRepertoireError, asyncpg.UntranslatableCharacterError)
_UNREADABLE = (RecursionError, UnicodeDecodeError)
_AWAY = (*UNREACHABLE, asyncpg.TooManyConnectionsError, asyncpg.QueryCanceledError, Closed)


def respond(request: Request[Any, Any, Any], problem: Problem) -> Response[Any]:
    """A problem as HTTP: a page where somebody looks at the dashboard, JSON everywhere else."""
    body = problem.body(request_id(request.scope))
    if for_people(request.url.path, request.headers.get("accept", "")):
        if problem.code == "unavailable":
            page = unavailable(body, request.method).encode()
            return Response(page, status_code=503, media_type=HTML, headers=problem.headers)
        return html("problem.html", problem.status, problem=body)
    return Response(
        body,
        status_code=problem.status,
        media_type=PROBLEM_JSON,
        headers=problem.headers,
    )


def on_problem(request: Request[Any, Any, Any], error: Problem) -> Response[Any]:
    """Ours, as raised."""
    return respond(request, error)


def on_nobody(request: Request[Any, Any, Any], _error: SignInNeeded) -> Response[Any]:
    """A page of the dashboard without a session: a browser is led to the door, anything else is told."""
    told = Problem("unauthorized", "Nobody is signed in here.", hint=f"Sign in at {SIGN_IN} and try again.")
    return door_for(request) or respond(request, told)


def on_validation(request: Request[Any, Any, Any], error: ValidationException) -> Response[Any]:
    """A field of the wrong form: each is named with its reason."""
    found: list[Any] = error.extra if isinstance(error.extra, list) else []
    pairs = [_named(item, request.route_handler) for item in found if isinstance(item, dict)]
    return respond(request, field_errors(pairs or [("body", error.detail)]))


def _named(item: dict[str, Any], handler: BaseRouteHandler) -> tuple[str, str]:
    message, key = item.get("message", ""), item.get("key", "body")
    if message == "'data'":
        return "body", "is missing"
    if match := _UNKNOWN.fullmatch(message):
        return _joined(key, match[1]), "is not a known field"
    if match := _MISSING.fullmatch(message):
        return _joined(key, match[1]), "is missing"
    if item.get("source") == "query":
        return key, malformed.words(message, query.annotation(handler, key), asked=True)
    body = handler.parsed_fn_signature.parameters.get("data")
    inner = malformed.field(body.annotation, "" if key == "data" else key) if body else None
    return ("body" if key == "data" else key), malformed.words(message, inner)


def _joined(parent: str, field: str) -> str:
    return field if parent in ("data", "body") else f"{parent}.{field}"


def on_http(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """Litestar's own: unknown paths, methods, bodies too large or unreadable."""
    if error.status_code >= 500:
        return on_anything(request, error)
    code = _CODES.get(error.status_code, "malformed_request")
    detail = error.detail or code.replace("_", " ")
    if error.status_code == 404:
        detail = f"There is nothing at {request.url.path}."
    elif error.status_code == 405:
        detail = f"{request.url.path} does not take {request.method}."
    elif error.status_code == 400:
        return respond(request, field_errors([("body", f"is not readable: {detail}")]))
    headers = {name: value for name, value in (error.headers or {}).items() if name.lower() in ("allow", "retry-after")}
    return respond(request, Problem(code, detail, status=error.status_code, headers=headers))


def on_anything(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """What nobody foresaw; the caller learns an id to look for, never the text."""
    if isinstance(error, _AWAY):
        log.warning("request.unavailable", path=request.url.path, error=type(error).__name__)
        return respond(request, Problem("unavailable", "The database does not answer.", headers={"Retry-After": "2"}))
    if isinstance(error, _UNSTORABLE):
        return respond(request, field_errors([("body", "has a NUL character, which cannot be stored")]))
    if isinstance(error, _UNREADABLE):
        return respond(request, field_errors([("body", "is not readable: it is not UTF-8, or nested too deeply")]))
    log.error("request.failed", path=request.url.path, method=request.method, exc_info=error)
    return respond(
        request, Problem("internal_error", "Something went wrong here; the log has it under this request_id.")
    )


HANDLERS: dict[Any, Any] = {
    SignInNeeded: on_nobody,
    Problem: on_problem,
    ValidationException: on_validation,
    HTTPException: on_http,
    Exception: on_anything,
}
