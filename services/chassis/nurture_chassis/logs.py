"""Structured logs: one line an event, JSON for machines or text for a terminal; libraries that print secrets are silenced."""

import logging
import sys

import structlog

from nurture_chassis.trace import known


def configure(service: str, level: str, form: str) -> None:
    """Send structlog and the standard library's warnings to stderr. httpx prints URLs at INFO, so it is kept at WARNING."""
    threshold = logging.getLevelName(level.upper())
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            add_trace,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format=f"%(levelname)s {service} %(name)s: %(message)s"
    )
    for noisy in ("httpx", "httpcore", "uvicorn.access", "nats"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def add_trace(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Each line says to which trace it belongs, and about a page of many origins, to which others."""
    if (trace := known()) is not None:
        event.setdefault("trace_id", trace.trace_id)
        if trace.links:
            event.setdefault("links", [link.split("-")[1] for link in trace.links])
    return event
