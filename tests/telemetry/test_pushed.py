"""Metrics by OTLP, as a real receiver gets them: the figures of ``/metrics`` under the names of the conventions."""

import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric
from opentelemetry.sdk.metrics.export import MetricsData, ResourceMetrics, ScopeMetrics
from opentelemetry.sdk.resources import Resource

import stepwell
from stepwell.core.flow.hosts import NO_RULES
from stepwell.embed import embedded
from stepwell.server.api.app import create_app
from stepwell.server.api.counting import Counting
from stepwell.server.api.metrics import families
from stepwell.server.settings import Settings, SettingsError
from stepwell.server.telemetry import pushing, tracing
from stepwell.server.telemetry.metrics import OTHER, Metrics
from stepwell.server.telemetry.named import METRICS, OF_STORE, PROCESS
from stepwell.server.telemetry.observers import Observer, Observers
from stepwell.server.telemetry.otlp import converted
from stepwell.server.telemetry.setup import pushed, pusher, traced
from tests.e2e.ugly import until
from tests.ports import free_port
from tests.server.api_fakes import FakeEngine
from tests.telemetry.receivers import Answer, Collector, Flaky, members, serving
from tests.telemetry.test_metrics import samples

client = stepwell.Client(app_id="pushed")


@client.create_function(fn_id="asks", trigger=stepwell.TriggerEvent(event="pushed/asks"))
async def asks(ctx: stepwell.Context) -> None:
    await ctx.step.fetch(f"{ctx.event.data['url']}/a?token=s3cret", id="known", method="PUT")
    with suppress(stepwell.FetchError):
        await ctx.step.fetch(ctx.event.data["nobody"], id="nobody", retry=1)


@client.create_function(fn_id="idles", trigger=stepwell.TriggerEvent(event="pushed/idles"))
async def idles(ctx: stepwell.Context) -> None:
    """Begins and ends."""


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    found = Collector()
    with serving(found.handle) as url:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "50")
        yield found


def points(metric: Metric) -> list[tuple[dict[str, Any], Any]]:
    """Each point of a metric, with its attributes."""
    return [
        (members(point.attributes), point) for point in getattr(metric, metric.WhichOneof("data") or "").data_points
    ]


def point(metric: Metric, **attributes: object) -> Any:
    """The one with exactly these attributes, ``_`` for a dot."""
    wanted = [
        one for said, one in points(metric) if {name.replace(".", "_"): v for name, v in said.items()} == attributes
    ]
    assert len(wanted) == 1, points(metric)
    return wanted[0]


async def test_a_receiver_gets_the_figures_of_the_work(collector: Collector, tmp_path: Path) -> None:
    with serving(Flaky().handle) as url:
        host = url.removeprefix("http://")
        data = {"url": url, "nobody": f"http://127.0.0.1:{free_port()}/"}
        running = embedded(
            client,
            db=f"sqlite:///{tmp_path}/p.db",
            port=free_port(),
            retry_interval=0.01,
            hosts={host: {"concurrency": 5}},
        )
        async with running as platform:
            await platform.send_and_wait("pushed/asks", data)
            async with httpx2.AsyncClient(base_url=platform.url) as http:
                shown = samples((await http.get("/metrics")).text)
                await http.get("/v1/runs/none")

            def counted() -> bool:
                runs = [one["stepwell.runs"] for one in collector.exports if "stepwell.runs" in one]
                return bool(runs) and point(runs[-1], stepwell_run_status="completed").as_double == 1

            await until(counted, 20)
    last = collector.exports[-1]
    assert not {metric.otlp for metric in METRICS if metric.name in OF_STORE} & set(last), "the store has been closed"

    ended = last["stepwell.runs.ended"]
    assert (ended.unit, ended.sum.is_monotonic) == ("{run}", True)
    assert ended.sum.aggregation_temporality == AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    ran = point(ended, stepwell_function_id="pushed-asks", stepwell_run_status="completed")
    assert ran.as_double == shown["stepwell_runs_ended_total", "pushed-asks", "completed"] == 1
    assert 0 < ran.start_time_unix_nano < ran.time_unix_nano

    asked = last["http.client.request.duration"]
    known = {"http_request_method": "PUT", "server_address": "127.0.0.1", "server_port": int(host.partition(":")[2])}
    good = point(asked, **known, http_response_status_code=200)
    bad = point(asked, **known, http_response_status_code=503, error_type="503")
    lost = point(asked, http_request_method="GET", server_address=OTHER, error_type="connect")
    assert (asked.unit, good.count, bad.count, lost.count) == ("s", 1, 1, 1)
    assert sum(good.bucket_counts) == 1
    assert len(good.bucket_counts) == len(good.explicit_bounds) + 1
    assert [name for name in ("min", "max") if good.HasField(name)] == []
    in_text = ("http_client_request_duration_seconds_sum", "", "PUT", "200", *host.split(":"))
    assert good.sum == shown[in_text]

    served = last["http.server.request.duration"]
    page = {"http_request_method": "GET", "url_scheme": "http"}
    assert point(served, **page, http_route="/metrics", http_response_status_code=200).count == 1
    assert point(served, **page, http_route="/v1/runs/{run_id}", http_response_status_code=400).count == 1
    memory = last["process.memory.usage"]
    assert (memory.unit, memory.sum.is_monotonic) == ("By", False)
    assert points(memory)[0][1].as_double > 0
    assert all(part["service.name"] == "stepwell" and part["service.instance.id"] for part in collector.resources)
    assert not any(b"s3cret" in metric.SerializeToString() for metric in last.values())


async def test_a_platform_without_a_port_sends_its_figures_too_and_to_an_endpoint_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = Collector()

    def handle(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        assert path == "/only/metrics"
        return found.handle(method, "/v1/metrics", headers, body)

    with serving(handle) as url:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", f"{url}/only/metrics")
        async with embedded(db="memory:") as platform:
            await platform.send("nobody/listens")
    (last,) = found.exports
    assert points(last["stepwell.store.commits"])[0][1].as_double >= 0
    assert found.spans == []


@pytest.mark.parametrize("away", [True, False])
async def test_a_collector_that_is_away_or_silent_holds_up_nothing(
    monkeypatch: pytest.MonkeyPatch, *, away: bool
) -> None:
    monkeypatch.setattr(tracing, "_CLOSE_S", 0.2)
    monkeypatch.setattr(pushing, "_CLOSE_S", 0.2)
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "10")
    asked, gate = threading.Event(), threading.Event()

    def handle(_method: str, _path: str, _headers: dict[str, str], _body: bytes) -> Answer:
        asked.set()
        gate.wait(60)
        return 200, {}, b""

    with serving(handle) as url:
        monkeypatch.setenv("STEPWELL_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}" if away else url)
        async with embedded(client, db="memory:", retry_interval=0.01) as platform:
            await platform.send_and_wait("pushed/idles")
            if not away:
                await until(asked.is_set, 20)
        assert not gate.is_set(), "the platform has stopped, and nobody was answered"
        gate.set()


async def test_without_an_answer_of_the_store_its_figures_are_left_out() -> None:
    metrics = Metrics(NO_RULES)
    engine = FakeEngine()
    whole = {family.name for family in await families(Counting(engine, lambda: 0), metrics)}
    engine.broken = "the disk is full"
    part = {family.name for family in await families(Counting(engine, lambda: 0), metrics)}
    assert whole - part == OF_STORE


async def test_requests_to_the_api_have_their_routes() -> None:
    metrics = Metrics(NO_RULES)
    app = create_app(FakeEngine(), Settings(), metrics=metrics)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="https://p") as http:
        await http.post("/e/key", json={"name": "a"})
        await http.post("/v1/checkpoint/r/async", content=b"nonsense")
        await http.get("/nothing/here")
        await http.request("BREW", "/health")
    shown = samples(metrics.text({}, 0, 0).decode())
    found = {key[1:]: value for key, value in shown.items() if key[0] == "http_server_request_duration_seconds_count"}
    assert found == {
        ("", "POST", "200", "/e/{key}", "https"): 1,
        ("", "POST", "400", "/v1/checkpoint/{run_id}/async", "https"): 1,
        ("", "GET", "404", "", "https"): 1,
        ("", "_OTHER", "405", "/health", "https"): 1,
    }


@given(st.lists(st.floats(0, 20), min_size=1))
def test_the_figures_are_those_of_the_text_format(taken: list[float]) -> None:
    metrics = Metrics(NO_RULES)
    for seconds in taken:
        metrics.wrote(seconds, 2)
    found = {metric.name: metric for metric in converted(metrics.families(store=False), 1, 2)}
    scope = ScopeMetrics(tracing.SCOPE, list(found.values()), "")
    sent = (
        encode_metrics(MetricsData([ResourceMetrics(Resource({}), [scope], "")])).resource_metrics[0].scope_metrics[0]
    )
    (histogram,) = (metric for metric in sent.metrics if metric.name == "stepwell.store.transaction.duration")
    (one,) = histogram.histogram.data_points
    bounds = [*one.explicit_bounds, float("inf")]
    assert list(one.bucket_counts) == [
        sum(low < seconds <= high for seconds in taken) for low, high in zip([-1.0, *bounds], bounds, strict=False)
    ]
    shown = samples(metrics.text({}, 0, 0).decode())
    assert one.count == shown["stepwell_store_transaction_duration_seconds_count",] == len(taken)
    assert one.sum == pytest.approx(shown["stepwell_store_transaction_duration_seconds_sum",])
    (commits,) = (metric for metric in sent.metrics if metric.name == "stepwell.store.commits")
    assert commits.sum.data_points[0].as_double == 2 * len(taken)


def test_what_is_not_ours_is_in_the_semantic_conventions() -> None:
    """As the package of OpenTelemetry has them."""
    modules = [
        *(f"_incubating.metrics.{name}_metrics" for name in ("http", "process")),
        *(f"_incubating.attributes.{name}_attributes" for name in ("http", "server", "error", "url")),
        *("metrics.http_metrics", "attributes.error_attributes", "attributes.url_attributes"),
    ]
    known = {
        value
        for name in modules
        for value in vars(import_module(f"opentelemetry.semconv.{name}")).values()
        if isinstance(value, str)
    }
    ours = [metric.otlp for metric in METRICS] + [name for name, _ in PROCESS.values()]
    attributes = [attribute for metric in METRICS for attribute in metric.attributes.values()]
    assert {name for name in (*ours, *attributes) if not name.startswith("stepwell.")} <= known


def test_the_usual_variables_say_whether_and_where(monkeypatch: pytest.MonkeyPatch) -> None:
    given = Settings(otlp_endpoint="http://c:4318")
    assert (pushed(Settings()), pushed(given), traced(given)) == (None, "http://c:4318/v1/metrics", True)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://m:1/x")
    assert (pushed(Settings()), pushed(given), traced(Settings())) == ("http://m:1/x", "http://m:1/x", False)
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
    assert (pushed(given), traced(given)) == (None, True)
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "prometheus, otlp")
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    assert (pushed(given), traced(given)) == ("http://m:1/x", False)
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert pushed(given) is None


@pytest.mark.parametrize("interval", ["0", "-1", "soon", "1.5"])
def test_an_interval_that_makes_no_sense_is_one_sentence(monkeypatch: pytest.MonkeyPatch, interval: str) -> None:
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", interval)
    with pytest.raises(SettingsError, match=f"above 0, not '{interval}'"):
        pusher("http://c:4318/v1/metrics", Metrics(NO_RULES), never)


def test_an_endpoint_without_the_extra_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "stepwell.server.telemetry.pushing", None)
    with pytest.raises(SettingsError, match=r"pip install 'stepwell\[otel\]'"):
        pusher("http://c:4318/v1/metrics", Metrics(NO_RULES), never)


async def never() -> list[Any]:
    raise AssertionError


def test_observers_are_closed_all_at_once() -> None:
    both = threading.Barrier(2)

    class Waits(Observer):
        def close(self) -> None:
            both.wait(20)

    observers = Observers()
    observers.add(Waits())
    observers.add(Waits())
    observers.close()
    assert not both.broken
