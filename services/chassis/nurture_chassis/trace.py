"""W3C trace context: one trace id from the first request to the last event that follows from it.

A page mixes what many requests brought about. If all of it has one origin, that is the page's trace; else the page has a trace of
its own and names the others as its links, which travel with its message.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, NamedTuple, Protocol

HEADER = "traceparent"
LINKS = "Nurture-Links"
"""The header with the traces that a page of many origins is about, separated by commas."""
MOST_LINKS = 200
"""As many as a page has members."""
_FORM = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
Kind = Literal["internal", "server", "client", "producer", "consumer"]


class Trace(NamedTuple):
    """Where work belongs: a trace, the span in it that comes before (`root`: none does), and the other traces it is about."""

    trace_id: str
    span_id: str
    flags: str = "01"
    links: tuple[str, ...] = ()
    root: bool = False

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


class Span(Protocol):
    """Work that is being recorded."""

    trace: Trace

    def call(self, name: str) -> None: ...
    def note(self, **attributes: Any) -> None: ...
    def fail(self, reason: str) -> None: ...
    def end(self) -> None: ...


class Recorder(Protocol):
    """Makes spans of what the services do; there is none unless somebody wants them."""

    def start(self, name: str, kind: Kind, trace: Trace, attributes: Mapping[str, Any]) -> Span: ...


class _Unrecorded:
    """The work of a process that records nothing keeps the caller's span as its parent."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace

    def call(self, name: str) -> None: ...
    def note(self, **attributes: Any) -> None: ...
    def fail(self, reason: str) -> None: ...
    def end(self) -> None: ...


_trace: ContextVar[Trace | None] = ContextVar("nurture_trace", default=None)
_recorder: Recorder | None = None


def record_with(recorder: Recorder | None) -> None:
    """Record spans from now on, in this process."""
    global _recorder
    _recorder = recorder


def known() -> Trace | None:
    """The trace of what is being done, if it has one."""
    return _trace.get()


def current() -> Trace:
    """The trace of what is being done; one begins here if there is none."""
    trace = _trace.get()
    if trace is None:
        trace = begun()
        _trace.set(trace)
    return trace


def begun(links: tuple[str, ...] = ()) -> Trace:
    """A new trace."""
    return Trace(os.urandom(16).hex(), os.urandom(8).hex(), links=links, root=True)


def parse(traceparent: str | None) -> Trace | None:
    """None for what is not a `traceparent` of version 00."""
    match = _FORM.fullmatch(traceparent or "")
    return Trace(match[1], match[2], match[3]) if match else None


def of_headers(headers: Mapping[str, str]) -> Trace:
    """The trace that a message belongs to; a message without one begins it."""
    trace = parse(headers.get(HEADER)) or begun()
    links = [one for one in headers.get(LINKS, "").split(",")[:MOST_LINKS] if parse(one)]
    return trace._replace(links=tuple(links))


def about(traceparents: Iterable[str | None]) -> Trace:
    """The one trace that all of these belong to; for many a new one with links; for none the current one."""
    found: dict[str, Trace] = {}
    for traceparent in traceparents:
        if (trace := parse(traceparent)) is not None:
            found.setdefault(trace.trace_id, trace)
    here = _trace.get()
    if not found:
        return here or begun()
    if len(found) > 1:
        return begun(tuple(str(trace) for trace in list(found.values())[:MOST_LINKS]))
    (only,) = found.values()
    # What is done right now is nearer than what was stored of the same trace.
    return here._replace(links=()) if here is not None and here.trace_id == only.trace_id else only


def follow(traceparent: str | None) -> str:
    """Continue the caller's trace, or begin one. Returns the trace id (32 hex digits)."""
    trace = parse(traceparent) or begun()
    _trace.set(trace)
    return trace.trace_id


def forget() -> None:
    """What comes next has nothing to do with what came before."""
    _trace.set(None)


def trace_id() -> str:
    """The id of the trace that goes on here, 32 hex digits."""
    return current().trace_id


def traceparent() -> str:
    """The current trace, as it is kept in a row."""
    return str(current())


def headers_of(trace: Trace) -> dict[str, str]:
    """What a message of this trace carries."""
    return {HEADER: str(trace), LINKS: ",".join(trace.links)} if trace.links else {HEADER: str(trace)}


def start(name: str, kind: Kind, trace: Trace, **attributes: Any) -> Span:
    """A span that its caller ends; one that nobody ends was never there."""
    return _recorder.start(name, kind, trace, attributes) if _recorder else _Unrecorded(trace)


@contextmanager
def span(name: str, kind: Kind, trace: Trace, **attributes: Any) -> Iterator[Span]:
    """Do something as part of a trace: what is said and logged inside belongs to it."""
    made = start(name, kind, trace, **attributes)
    before = _trace.set(made.trace)
    try:
        yield made
    except BaseException as error:
        made.fail(type(error).__name__)
        raise
    finally:
        _trace.reset(before)
        made.end()
