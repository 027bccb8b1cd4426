"""The platform's metrics, for Prometheus and OTLP. What each means is in docs/telemetry.md; a test holds the two together."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric as Family

from stepwell.core.flow.holding import Holding
from stepwell.core.flow.hosts import HostRules, host_of
from stepwell.core.inputs import Answered, Fetched, Held, Input
from stepwell.core.model import Run, RunStatus, RunView, Step, StepStatus, StoredEvent
from stepwell.core.outputs import Commit
from stepwell.server.telemetry.named import METRICS, OF_STORE, Metric
from stepwell.server.telemetry.observers import Missed, Observer
from stepwell.wire.fetch import FetchBroken
from stepwell.wire.fetch_urls import origin
from stepwell.wire.ops import Opcode

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
OTHER: Final = "other"
_MAX_NAMES = 500
_METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"})
_LIMITS = {
    "fn": "function",
    "run": "run",
    "throttle": "throttle",
    "fetch": "fetch_throttle",
    "host": "host",
    "env": "environment",
    "account": "account",
}
_WAITS = {
    Opcode.SLEEP: "sleep",
    Opcode.WAIT_FOR_EVENT: "event",
    Opcode.WAIT_FOR_SIGNAL: "signal",
    Opcode.INVOKE: "invoke",
}


class Metrics(Observer):
    """Counts what this process does. ``hosts``: a host is named by its rule; those without one are ``other`` together.

    A function or app gets a name of its own while there are not more than 500 of them.
    """

    def __init__(self, hosts: HostRules) -> None:
        self.began_ns = time.time_ns()
        self._hosts = hosts
        self._names: set[str] = set()
        self._registry = _Registry()
        self._own = {metric.name: _made(metric, self._registry) for metric in METRICS}
        ProcessCollector(registry=self._registry)

    def text(
        self, runs: Mapping[str, int], queued: int, claimed: int, held: Sequence[Holding] = (), counted_at: float = 0
    ) -> bytes:
        """Everything in the text format, after :meth:`counted`."""
        self.counted(runs, queued, claimed, held, counted_at)
        return generate_latest(self._registry)

    def families(self, *, store: bool) -> list[Family]:
        """Everything, as it is now. ``store``: also what :meth:`counted` told last."""
        return [family for family in self._registry.collect() if store or family.name not in OF_STORE]

    def counted(
        self, runs: Mapping[str, int], queued: int, claimed: int, held: Sequence[Holding] = (), counted_at: float = 0
    ) -> None:
        """``runs`` by status, ``queued``, ``claimed`` and ``held`` items are those that the store had at ``counted_at``,
        seconds since 1970."""
        self._held(held)
        for status in RunStatus:
            self._gauge("stepwell_runs", status.value).set(runs.get(status.value, 0))
        self._gauge("stepwell_counted_timestamp_seconds").set(counted_at)
        self._gauge("stepwell_items", "queued").set(queued)
        self._gauge("stepwell_items", "claimed").set(claimed)

    def _held(self, held: Sequence[Holding]) -> None:
        """Keys of limits come and go, without a bound: they are counted together."""
        gauge = self._own["stepwell_work_held"]
        gauge.clear()
        for one in held:
            kind, _, name = one.shut.by.bucket.partition(":")
            if kind == "host":
                name = self._host(name)
            else:
                name = self._name(name.rpartition(":")[0]) if kind not in ("env", "account") else ""
            self._gauge("stepwell_work_held", _LIMITS.get(kind, OTHER), one.shut.reason.value, name).inc(one.count)

    def _host(self, host: str) -> str:
        rule = self._hosts.find(host)
        return OTHER if rule is None or rule.pattern == "*" else rule.pattern

    def received(self, events: Sequence[StoredEvent], missed: Sequence[Missed] = ()) -> None:
        """Count them."""
        self._count("stepwell_events_received_total", by=len(events))
        for _, one in missed:
            self._count("stepwell_runs_not_started_total", self._name(one.function_id), one.reason)

    def wrote(self, seconds: float, commits: int) -> None:
        """Count the commits, and how long it took."""
        self._time("stepwell_store_transaction_duration_seconds", seconds)
        self._count("stepwell_store_commits_total", by=commits)

    def moved(self, before: RunView, commit: Commit, inputs: Sequence[Input]) -> None:
        """Count what was done for the run."""
        for given in inputs:
            self._input(before.run, given, commit.now)
        for step in commit.steps:
            self._step(before.steps.get(step.step_id), step)
        run = commit.run
        if run is not None and run.status.ended:
            function = self._name(run.function_id)
            self._count("stepwell_runs_ended_total", function, run.status.value)
            self._time("stepwell_run_duration_seconds", ((run.ended_at or commit.now) - run.queued_at) / 1000, function)

    def answered(self, method: str, scheme: str, route: str, status: int | None, seconds: float) -> None:
        """Count a request to the API. ``route``: as a template, "" for none; ``status``: None when the client had gone."""
        error = "aborted" if status is None else _code(status) if status >= 500 else ""
        labels = (_method(method), scheme, route, _code(status), error)
        self._time("http_server_request_duration_seconds", seconds, *labels)

    def _input(self, run: Run, given: Input, now: int) -> None:
        if isinstance(given, Held):
            self._count("stepwell_waits_total", "app")
        elif isinstance(given, Answered):
            outcome = given.answer.kind.value if given.answer.error is None else "error"
            taken = (now - given.started_at) / 1000
            self._time("stepwell_app_call_duration_seconds", taken, self._name(run.app_id), outcome)
            self._time("stepwell_queue_delay_seconds", (given.started_at - given.item.due_at) / 1000, "call")
        elif isinstance(given, Fetched):
            self._time("stepwell_queue_delay_seconds", (given.started_at - given.item.due_at) / 1000, "fetch")
            self._fetched(given)

    def _fetched(self, given: Fetched) -> None:
        outcome = given.outcome
        request = msgspec.msgpack.decode(given.item.payload or b"\x80", type=_Request)
        host = self._host(host_of(request.url))
        status = "error" if isinstance(outcome, FetchBroken) else f"{outcome.status // 100}xx"
        self._count("stepwell_fetch_attempts_total", host, status)
        phases: dict[str, float | None] = msgspec.to_builtins(outcome.phases)
        for phase, taken in (*phases.items(), ("total", outcome.elapsed_ms or None)):
            if taken is not None:
                self._time("stepwell_fetch_phase_duration_seconds", taken / 1000, host, phase)
        if outcome.elapsed_ms:
            code = None if isinstance(outcome, FetchBroken) else outcome.status
            error = outcome.kind if isinstance(outcome, FetchBroken) else _code(code) if outcome.status >= 400 else ""
            labels = (_method(request.method), *self._server(request.url), _code(code), error)
            self._time("http_client_request_duration_seconds", outcome.elapsed_ms / 1000, *labels)

    def _server(self, url: str) -> tuple[str, str]:
        """Address and port of a host with a rule of its own; else the rule's pattern, which may be of many, and no port."""
        host = host_of(url)
        shown = self._host(host)
        if shown != host:
            return shown, ""
        _, name, port = origin(url)
        return name, str(port)

    def _step(self, old: Step | None, step: Step) -> None:
        if step.ended:
            if old is None or not old.ended:
                self._count("stepwell_steps_ended_total", step.op, step.status.value)
        elif old is None or old.status is not step.status:
            reason = wait_reason(step)
            if reason is not None:
                self._count("stepwell_waits_total", reason)

    def _name(self, name: str) -> str:
        if name not in self._names and len(self._names) >= _MAX_NAMES:
            return OTHER
        self._names.add(name)
        return name

    def _count(self, name: str, *labels: str, by: int = 1) -> None:
        counter = self._own[name]
        assert isinstance(counter, Counter)
        (counter.labels(*labels) if labels else counter).inc(by)

    def _time(self, name: str, seconds: float, *labels: str) -> None:
        histogram = self._own[name]
        assert isinstance(histogram, Histogram)
        (histogram.labels(*labels) if labels else histogram).observe(max(0.0, seconds))

    def _gauge(self, name: str, *labels: str) -> Gauge:
        gauge = self._own[name]
        assert isinstance(gauge, Gauge)
        return gauge.labels(*labels) if labels else gauge


class _Registry(CollectorRegistry):
    """Without the times at which counters were made, which text format 0.0.4 has no place for."""

    def collect(self) -> Iterator[Family]:
        for family in super().collect():
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family


class _Request(msgspec.Struct):
    url: str = ""
    method: str = "GET"


def _method(method: str) -> str:
    """The semantic conventions' word for those that nobody knows: there is no end of them."""
    return method if method in _METHODS else "_OTHER"


def _code(status: int | None) -> str:
    return "" if status is None else str(status)


def wait_reason(step: Step) -> str | None:
    """What a step that has not ended waits for, in a word; None where it is being worked on."""
    if step.status is StepStatus.RETRYING:
        return "retry"
    if step.status is not StepStatus.WAITING:
        return None
    if step.callback is not None:
        return "callback"
    return next((reason for op, reason in _WAITS.items() if op == step.op), None)


def _made(metric: Metric, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    about = f"See docs/telemetry.md: {metric.name.removeprefix('stepwell_').replace('_', ' ')}."
    if metric.buckets is None:
        return Gauge(metric.name, about, metric.labels, registry=registry)
    if not metric.buckets:
        return Counter(metric.name, about, metric.labels, registry=registry)
    return Histogram(metric.name, about, metric.labels, buckets=metric.buckets, registry=registry)
