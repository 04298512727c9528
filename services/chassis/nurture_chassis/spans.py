"""Spans over OTLP/HTTP, for whoever sets OTEL_EXPORTER_OTLP_ENDPOINT. The SDK is imported only then: others pay nothing."""

import socket
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from nurture_chassis import trace as traces
from nurture_chassis.trace import Kind, Trace

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

FLUSH_MILLISECONDS = 3000
"""For what is left when the process ends; a receiver that is away must not keep it from ending."""


def record(room: str, endpoint: str) -> Callable[[], None]:
    """Send the spans of this process to `endpoint` (its base: `/v1/traces` is added). Returns what ends it.

    Everything else by OpenTelemetry's own names: OTEL_EXPORTER_OTLP_HEADERS, OTEL_TRACES_SAMPLER, OTEL_RESOURCE_ATTRIBUTES, ….
    """
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create(
        {
            "service.name": f"nurture-{room}",
            "service.version": version(f"nurture-{room}"),
            "service.instance.id": socket.gethostname(),
        }
    )
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces")))
    traces.record_with(_Recorder(provider))

    def end() -> None:
        traces.record_with(None)
        provider.force_flush(FLUSH_MILLISECONDS)
        provider.shutdown()

    return end


class _Recorder:
    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry import trace as otel
        from opentelemetry.context import Context

        self._otel, self._nothing = otel, Context()
        self._tracer = provider.get_tracer("nurture")

    def start(self, name: str, kind: Kind, trace: Trace, attributes: Mapping[str, Any]) -> "_Recorded":
        otel = self._otel
        parent = self._nothing
        if not trace.root:
            parent = otel.set_span_in_context(otel.NonRecordingSpan(self._context(trace)), self._nothing)
        links = [otel.Link(self._context(one)) for text in trace.links if (one := traces.parse(text))]
        span = self._tracer.start_span(
            name, parent, otel.SpanKind[kind.upper()], _dotted(attributes), links, record_exception=False
        )
        return _Recorded(otel, span, trace.links)

    def _context(self, trace: Trace) -> Any:
        return self._otel.SpanContext(
            int(trace.trace_id, 16), int(trace.span_id, 16), True, self._otel.TraceFlags(int(trace.flags, 16))
        )


class _Recorded:
    """A span of the SDK. Its attributes are ids, names and counts; no text that came from outside."""

    def __init__(self, otel: Any, span: Any, links: tuple[str, ...]) -> None:
        self._otel, self._span = otel, span
        context = span.get_span_context()
        self.trace = Trace(f"{context.trace_id:032x}", f"{context.span_id:016x}", f"{context.trace_flags:02x}", links)

    def call(self, name: str) -> None:
        self._span.update_name(name)

    def note(self, **attributes: Any) -> None:
        self._span.set_attributes(_dotted(attributes))

    def fail(self, reason: str) -> None:
        self._span.set_status(self._otel.StatusCode.ERROR, reason)

    def end(self) -> None:
        self._span.end()


def _dotted(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """OpenTelemetry's names have dots, which keywords cannot."""
    return {name.replace("__", "."): value for name, value in attributes.items()}
