"""W3C trace context: one trace id from the first request through every message that follows from it."""

import os
import re
from contextvars import ContextVar

HEADER = "traceparent"
_FORM = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
_trace: ContextVar[str | None] = ContextVar("nurture_trace", default=None)


def follow(traceparent: str | None) -> str:
    """Continue the caller's trace, or begin one. Returns the trace id (32 hex digits)."""
    match = _FORM.fullmatch(traceparent or "")
    trace_id = match.group(1) if match else os.urandom(16).hex()
    _trace.set(trace_id)
    return trace_id


def trace_id() -> str:
    """The id of the trace that goes on here, 32 hex digits."""
    return _trace.get() or follow(None)


def traceparent() -> str:
    """The header for a message that leaves now, with a span id of its own."""
    return f"00-{trace_id()}-{os.urandom(8).hex()}-01"
