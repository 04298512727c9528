"""An OTLP/HTTP receiver: keeps the spans that services send, as OpenTelemetry's own protocol has them."""

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


class Received(NamedTuple):
    """A span, its ids as hex."""

    service: str
    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    links: frozenset[str]
    attributes: dict[str, str]


class Receiver:
    """Listens on a free port while it is open."""

    def __init__(self) -> None:
        receiver = self
        self._spans: list[Received] = []
        self.bodies: list[bytes] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                assert self.path == "/v1/traces"
                receiver.keep(body)
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: a test's output is its failures."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def keep(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        found: list[Received] = []
        for resource in request.resource_spans:
            named = {one.key: one.value.string_value for one in resource.resource.attributes}
            for scope in resource.scope_spans:
                found += [
                    Received(
                        named["service.name"].removeprefix("nurture-"),
                        span.name,
                        span.kind,
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        frozenset(link.trace_id.hex() for link in span.links),
                        {one.key: str(one.value) for one in span.attributes},
                    )
                    for span in scope.spans
                ]
        self.bodies.append(body)
        self._spans += found

    def of(self, trace_id: str) -> list[Received]:
        """The spans of a trace so far."""
        return [span for span in list(self._spans) if span.trace_id == trace_id]
