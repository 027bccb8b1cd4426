"""Local servers that a test needs: an OTLP collector, an upstream that fails at first, an app that is called over HTTP."""

import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

Answer = tuple[int, dict[str, str], bytes]
Handle = Callable[[str, str, dict[str, str], bytes], Answer]


@contextmanager
def serving(handle: Handle) -> Iterator[str]:
    """``handle(method, path, headers by lower-case name, body)`` answers; the server's address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, more, answer = handle(self.command, self.path, headers, body)
            self.send_response(status)
            for name, value in {**more, "Content-Length": str(len(answer))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PUT = answer  # noqa: N815 - the standard library's names

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class Collector:
    """Decodes what comes as OTLP."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.exports: list[dict[str, Metric]] = []
        """Metrics by name, one dict for each request that came with some."""
        self.resources: list[dict[str, Any]] = []

    def handle(self, _method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        data = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
        if path == "/v1/metrics":
            return self._metrics(data)
        assert path == "/v1/traces"
        for part in ExportTraceServiceRequest.FromString(data).resource_spans:
            self.resources.append(members(part.resource.attributes))
            self.spans += [span for scope in part.scope_spans for span in scope.spans]
        return 200, {"Content-Type": "application/x-protobuf"}, b""

    def _metrics(self, data: bytes) -> Answer:
        (part,) = ExportMetricsServiceRequest.FromString(data).resource_metrics
        self.resources.append(members(part.resource.attributes))
        metrics = [metric for scope in part.scope_metrics for metric in scope.metrics]
        assert len({metric.name for metric in metrics}) == len(metrics)
        self.exports.append({metric.name: metric for metric in metrics})
        return 200, {"Content-Type": "application/x-protobuf"}, b""

    def named(self, name: str) -> Span:
        """The one span of that name."""
        found = [span for span in self.spans if span.name == name]
        assert len(found) == 1, [span.name for span in self.spans]
        return found[0]


def members(attributes: Any) -> dict[str, Any]:
    """Attributes as a dict."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


class Flaky:
    """The first request gets a 503, later ones a 200."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    def handle(self, _method: str, _path: str, _headers: dict[str, str], body: bytes) -> Answer:
        self.seen.append(body)
        return (503 if len(self.seen) == 1 else 200), {}, b"{}"


class RemoteApp:
    """An app with one function ``remote``, which returns at once."""

    def __init__(self) -> None:
        self.headers: list[dict[str, str]] = []

    def handle(self, _method: str, _path: str, headers: dict[str, str], _body: bytes) -> Answer:
        self.headers.append(headers)
        return 200, {"x-inngest-sdk": "test:v1", "content-type": "application/json"}, b'"done"'


def remote_function(url: str) -> dict[str, Any]:
    """Its registration."""
    runtime = {"type": "http", "url": f"{url}/api?fnId=shop-remote&step=step"}
    return {
        "id": "shop-remote",
        "name": "remote",
        "triggers": [{"event": "shop/remote"}],
        "steps": {"step": {"id": "step", "name": "step", "runtime": runtime}},
    }
