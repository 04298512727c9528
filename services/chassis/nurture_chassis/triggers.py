"""What sets messages going is told alike wherever it is known: a log line and a count, by sequence type, source and outcome."""

import structlog
from prometheus_client import Counter

log = structlog.get_logger()
TRIGGERS = Counter(
    "nurture_triggers",
    "What set messages going, by sequence type (`unknown`: never published), source and outcome",
    ["type", "source", "outcome"],
)
UNKNOWN = "unknown"
"""The label of a type that nobody has published: what callers make up must not become time series."""


def note(
    sequence_type: str | None, source: str, count: int | None, outcome: str, *, trace_id: str | None = None
) -> None:
    """Say that something set messages going, or tried to. `count` is in people; None where the asker named nobody."""
    name = sequence_type or UNKNOWN
    TRIGGERS.labels(name, source, outcome).inc()
    told = {"trace_id": trace_id} if trace_id else {}
    log.info("trigger", type=name, source=source, count=count, outcome=outcome, **told)
