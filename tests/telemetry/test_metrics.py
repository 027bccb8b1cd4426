"""``/metrics`` as Prometheus reads it; its page and the dashboard name what there is."""

import asyncio
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.routing import Route

import stepwell
from stepwell.core.flow.gates import Reason, Shut
from stepwell.core.flow.holding import Holding
from stepwell.core.flow.host_rules import parse_hosts
from stepwell.core.flow.hosts import NO_RULES, HostRules
from stepwell.core.model import Limit, Pace
from stepwell.embed import embedded
from stepwell.server.api.app import create_app
from stepwell.server.api.counting import Counting
from stepwell.server.api.health import Health
from stepwell.server.settings import Settings
from stepwell.server.store.base import Counts, StoreError
from stepwell.server.telemetry.metrics import OTHER, Metrics
from stepwell.server.telemetry.named import METRICS, PROCESS
from stepwell.wire.signing import hashed_key
from tests.e2e.ugly import until
from tests.ports import free_port
from tests.server.api_fakes import NOW, SIGNING_KEY, FakeEngine
from tests.telemetry.receivers import Flaky, serving

DOCS = Path(__file__).parent.parent.parent / "docs"
client = stepwell.Client(app_id="counted")


@client.create_function(fn_id="works", trigger=stepwell.TriggerEvent(event="counted/works"))
async def works(ctx: stepwell.Context) -> None:
    await ctx.step.fetch(f"{ctx.event.data['url']}/known", id="known")
    await ctx.step.fetch(f"{ctx.event.data['other']}/other", id="other")
    await ctx.step.sleep("nap", "10ms")


@client.create_function(fn_id="lost", trigger=stepwell.TriggerEvent(event="counted/lost"))
async def lost(ctx: stepwell.Context) -> str:
    try:
        await ctx.step.fetch(ctx.event.data["url"], retry=1)
    except stepwell.FetchError as error:
        return error.kind
    return ""


@client.create_function(fn_id="fails", trigger=stepwell.TriggerEvent(event="counted/works"), retries=0)
async def fails(ctx: stepwell.Context) -> None:
    raise ValueError


def samples(text: str) -> dict[tuple[str, ...], float]:
    """By name and values of labels, but for buckets."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if "le" not in sample.labels
    }


async def test_the_figures_are_those_of_the_work(tmp_path: Path) -> None:
    port = free_port()
    with serving(Flaky().handle) as url, serving(Flaky().handle) as other:
        hosts = {url.removeprefix("http://"): {"concurrency": 5}}
        running = embedded(client, db=f"sqlite:///{tmp_path}/m.db", port=port, retry_interval=0.01, hosts=hosts)
        async with running as platform, httpx2.AsyncClient() as http:
            await platform.send_and_wait("counted/works", {"url": url, "other": other})
            answer = await http.get(f"http://127.0.0.1:{port}/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = samples(answer.text)
    known = url.removeprefix("http://")
    want = {
        ("stepwell_events_received_total",): 1,
        ("stepwell_runs_ended_total", "counted-works", "completed"): 1,
        ("stepwell_runs_ended_total", "counted-fails", "failed"): 1,
        ("stepwell_run_duration_seconds_count", "counted-works"): 1,
        ("stepwell_steps_ended_total", "Gateway", "completed"): 2,
        ("stepwell_steps_ended_total", "Sleep", "completed"): 1,
        ("stepwell_waits_total", "sleep"): 1,
        ("stepwell_waits_total", "retry"): 2,
        ("stepwell_queue_delay_seconds_count", "fetch"): 4,
        ("stepwell_app_call_duration_seconds_count", "counted", "error"): 1,
        ("stepwell_app_call_duration_seconds_count", "counted", "returned"): 1,
        ("stepwell_fetch_attempts_total", known, "5xx"): 1,
        ("stepwell_fetch_attempts_total", known, "2xx"): 1,
        ("stepwell_fetch_attempts_total", OTHER, "5xx"): 1,
        ("stepwell_fetch_attempts_total", OTHER, "2xx"): 1,
        ("stepwell_fetch_phase_duration_seconds_count", known, "total"): 2,
        ("stepwell_items", "queued"): 0,
        ("stepwell_items", "claimed"): 0,
        ("stepwell_runs", "completed"): 1,
        ("stepwell_runs", "failed"): 1,
    }
    assert {name: found.get(name) for name in want} == want
    assert found["stepwell_store_commits_total",] >= 6
    assert found["stepwell_store_transaction_duration_seconds_count",] > 0
    assert found["process_resident_memory_bytes",] > 0


async def test_requests_without_a_response_and_the_phases_of_those_with_one_in_seconds(tmp_path: Path) -> None:
    with serving(Flaky().handle) as url:
        hosts = {url.removeprefix("http://"): {"concurrency": 5}}
        began = time.monotonic()
        running = embedded(client, db=f"sqlite:///{tmp_path}/m.db", port=free_port(), retry_interval=0.01, hosts=hosts)
        async with running as platform:
            await platform.send_and_wait("counted/works", {"url": url, "other": url})
            (run,) = await platform.send_and_wait("counted/lost", {"url": f"http://127.0.0.1:{free_port()}/"})
            async with httpx2.AsyncClient() as http:
                found = samples((await http.get(f"{platform.url}/metrics")).text)
        taken = time.monotonic() - began
    known = url.removeprefix("http://")
    assert run.output == "connect"
    assert found["stepwell_fetch_attempts_total", OTHER, "error"] == 1
    phases = {name[2] for name in found if name[:2] == ("stepwell_fetch_phase_duration_seconds_count", known)}
    assert phases == {"connect", "first_byte", "transfer", "total"}
    assert 0 < found["stepwell_fetch_phase_duration_seconds_sum", known, "total"] <= taken


async def test_in_production_they_are_for_who_has_the_key() -> None:
    settings = Settings(kind="cloud", signing_key=SIGNING_KEY, event_keys=("e",))
    app = create_app(FakeEngine(), settings, metrics=Metrics(NO_RULES))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://p") as http:
        assert (await http.get("/metrics")).status_code == 401
        bearer = {"authorization": f"Bearer {hashed_key(SIGNING_KEY)}"}
        assert (await http.get("/metrics", headers=bearer)).status_code == 200


class Slow(FakeEngine):
    """Counting takes ``takes`` seconds of a clock of its own, or until ``gate`` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.clock, self.takes, self.asked, self.at_once, self.most = 1_000.0, 2.0, 0, 0, 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def counts(self) -> Counts:
        self.asked += 1
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            await self.gate.wait()
            self.check()
        finally:
            self.at_once -= 1
        self.clock += self.takes
        return Counts(runs={"running": self.asked}, queued=0, claimed=0)

    def counting(self, patience_s: float = 20.0) -> Counting:
        return Counting(self, lambda: int(self.clock * 1000), lambda: self.clock, patience_s)


async def test_a_count_holds_for_fifty_times_as_long_as_it_took() -> None:
    engine = Slow()
    counting = engine.counting()
    first = await counting.figures()
    assert (first.at, first.counts.runs) == (1_000_000, {"running": 1})
    engine.clock = 1_002.0 + 99.9
    assert await counting.figures() is first
    engine.clock += 0.2
    engine.takes = 0.0
    assert (await counting.figures()).at == 1_102_100
    assert (await counting.figures()).counts.runs == {"running": 3}  # it took no time, and is not kept
    assert engine.asked == 3


async def test_scrapes_at_once_count_once() -> None:
    engine = Slow()
    engine.gate.clear()
    counting = engine.counting()
    scrapes = [asyncio.create_task(counting.figures()) for _ in range(9)]
    await until(lambda: engine.asked == 1)
    engine.gate.set()
    assert len({id(found) for found in await asyncio.gather(*scrapes)}) == 1
    assert (engine.asked, engine.most) == (1, 1)


async def test_a_count_that_lasts_goes_on_and_the_last_one_is_told_meanwhile() -> None:
    engine = Slow()
    engine.gate.clear()
    counting = engine.counting(patience_s=0.01)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await counting.figures()
    engine.gate.set()
    await until(lambda: engine.at_once == 0)
    first = await counting.figures()
    engine.clock += 1_000
    engine.gate.clear()
    assert await counting.figures() is first
    assert await counting.figures() is first
    assert (engine.asked, engine.most) == (2, 1)
    engine.gate.set()
    await until(lambda: engine.at_once == 0)
    assert (await counting.figures()).counts.runs == {"running": 2}


async def test_a_store_that_fails_is_asked_again_by_the_next_scrape() -> None:
    engine = Slow()
    engine.broken = "the disk is full"
    counting = engine.counting()
    with pytest.raises(StoreError):
        await counting.figures()
    engine.broken = None
    assert (await counting.figures()).counts.runs == {"running": 2}


async def test_the_page_says_when_it_was_counted_and_names_what_is_gone_as_zero() -> None:
    engine = Slow()
    app = create_app(engine, Settings(), lambda: 1_795_000_000_000, metrics=Metrics(NO_RULES))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://p") as http:
        found = samples((await http.get("/metrics")).text)
    assert found["stepwell_counted_timestamp_seconds",] == 1_795_000_000
    assert (found["stepwell_runs", "running"], found["stepwell_runs", "queued"]) == (1, 0)


async def test_health_has_the_same_count_as_the_page_and_asks_the_store_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stepwell.server.api.counting.KEPT", 10**12)
    engine = Slow()
    app = create_app(engine, Settings(), lambda: NOW, metrics=Metrics(NO_RULES))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://p") as http:
        await http.get("/metrics")
        assert [(await http.get("/health")).json()["runs"] for _ in range(3)] == [{"running": 1}] * 3
        assert engine.asked == 1
        engine.broken = "the disk is full"
        assert (await http.get("/health")).status_code == 503


async def test_health_without_figures_while_they_are_counted_for_the_first_time() -> None:
    engine = Slow()
    engine.gate.clear()
    health = Health(engine, Settings(), engine.counting(patience_s=0.01))
    app = Starlette(routes=[Route("/health", health.health)])
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://p") as http:
        meanwhile = await http.get("/health")
        assert meanwhile.status_code == 200
        assert "runs" not in meanwhile.json()
        engine.gate.set()
        await until(lambda: engine.at_once == 0)
        assert (await http.get("/health")).json()["runs"]


def test_work_that_is_held_back_by_limit_and_reason_without_its_keys() -> None:
    metrics = Metrics(HostRules(parse_hosts({"api.example": {"concurrency": 1}})))
    slow = Pace("host:other.example", slows=True)

    def held(bucket: str, count: int) -> Holding:
        return Holding(Shut(Limit(bucket, 1), Reason.CONCURRENCY), count, ())

    text = metrics.text({}, 0, 0, [held("fn:a-f:11", 2), held("fn:a-f:22", 3), held("host:api.example", 4)]).decode()
    assert samples(text)["stepwell_work_held", "function", "a-f", "concurrency"] == 5
    assert samples(text)["stepwell_work_held", "host", "api.example", "concurrency"] == 4
    text = metrics.text({}, 0, 0, [Holding(Shut(slow, Reason.SLOW_DOWN, 9), 1, ())]).decode()
    found = {name: value for name, value in samples(text).items() if name[0] == "stepwell_work_held"}
    assert found == {("stepwell_work_held", "host", OTHER, "slow_down"): 1}


def test_names_of_functions_are_bounded() -> None:
    metrics = Metrics(NO_RULES)
    assert [metrics._name(f"f{n}") for n in range(502)][499:] == ["f499", OTHER, OTHER]
    assert metrics._name("f7") == "f7"


def exported() -> Iterator[str]:
    for family in text_string_to_metric_families(Metrics(NO_RULES).text({"queued": 0}, 0, 0).decode()):
        yield family.name + ("_total" if family.type == "counter" else "")


def test_the_page_names_each_metric_and_its_labels() -> None:
    rows = re.findall(
        r"^\| `((?:stepwell|http)_\w+)` \| (.*?) \|", (DOCS / "telemetry.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    table = {name: tuple(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    assert table == {metric.name: metric.labels for metric in METRICS}
    assert {name for name in exported() if not name.startswith("process_")} == set(table)


def test_the_page_names_each_metric_of_otlp_its_unit_and_its_attributes() -> None:
    text = (DOCS / "telemetry.md").read_text(encoding="utf-8").partition("## Metrics by OTLP")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([\w.]+)` \| `(.*?)` \| ?(.*?) ?\|$", text, re.MULTILINE)
    table = [(name, unit, tuple(re.findall(r"`([\w.]+)`", attributes))) for name, unit, attributes in rows]
    ours = [(metric.otlp, metric.unit, tuple(metric.attributes.values())) for metric in METRICS]
    assert table == [*ours, *((name, unit, ()) for name, unit in PROCESS.values())]


def test_the_dashboard_asks_for_what_there_is() -> None:
    panels = json.loads((DOCS / "grafana.json").read_text(encoding="utf-8"))["panels"]
    asked = " ".join(target["expr"] for panel in panels for target in panel["targets"])
    names = set(re.findall(r"\b(?:stepwell|process|http_client|http_server)_\w+", asked))
    histograms = {metric.name for metric in METRICS if metric.buckets}
    known = {*exported(), *(f"{name}_{part}" for name in histograms for part in ("bucket", "sum", "count"))}
    assert names - known == set()
    assert {metric.name for metric in METRICS} - {re.sub(r"_(bucket|sum|count)$", "", name) for name in names} == set()
    labels = {label for group in re.findall(r"by \(([^)]*)\)", asked) for label in group.split(", ")}
    assert labels - {"le"} <= {label for metric in METRICS for label in metric.labels}
