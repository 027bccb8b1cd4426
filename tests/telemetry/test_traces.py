"""Traces, as a real OTLP receiver gets them: what is below what, and the context on its way through."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

import stepwell
from stepwell.embed import Embedded, embedded
from stepwell.sdk.config import read_config
from stepwell.server.settings import Settings, SettingsError
from stepwell.server.store.base import RunQuery
from stepwell.server.telemetry import pushing, tracing
from stepwell.server.telemetry.setup import observers
from stepwell.wire.traces import parse_context
from tests.e2e.ugly import sdk_app, sync, until
from tests.ports import free_port
from tests.telemetry.receivers import Collector, Flaky, RemoteApp, members, remote_function, serving

TRACE, SENDER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CLIENT, CONSUMER = 3, 5
client = stepwell.Client(app_id="traced")


@client.create_function(fn_id="child", trigger=stepwell.TriggerEvent(event="unused"))
async def child(ctx: stepwell.Context) -> str:
    raise stepwell.NonRetriableError("not today")


@client.create_function(fn_id="parent", trigger=stepwell.TriggerEvent(event="traced/parent"))
async def parent(ctx: stepwell.Context) -> str:
    await ctx.step.fetch(f"{ctx.event.data['url']}/a?token=s3cret", id="get")
    try:
        await ctx.step.invoke("ask", function=child)
    except stepwell.StepError:
        return "asked"
    return "no error"


@client.create_function(fn_id="teller", trigger=stepwell.TriggerEvent(event="traced/tell"))
async def teller(ctx: stepwell.Context) -> None:
    await ctx.step.run("before", lambda: None)
    await ctx.step.send_event("tell", stepwell.Event(name="told/by.step"))
    await ctx.step.run("in a thread", lambda: client.send_sync(stepwell.Event(name="told/by.thread")))


@client.create_function(fn_id="teller-sync", trigger=stepwell.TriggerEvent(event="traced/tell-sync"))
def teller_sync(ctx: stepwell.ContextSync) -> None:
    ctx.step.send_event("tell", stepwell.Event(name="told/by.step"))
    ctx.step.run("in a thread", lambda: client.send_sync(stepwell.Event(name="told/by.thread")))


@client.create_function(fn_id="hears", trigger=stepwell.TriggerEvent(event="told/by.*"))
async def hears(ctx: stepwell.Context) -> None:
    """Begins because of what a run sends."""


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    found = Collector()
    with serving(found.handle) as url:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"{url}/")
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
        yield found


async def test_a_run_its_steps_its_attempts_and_its_child_are_one_trace(collector: Collector, tmp_path: Path) -> None:
    flaky = Flaky()
    with serving(flaky.handle) as url:
        async with embedded(client, db=f"sqlite:///{tmp_path}/t.db", retry_interval=0.01) as platform:
            (result,) = await platform.send_and_wait("traced/parent", {"url": url})
    assert result.output == "asked"
    event, run = collector.named("send traced/parent"), collector.named("run traced-parent")
    assert {span.trace_id for span in collector.spans} == {event.trace_id}
    assert event.parent_span_id == b""
    assert (run.parent_span_id, run.kind) == (event.span_id, CONSUMER)
    assert members(run.attributes)["stepwell.run.id"] == result.run_id
    message = {"messaging.system": "stepwell", "messaging.destination.name": "traced/parent"}
    for span, what, name in ((event, "send", "send"), (run, "process", "run")):
        said = members(span.attributes)
        assert message.items() <= said.items()
        assert (said["messaging.operation.type"], said["messaging.operation.name"]) == (what, name)
        assert said["messaging.message.id"] == members(event.attributes)["stepwell.event.id"]

    get = collector.named("step get")
    assert get.parent_span_id == run.span_id
    attempts = [span for span in collector.spans if span.name == "GET"]
    assert {span.parent_span_id for span in attempts} == {get.span_id}
    assert [span.kind for span in attempts] == [CLIENT, CLIENT]
    first, second = (members(span.attributes) for span in attempts)
    assert (first["http.response.status_code"], first["error.type"]) == (503, "503")
    assert (second["http.response.status_code"], second["http.request.resend_count"]) == (200, 1)
    assert "error.type" not in second
    assert (second["http.request.method"], second["server.address"]) == ("GET", "127.0.0.1")
    assert second["url.full"] == f"{url}/a"
    assert second["stepwell.fetch.first_byte_us"] > 0
    assert second["http.response.body.size"] > 0

    ask, invoked = collector.named("step ask"), collector.named("run traced-child")
    assert collector.named("send inngest/function.invoked").parent_span_id == ask.span_id
    assert invoked.parent_span_id == collector.named("send inngest/function.invoked").span_id
    assert invoked.status.code == 2
    assert members(ask.attributes)["error.type"] == members(invoked.attributes)["error.type"]
    assert collector.resources[0]["service.name"] == "stepwell"
    assert collector.resources[0]["deployment.environment"] == "test"
    assert not any(b"s3cret" in span.SerializeToString() for span in collector.spans)


async def test_a_step_that_the_app_runs_is_as_long_as_it_took(collector: Collector, tmp_path: Path) -> None:
    slow = stepwell.Client(app_id="slow")

    @slow.create_function(fn_id="f", trigger=stepwell.TriggerEvent(event="go"))
    async def function(ctx: stepwell.Context) -> None:
        await ctx.step.run("alone", asyncio.sleep, 0.06)
        await asyncio.gather(*(ctx.step.run(f"one of two: {number}", asyncio.sleep, 0.06) for number in range(2)))

    del function
    async with embedded(slow, db=f"sqlite:///{tmp_path}/t.db") as platform:
        (result,) = await platform.send_and_wait("go")
    assert result.status == "completed"
    run = collector.named("run slow-f")
    spans = [span for span in collector.spans if span.name.startswith("step ")]
    assert len(spans) == 3
    for span in spans:
        assert span.end_time_unix_nano - span.start_time_unix_nano >= 50_000_000, span.name
        assert (
            run.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano <= run.end_time_unix_nano
        )


@pytest.mark.parametrize("sampled", [True, False])
async def test_the_sender_s_context_goes_on_into_the_app(
    collector: Collector, tmp_path: Path, *, sampled: bool
) -> None:
    app = RemoteApp()
    with serving(app.handle) as url:
        async with embedded((), db="memory:", port=free_port()) as platform:
            await platform.sync("shop", url, [remote_function(url)])
            headers = {"traceparent": f"00-{TRACE}-{SENDER}-0{int(sampled)}", "tracestate": "vendor=1"}
            await _send(platform, "shop/remote", headers)
    given = parse_context(app.headers[0]["traceparent"], app.headers[0]["tracestate"])
    assert given is not None
    assert (given.trace_id, given.sampled, given.state) == (TRACE, sampled, "vendor=1")
    if not sampled:
        assert collector.spans == []
        return
    call = collector.named("POST")
    assert call.span_id.hex() == given.span_id
    assert call.parent_span_id == collector.named("run shop-remote").span_id
    assert collector.named("send shop/remote").parent_span_id.hex() == SENDER
    assert members(call.attributes)["http.response.status_code"] == 200


@pytest.mark.parametrize("name", ["traced/tell", "traced/tell-sync"])
@pytest.mark.parametrize("where", ["in process", "over http"])
async def test_what_a_run_sends_goes_below_the_call_that_sends_it(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, name: str
) -> None:
    db = f"sqlite:///{tmp_path}/t.db"
    if where == "in process":
        async with embedded(client, db=db) as platform:
            await _told(platform, name)
    else:
        async with embedded((), db=db, port=free_port()) as platform, sdk_app(client) as url:
            monkeypatch.setattr(client, "_config", read_config({"STEPWELL_DEV": platform.url}))
            await sync(platform, client, url)
            await _told(platform, name)
    assert len({span.trace_id for span in collector.spans}) == 1
    calls = {span.span_id for span in collector.spans if span.name in ("call", "POST")}
    sent = [collector.named(f"send told/by.{way}") for way in ("step", "thread")]
    assert {span.parent_span_id for span in sent} <= calls
    assert sent[0].parent_span_id != sent[1].parent_span_id, "each is sent by a call of its own"
    heard = [span.parent_span_id for span in collector.spans if span.name == "run traced-hears"]
    assert sorted(heard) == sorted(span.span_id for span in sent)


async def _told(platform: Embedded, name: str) -> None:
    (told,) = await platform.send_and_wait(name, timeout=20)
    assert told.status == "completed"

    async def heard() -> bool:
        runs = await platform._host.ask(platform._host_engine().runs(RunQuery(function_id="traced-hears")))
        return [run.status.value for run in runs] == ["completed"] * 2

    await until(heard, 20)


async def test_what_an_event_did_not_start_is_on_its_span(collector: Collector, tmp_path: Path) -> None:
    async with embedded(client, db=f"sqlite:///{tmp_path}/t.db", port=free_port()) as platform:
        async with httpx2.AsyncClient(base_url=platform.url) as http:
            (await http.post("/v1/functions/traced-child/pause")).raise_for_status()
        await platform.send("unused")
    [said] = collector.named("send unused").events
    assert said.name == "run not started"
    assert members(said.attributes) == {"stepwell.function.id": "traced-child", "stepwell.reason": "paused"}


async def test_without_a_collector_the_context_is_passed_on_as_it_came(tmp_path: Path) -> None:
    app = RemoteApp()
    with serving(app.handle) as url:
        async with embedded((), db="memory:", port=free_port()) as platform:
            await platform.sync("shop", url, [remote_function(url)])
            await _send(platform, "shop/remote", {"traceparent": f"00-{TRACE}-{SENDER}-01"})
            await _send(platform, "shop/remote", {"traceparent": "nonsense"})
    assert app.headers[0]["traceparent"] == f"00-{TRACE}-{SENDER}-01"
    assert "traceparent" not in app.headers[1]


async def test_a_collector_that_is_away_holds_up_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("STEPWELL_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    monkeypatch.setattr(tracing, "_CLOSE_S", 0.5)
    monkeypatch.setattr(pushing, "_CLOSE_S", 0.5)
    flaky = Flaky()
    with serving(flaky.handle) as url:
        async with embedded(client, db=f"sqlite:///{tmp_path}/t.db", retry_interval=0.01) as platform:
            (result,) = await platform.send_and_wait("traced/parent", {"url": url})
    assert result.output == "asked"
    assert "127.0.0.1" in caplog.text


def test_nothing_of_opentelemetry_is_loaded_without_an_endpoint() -> None:
    code = """if True:
        import asyncio, sys
        from stepwell.embed import embedded
        async def main():
            async with embedded(db="memory:"):
                print([name for name in sys.modules if name.startswith(("opentelemetry", "google.protobuf"))])
        asyncio.run(main())
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    found = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=30, check=True
    )
    assert found.stdout == "[]\n"


def test_an_endpoint_without_the_extra_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "stepwell.server.telemetry.tracing", None)
    with pytest.raises(SettingsError, match=r"pip install 'stepwell\[otel\]'"):
        observers(Settings(otlp_endpoint="http://c:4318"), str)
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert observers(Settings(otlp_endpoint="http://c:4318"), str) == []


async def _send(platform: Embedded, name: str, headers: dict[str, str]) -> None:
    async with httpx2.AsyncClient(base_url=platform.url) as http:
        sent = await http.post("/e/dev", json={"name": name}, headers=headers)
    await platform.wait(sent.raise_for_status().json()["ids"][0], timeout=20)
