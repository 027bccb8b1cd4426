"""Sends spans to an OpenTelemetry collector, by OTLP over HTTP, in a thread of the SDK's own."""

import os
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from stepwell.core.inputs import Answered, Input
from stepwell.core.model import RunView, StoredEvent
from stepwell.core.outputs import Commit
from stepwell.core.spans import Span, call_span, event_span, run_span, step_spans
from stepwell.server.telemetry.observers import Missed, Observer
from stepwell.wire.constants import VERSION

_CLOSE_S = 4.0
_LET_GO_S = 1.0
SCOPE = InstrumentationScope("stepwell", VERSION)


def resource() -> Resource:
    """Who sends: OpenTelemetry's own variables, and names for what they do not say. Each process is an instance."""
    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "stepwell"}
    instance = Resource({"service.instance.id": str(uuid.uuid4())})  # older releases of the SDK make none
    return instance.merge(Resource.create({**named, "service.version": VERSION}))


class Tracing(Observer):
    """Sends the span of whatever has ended to ``endpoint``. ``address``: where an app is called, by its id; "" in-process.

    Name and further attributes of the service, headers and time-outs come from OpenTelemetry's own variables. Spans that
    can not be sent are dropped: the engine never waits for the collector.
    """

    def __init__(self, endpoint: str, address: Callable[[str], str]) -> None:
        self._address = address
        self._resource = resource()
        self._exporter = OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces")
        self._processor = BatchSpanProcessor(self._exporter)

    def received(self, events: Sequence[StoredEvent], missed: Sequence[Missed] = ()) -> None:
        """Their spans."""
        for event in events:
            self._send(event_span(event, [one for of, one in missed if of is event]))

    def moved(self, before: RunView, commit: Commit, inputs: Sequence[Input]) -> None:
        """The spans of what has ended with this."""
        run = commit.run or before.run
        for given in inputs:
            if isinstance(given, Answered):
                self._send(call_span(run, given, commit.now, self._address(run.app_id)))
        for step in commit.steps:
            old = before.steps.get(step.step_id)
            if step.ended and (old is None or not old.ended):
                for span in step_spans(run, step):
                    self._send(span)
        if run.status.ended and not before.run.status.ended:
            self._send(run_span(run))
        self.received([event for follow in _following(commit) for event in follow.events])

    def close(self) -> None:
        """Send what is left; give up after four seconds, which takes one more at most."""
        last = threading.Thread(target=self._processor.shutdown, name="stepwell-spans", daemon=True)
        last.start()
        last.join(_CLOSE_S)
        if last.is_alive():
            self._exporter.shutdown()  # it would go on trying
            last.join(_LET_GO_S)

    def _send(self, span: Span) -> None:
        if not span.at.sampled:
            return
        attributes = {**span.attributes, "error.type": span.error} if span.error else dict(span.attributes)
        self._processor.on_end(
            ReadableSpan(
                name=span.name,
                context=_context(span.at.trace_id, span.at.span_id),
                parent=_context(span.at.trace_id, span.parent) if span.parent is not None else None,
                resource=self._resource,
                attributes=attributes,
                events=[Event("run not started", note, span.start * 1_000_000) for note in span.notes],
                kind=SpanKind[span.kind.name],
                status=Status(StatusCode.ERROR, span.error) if span.error else Status(StatusCode.UNSET),
                start_time=span.start * 1_000_000,
                end_time=span.end * 1_000_000,
                instrumentation_scope=SCOPE,
            )
        )


def _context(trace_id: str, span_id: str) -> SpanContext:
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _following(commit: Commit) -> Iterator[Commit]:
    for follow in commit.more:
        yield follow
        yield from _following(follow)
