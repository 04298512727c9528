"""Around every request: a trace, a request id, security headers, and no byte that PostgreSQL cannot store."""

import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec
import structlog
from nurture_chassis.health import Asgi
from nurture_chassis.trace import Span, begun, parse, span

from nurture_gateway.counting import observe, route_of
from nurture_gateway.html import HTML, for_people, unavailable
from nurture_gateway.problems import Problem

_ID = re.compile(rb"[A-Za-z0-9_.:-]{1,64}")
CSP = "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"


def request_id(scope: Any) -> str:
    """The id that this request's answer, logs and messages share."""
    return scope.get("state", {}).get("request_id", "")


class Shell:
    """The outermost layer of the gateway's application."""

    def __init__(self, inner: Asgi, public_url: str, opened: Callable[[], bool]) -> None:
        self.inner = inner
        self._opened = opened
        self._headers = [
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"x-frame-options", b"DENY"),
            (b"content-security-policy", CSP.encode()),
            (b"cross-origin-opener-policy", b"same-origin"),
            (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
        ]
        if urlsplit(public_url).scheme == "https":
            self._headers.append((b"strict-transport-security", b"max-age=31536000"))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.inner(scope, receive, send)
            return
        given = dict(scope["headers"])
        trace = parse(given.get(b"traceparent", b"").decode("latin-1")) or begun()
        with span(scope["method"], "server", trace, http__request__method=scope["method"]) as work:
            await self._answer(scope, receive, send, given, work)

    async def _answer(self, scope: Any, receive: Any, send: Any, given: dict[bytes, bytes], work: Span) -> None:
        began = time.perf_counter()
        asked = given.get(b"x-request-id", b"")
        identity = asked.decode() if _ID.fullmatch(asked) else work.trace.trace_id
        scope.setdefault("state", {})["request_id"] = identity
        structlog.contextvars.bind_contextvars(request_id=identity)

        async def sealed(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                present = {name.lower() for name, _ in headers}
                headers += [pair for pair in self._headers if pair[0] not in present]
                headers.append((b"x-request-id", identity.encode()))
                headers.append((b"traceresponse", str(work.trace).encode()))
                if b"cache-control" not in present:
                    headers.append((b"cache-control", b"no-store"))
                message = {**message, "headers": headers}
                observe(scope, message["status"], began)
                route = route_of(scope)
                work.call(f"{scope['method']} {route}")
                work.note(http__route=route, http__response__status_code=message["status"])
                if message["status"] >= 500:
                    work.fail(f"HTTP {message['status']}")
            await send(message)

        problem = None
        if not self._opened() and not scope["path"].startswith("/static/"):
            problem = Problem(
                "unavailable", "The gateway is starting: it waits for its database.", headers={"retry-after": "1"}
            )
        elif "\x00" in scope["path"] or b"%00" in scope.get("query_string", b""):
            problem = Problem("malformed_request", "The address has a NUL character.")
        if problem is None:
            if scope["method"] == "HEAD" and not scope["path"].startswith(("/t/", "/admin/sign-in/")):
                # Answered as GET; the server leaves the body out. Tracking links tell the two apart themselves, and a
                # one-time link is not used up by a look at its head.
                scope = {**scope, "method": "GET"}
            await self.inner(scope, receive, sealed)
            return
        extra = [(name.encode(), value.encode()) for name, value in problem.headers.items()]
        told = problem.body(identity)
        kind, body = b"application/problem+json", msgspec.json.encode(told)
        if problem.code == "unavailable" and for_people(scope["path"], given.get(b"accept", b"").decode("latin-1")):
            kind, body = HTML.encode(), unavailable(told, scope["method"]).encode()
        await sealed(
            {"type": "http.response.start", "status": problem.status, "headers": [(b"content-type", kind), *extra]}
        )
        await sealed({"type": "http.response.body", "body": body})
