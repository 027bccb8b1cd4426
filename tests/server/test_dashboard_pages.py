"""The pages, with a plain client: what each shows, who may see it, what a form needs, and that user data stays text."""

import html
import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from typing import Any

import httpx2
import msgspec
import pytest

from stepwell.core.flow.gates import Shut
from stepwell.core.flow.keys import limits_for
from stepwell.core.model import Limit, Pace, Passed, Reason, RunStatus, RunView, StepStatus, StoredEvent
from stepwell.core.requestcopies import RequestCopy, copied
from stepwell.server.api import search
from stepwell.server.api.app import create_app
from stepwell.server.changes import Changes
from stepwell.server.dashboard.app import with_dashboard
from stepwell.server.dashboard.pages import CSP
from stepwell.server.dashboard.session import LASTS_S, Sessions
from stepwell.server.settings import Settings
from stepwell.server.store.base import WorkerRecord
from stepwell.wire.fetch import FetchRequest, FetchResponse
from stepwell.wire.functions import parse_registration
from stepwell.wire.memos import memo
from stepwell.wire.secrets import reference
from tests.server.api_fakes import NOW, SIGNING_KEY, FakeEngine, attempt, finished_step, new_ulid

CLOUD = Settings(kind="cloud", signing_key=SIGNING_KEY, event_keys=("k1",))
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
PAGES = ["/", "/events", "/events/send", "/functions", "/apps", "/limits", "/workers", "/start"]


class WatchedFake(FakeEngine):
    """The fake with changes."""

    def __init__(self) -> None:
        super().__init__()
        self.changes = Changes()


class Tags(HTMLParser):
    """Every tag with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def client(engine: FakeEngine, settings: Settings | None = None, **headers: str) -> httpx2.AsyncClient:
    settings = settings or Settings()
    app = with_dashboard(create_app(engine, settings, lambda: NOW), engine, settings, lambda: NOW)  # type: ignore[arg-type]
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://stepwell", headers=headers)


@pytest.fixture
def engine() -> WatchedFake:
    return WatchedFake()


@pytest.fixture
async def web(engine: WatchedFake) -> AsyncIterator[httpx2.AsyncClient]:
    async with client(engine) as made:
        yield made


def register(engine: FakeEngine, app: str = "app", fn: str = "app-fn", event: str = "a", **more: Any) -> None:
    function = {"id": fn, "name": fn, "triggers": [{"event": event}, {"cron": "0 9 * * *"}], **more}
    body = {"appName": app, "url": "http://127.0.0.1:1/x", "sdk": "js:v4", "functions": [function]}
    engine.registrations[app] = parse_registration(msgspec.json.encode(body))


def token(text: str) -> str:
    found = re.search(r'name="token" value="(\w+)"', text)
    assert found
    return found[1]


def gateway(body: bytes, kind: str = "application/json", **headers: str) -> bytes:
    fields = (("content-type", kind), *headers.items())
    return memo(
        FetchResponse(status=200, url="https://h.example/x?api_key=tiptop", headers=fields, body=body), rich=True
    )


def worker(host: str, **more: Any) -> WorkerRecord:
    return WorkerRecord(worker_id=f"W-{host}", host=host, pid=41, version="1", **more)


# what is shown


async def test_an_empty_platform_teaches_how_to_connect_an_app(web: httpx2.AsyncClient) -> None:
    text = (await web.get("/")).text
    assert "Connect an app" in text
    assert "INNGEST_BASE_URL=http://stepwell" in text
    assert "stepwell dev app.py" in text


async def test_runs_by_status_function_app_time_and_text(engine: WatchedFake, web: httpx2.AsyncClient) -> None:
    first = engine.add_run(1, RunStatus.FAILED, output=b'{"message":"the lamp broke"}', trigger="a").run.run_id
    second = engine.add_run(2, trigger="b").run.run_id

    async def shown(query: str) -> list[str]:
        return re.findall(r'<tr id="r-(\w+)"', (await web.get(f"/?{query}")).text)

    assert await shown("") == [second, first]
    assert await shown("status=failed") == [first]
    assert await shown("function=app-fn&app=app") == [second, first]
    assert await shown("app=other") == []
    assert await shown("q=LAMP") == [first]
    assert await shown("since=1h") == [second, first]
    assert await shown("where=run.trigger == 'b'") == [second]
    assert await shown("where=event.data.n == 1 %26%26 run.error.message.contains('lamp')") == [first]
    assert await shown(f"cursor={second}") == [first]
    assert await shown(f"only={first}") == [first]
    assert (await web.get(f"/?q={first}")).headers["location"] == f"runs/{first}"


async def test_what_is_wrong_with_an_expression_is_said_beside_it(engine: WatchedFake, web: httpx2.AsyncClient) -> None:
    engine.add_run()
    answer = await web.get("/", params={"where": "run.stauts == 'failed'"})
    assert answer.status_code == 400
    assert "a run has no field" in answer.text
    assert "stauts" in answer.text
    assert 'aria-invalid="true"' in answer.text
    assert '<tr id="r-' not in answer.text


async def test_a_search_says_how_many_runs_it_looked_at_and_goes_on(
    engine: WatchedFake, web: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "LOOKED_AT", 100)
    runs = [engine.add_run(number).run.run_id for number in range(1, 151)]
    text = (await web.get("/", params={"where": "event.data.n == 1"})).text
    assert "Looked at 100 runs." in text
    assert "No run among those" in text
    older = re.search(r'rel="next" href="\./([^"]+)"', text)
    assert older
    text = (await web.get("/" + older[1].replace("&amp;", "&"))).text
    assert re.findall(r'<tr id="r-(\w+)"', text) == [runs[0]]
    assert 'rel="next"' not in text


async def test_pages_of_runs_go_on_where_the_last_one_ended(engine: WatchedFake, web: httpx2.AsyncClient) -> None:
    made = [engine.add_run(number).run.run_id for number in range(1, 121)]
    seen: list[str] = []
    url = "/"
    while url:
        text = (await web.get(url)).text
        seen += re.findall(r'<tr id="r-(\w+)"', text)
        older = re.search(r'rel="next" href="\./([^"]+)"', text)
        url = "/" + older[1].replace("&amp;", "&") if older else ""
    assert seen == made[::-1]


async def test_a_run_with_its_waterfall_and_the_panel_of_a_step(engine: WatchedFake, web: httpx2.AsyncClient) -> None:
    view = engine.add_run(status=RunStatus.COMPLETED, output=b'{"n":41}', started_at=NOW + 1, ended_at=NOW + 900)
    tries = (
        attempt(0, status=503, delay_ms=100, reason="status 503"),
        attempt(1, status=200, phases={"dns": 3.0}, size=4_200, passed=(Passed("host:h", Reason.RATE),), held_ms=40),
    )
    add(view, finished_step(view.run.run_id, 0, op="Gateway", memo=gateway(b'{"lamp":"green"}'), attempts=tries))
    text = (await web.get(f"/runs/{view.run.run_id}")).text
    assert text.count("<li id=") == 2
    assert {"b-run", "b-failed", "b-phase p-dns"} <= set(re.findall(r'rect class="([^"]+)"', text))
    assert ">41<" in text
    panel = (await web.get(f"/runs/{view.run.run_id}?step={0:040x}")).text
    assert '"green"' in panel.replace("&#34;", '"')
    assert "status 503" in panel
    assert "dns 3 ms" in panel
    assert "4.1 KiB" in panel
    assert "waited 40 ms for the rate limit of host h" in panel


async def test_a_step_goes_on_at_no_time_that_is_past(engine: WatchedFake, web: httpx2.AsyncClient) -> None:
    view = engine.add_run(status=RunStatus.RUNNING)
    asleep = finished_step(
        view.run.run_id, 0, op="Sleep", status=StepStatus.WAITING, position=None, due_at=NOW + 60_000
    )
    flying = finished_step(view.run.run_id, 1, op="Gateway", status=StepStatus.WAITING, position=None, due_at=NOW - 5)
    add(view, asleep, flying)
    assert "Goes on" in (await web.get(f"/runs/{view.run.run_id}?step={0:040x}")).text
    assert "Goes on" not in (await web.get(f"/runs/{view.run.run_id}?step={1:040x}")).text


async def test_the_request_of_a_step_is_shown_and_copied(engine: WatchedFake, web: httpx2.AsyncClient) -> None:
    view = engine.add_run()
    headers = (("authorization", "Bearer hush-hush"), ("x-key", reference("LAMP_KEY")), ("x-plain", "seen"))
    request = FetchRequest(url="https://h.example/x?page=2", method="POST", headers=headers, body=b'{"lamp": 41}')
    info, _ = copied(request, "")
    large, beside = copied(msgspec.structs.replace(request, body=b"<b>" + b"z" * 2_000), "the-ref")
    assert beside is not None
    engine.bodies["the-ref"] = beside
    add(view, finished_step(view.run.run_id, 0, op="Gateway", memo=gateway(b"{}"), info=info))
    add(view, finished_step(view.run.run_id, 1, op="Gateway", memo=gateway(b"{}"), info=large))
    text = html.unescape((await web.get(f"/runs/{view.run.run_id}?step={0:040x}")).text)
    assert "curl -L 'https://h.example/x?page=2'" in text
    assert """-H 'x-key: '"${LAMP_KEY}" """ in text
    assert """--data-raw '{"lamp": 41}'""" in text
    assert "hush" not in text
    assert '<span class="key">lamp</span>' in text
    text = (await web.get(f"/runs/{view.run.run_id}?step={1:040x}")).text
    assert "z" * 2_000 in text
    assert "<b>zz" not in text


async def test_credentials_are_masked(engine: WatchedFake, web: httpx2.AsyncClient) -> None:
    view = engine.add_run()
    info = msgspec.json.encode({"method": "GET", "url": "https://h.example/x"})
    answer = gateway(b"{}", **{"set-cookie": "sid=hush", "x-plain": "seen", "location": "https://h/?token=hush"})
    add(view, finished_step(view.run.run_id, 0, op="Gateway", memo=answer, info=info))
    text = (await web.get(f"/runs/{view.run.run_id}?step={0:040x}")).text
    assert "seen" in text
    assert "curl https://h.example/x" in text
    assert "hush" not in text
    assert "tiptop" not in text


async def test_bodies_as_tree_text_image_and_hex(engine: WatchedFake, web: httpx2.AsyncClient) -> None:
    view = engine.add_run()
    png = b"\x89PNG\r\n\x1a\n" + bytes(8)
    bodies = [(b"[1,2]", "application/json"), (b"plain words", "text/plain"), (png, "image/png"), (b"\0\1\2", "x/y")]
    bodies.append((b"<svg onload=alert(1)>", "image/svg+xml"))
    for number, (body, kind) in enumerate(bodies):
        add(view, finished_step(view.run.run_id, number, op="Gateway", memo=gateway(body, kind)))
    page = f"/runs/{view.run.run_id}"
    texts = [(await web.get(f"{page}?step={number:040x}")).text for number in range(5)]
    assert 'class="tree"' in texts[0]
    assert "plain words" in texts[1]
    assert f'<img src="../runs/{view.run.run_id}/steps/{2:040x}/image"' in texts[2]
    assert "00000000  00 01 02" in texts[3]
    assert "&lt;svg onload" in texts[4]
    image = await web.get(f"{page}/steps/{2:040x}/image")
    assert (image.content, image.headers["content-type"]) == (png, "image/png")
    assert (await web.get(f"{page}/steps/{4:040x}/image")).status_code == 404


async def test_an_error_has_the_traceback_of_the_code_that_raised_it(
    engine: WatchedFake, web: httpx2.AsyncClient
) -> None:
    error = {"name": "ZeroDivisionError", "message": "division by zero", "stack": 'File "shop.py", line 7, in pay'}
    view = engine.add_run(status=RunStatus.FAILED, output=msgspec.json.encode(error))
    failed = {"memo": msgspec.json.encode({"error": error}), "status": StepStatus.FAILED}
    add(view, finished_step(view.run.run_id, 0, **failed))  # type: ignore[arg-type]
    for query in ("", f"?step={0:040x}"):
        text = html.unescape((await web.get(f"/runs/{view.run.run_id}{query}")).text)
        assert "<b>ZeroDivisionError</b>: division by zero" in text
        assert 'aria-label="Traceback">File "shop.py", line 7, in pay</pre>' in text
        assert "of libraries" not in text


async def test_frames_of_libraries_are_folded_in_the_panel_and_whole_over_the_api(
    engine: WatchedFake, web: httpx2.AsyncClient
) -> None:
    library = '  File "/venv/lib/python3.13/site-packages/stepwell/sdk/steps.py", line 1, in call\n    await body()\n'
    own = '  File "/app/shop.py", line 7, in pay\n    1 / 0\nZeroDivisionError: division by zero\n'
    error = {"name": "ZeroDivisionError", "message": "division by zero", "stack": library + own}
    view = engine.add_run(status=RunStatus.FAILED, output=msgspec.json.encode(error))
    text = html.unescape((await web.get(f"/runs/{view.run.run_id}")).text)
    assert f'aria-label="Traceback">{own}</pre>' in text
    assert "<summary>With 1 frame of libraries</summary>" in text
    assert f'aria-label="The whole traceback">{library}{own}</pre>' in text


async def test_ten_thousand_steps_come_in_parts(engine: WatchedFake, web: httpx2.AsyncClient) -> None:
    view = engine.add_run(steps=10_000)
    for number in range(10_000):
        add(view, finished_step(view.run.run_id, number))
    text = (await web.get(f"/runs/{view.run.run_id}")).text
    assert text.count("<li id=") == 201
    assert f'data-more="../runs/{view.run.run_id}?first=200"' in text
    deep = (await web.get(f"/runs/{view.run.run_id}?step={7_777:040x}")).text
    assert f'id="s-{7_777:040x}"' in deep
    assert "step 7777" in deep


async def test_events_with_what_each_triggered_and_the_last_payload_to_send(
    engine: WatchedFake, web: httpx2.AsyncClient
) -> None:
    view = engine.add_run(7)
    register(engine)
    event_id = view.run.event_ids[0]
    listed = (await web.get("/events")).text
    assert f"../runs/{view.run.run_id}" in listed.replace('"./', '"../')
    assert view.run.run_id in (await web.get(f"/events/{event_id}")).text
    form = (await web.get("/events/send?name=a")).text
    assert "&#34;n&#34;: 7" in form
    sent = await web.post("/events/send", data={"name": "a", "data": '{"n": 8}', "token": token(form)})
    assert sent.status_code == 303
    made = engine.events[sent.headers["location"]]
    assert msgspec.json.decode(made.body)["data"] == {"n": 8}
    refused = await web.post("/events/send", data={"name": "a", "data": "{oops", "token": token(form)})
    assert refused.status_code == 400
    assert "{oops" in refused.text
    assert "is not JSON" in refused.text


async def test_an_event_with_what_it_did_not_start(engine: WatchedFake, web: httpx2.AsyncClient) -> None:
    event_id = engine.add_run(7, RunStatus.SKIPPED, skipped="paused").run.event_ids[0]
    engine.unstarted_keys = [f"rate_limit:{EVIL}"]
    text = (await web.get(f"/events/{event_id}")).text
    assert "The function was paused." in text
    assert "Its rate limit was used up." in text
    assert "<script>alert" not in text
    engine.unstarted_keys = []
    assert "Not started" not in (await web.get(f"/events/{engine.add_run(8).run.event_ids[0]}")).text


async def test_functions_apps_and_limits(engine: WatchedFake, web: httpx2.AsyncClient) -> None:
    register(engine, concurrency={"limit": 3, "key": "event.data.id"}, throttle={"limit": 2, "period": "1m"})
    functions = (await web.get("/functions")).text
    assert "3 steps at once for each event.data.id" in functions
    assert "throttle 2 in 1m" in functions
    assert functions.count("<time") == 3
    form = {"function": "app-fn", "data": '{"x": 1}', "token": token(functions)}
    assert (await web.post("/functions/invoke", data=form)).status_code == 303
    assert (await web.post("/functions/invoke", data={**form, "function": "no"})).status_code == 404
    apps = (await web.get("/apps")).text
    assert ":1/x</code>" in apps
    assert "js:v4" in apps
    engine.add_run()
    engine.held_by_key = {"step": Shut(Limit("host:api.example", 1), Reason.CONCURRENCY)}
    limits = (await web.get("/limits")).text
    assert "Concurrency limit of host api.example" in limits
    assert "7 waiting" in limits
    assert "and 6 more" in limits


async def test_a_function_is_paused_and_resumed(engine: WatchedFake, web: httpx2.AsyncClient) -> None:
    register(engine)
    text = (await web.get("/functions")).text
    form = {"token": token(text), "function": "app-fn"}
    assert 'action="./functions/pause"' in text
    answer = await web.post("/functions/pause", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "../functions")
    assert not engine.pausing.cancelling
    text = (await web.get("/functions")).text
    assert "is-paused" in text
    assert "none: paused" in text
    assert text.count("<time") == 1, "since when, and no next runs of its schedule"
    refused = await web.post("/functions/invoke", data={**form, "data": "{}"})
    assert refused.status_code == 409
    assert "app-fn is paused" in refused.text
    assert (await web.post("/functions/resume", data=form)).status_code == 303
    assert "is-active" in (await web.get("/functions")).text
    await web.post("/functions/pause", data={**form, "cancel": "on"})
    assert engine.pausing.cancelling
    assert (await web.post("/functions/pause", data={**form, "function": "no"})).status_code == 404
    assert (await web.post("/functions/pause", data={"function": "app-fn"})).status_code == 403


async def test_workers_with_those_that_are_gone_in_the_end(engine: WatchedFake, web: httpx2.AsyncClient) -> None:
    engine.processes = [
        worker("one", started_at=1, beat_at=NOW - 60_000, items=3),
        worker("two", started_at=2, beat_at=NOW - 1_000, items=4, leads=True, apps=("shop", EVIL)),
        worker(EVIL, started_at=3, beat_at=NOW, stopping=True),
    ]
    text = (await web.get("/workers")).text
    assert re.findall(r"is-(\w+)", text) == ["active", "stopping", "gone"]
    assert text.index("two") < text.index("one</strong>")
    assert "starts schedules" in text
    assert '<td class="num">4</td>' in text
    assert '<td class="num">3</td>' not in text, "what a dead process works on is with others"
    assert "<script>alert" not in text


async def test_a_limit_with_a_key_says_for_whom(engine: WatchedFake, web: httpx2.AsyncClient) -> None:
    register(engine, concurrency={"limit": 1, "key": "event.data.n"}, throttle={"limit": 2, "period": "1m"})
    view = engine.add_run(7)
    (limit,) = limits_for(engine.functions()[0], view.events[0])
    engine.held_by_key = {"step": Shut(limit, Reason.CONCURRENCY)}
    assert "<code>event.data.n = 7</code>" in (await web.get("/limits")).text
    engine.held_by_key = {"step": Shut(Pace("throttle:app-fn:", 2, 60_000), Reason.RATE, NOW + 5)}
    text = (await web.get("/limits")).text
    assert "Throttle of function app-fn" in text
    assert "event.data.n" not in text


async def test_cancelling_and_running_again(engine: WatchedFake, web: httpx2.AsyncClient) -> None:
    view = engine.add_run()
    run_id = view.run.run_id
    add(view, finished_step(run_id, 0))
    form = {"token": token((await web.get(f"/runs/{run_id}")).text)}
    edited = await web.post(f"/runs/{run_id}/rerun", data={**form, "step": "s", "input": '[{"n": 2}]'})
    assert edited.headers["location"] == f"../{new_ulid(999)}"
    await web.post(f"/runs/{run_id}/rerun", data=form)
    assert engine.reruns == [(run_id, "s", [{"n": 2}]), (run_id, None, None)]
    wrong = await web.post(f"/runs/{run_id}/rerun", data={**form, "step": "s", "input": "{}"})
    assert wrong.status_code == 400
    assert (await web.post(f"/runs/{run_id}/rerun", data={**form, "step": "none"})).status_code == 409
    assert (await web.post(f"/runs/{run_id}/cancel", data=form)).status_code == 303
    assert view.run.status is RunStatus.CANCELLED
    assert (await web.post(f"/runs/{new_ulid(5)}/cancel", data=form)).status_code == 404


async def test_the_function_of_a_run_is_invoked_with_other_data(engine: WatchedFake, web: httpx2.AsyncClient) -> None:
    page = f"/runs/{engine.add_run(7).run.run_id}"
    assert "Invoke it" not in (await web.get(page)).text, "there is no such function any more"
    register(engine)
    text = (await web.get(page)).text
    assert "Invoke it with this data" in text
    assert "&#34;n&#34;: 7" in text.partition("Invoke app-fn")[2].partition("</textarea>")[0]
    form = {"function": "app-fn", "data": '{"n": 8}', "token": token(text)}
    made = (await web.post("/functions/invoke", data=form)).headers["location"]
    body = msgspec.json.decode(engine.events[made.rpartition("/")[2]].body)
    assert (body["data"]["n"], body["data"]["_inngest"]["fn_id"]) == (8, "app-fn")
    await engine.pausing.pause("app-fn", cancel_running=False)
    assert "Invoke it" not in (await web.get(page)).text


async def test_many_runs_are_cancelled_or_run_again(engine: WatchedFake, web: httpx2.AsyncClient) -> None:
    views = [engine.add_run(number) for number in range(1, 5)]
    page = (await web.get("/?status=running")).text
    form = {"token": token(page), "back": "?status=running"}
    assert 'name="back" value="?status=running"' in page
    ticked = {f"run-{view.run.run_id}": "on" for view in views[:2]}
    answer = await web.post("/runs/many", data={**form, **ticked, "run-odd": "on", "action": "cancel"})
    assert answer.headers["location"] == "../?status=running"
    assert [view.run.status.value for view in views] == ["cancelled", "cancelled", "running", "running"]
    await web.post("/runs/many", data={**form, **ticked, "action": "rerun", "back": "//evil.example"})
    assert [run_id for run_id, _, _ in engine.reruns] == [view.run.run_id for view in views[:2]]


# what may go wrong


async def test_user_data_stays_text_wherever_it_is_shown(engine: WatchedFake, web: httpx2.AsyncClient) -> None:
    register(engine, app=EVIL, fn=EVIL, event=EVIL, concurrency={"limit": 1, "key": f"event.data['{'x' * 3}']"})
    event_id = new_ulid(500)
    body = msgspec.json.encode({"id": EVIL, "name": EVIL, "data": {EVIL: EVIL, "list": [EVIL]}, "ts": NOW})
    event = StoredEvent(internal_id=event_id, event_id=EVIL, name=EVIL, received_at=NOW, body=body)
    view = engine.add_run(trigger=EVIL, error=EVIL, event_ids=(event_id,), parent=f"{EVIL}.{EVIL}", original=EVIL)
    engine.events[event_id] = event
    view.events = [body]
    view.run = msgspec.structs.replace(view.run, function_id=EVIL, app_id=EVIL)
    failed = msgspec.json.encode({"error": {"name": EVIL, "message": EVIL, "stack": EVIL}})
    tries = (attempt(0, error=EVIL, reason=EVIL, delay_ms=1),)
    answers = [
        {"memo": failed, "status": StepStatus.FAILED, "attempts": tries, "op": "StepRun"},
        {"memo": gateway(EVIL.encode(), "text/html", **{"x-evil": EVIL}), "op": "Gateway"},
        {"memo": gateway(msgspec.json.encode({EVIL: EVIL})), "op": "Gateway"},
        {"memo": msgspec.json.encode({"data": EVIL}), "input": msgspec.json.encode([EVIL]), "op": EVIL},
    ]
    for number, fields in enumerate(answers):
        step = finished_step(view.run.run_id, number, **fields)  # type: ignore[arg-type]
        copy = RequestCopy(EVIL, EVIL, EVIL, (("x-evil", EVIL), (EVIL, EVIL)), EVIL)
        add(view, msgspec.structs.replace(step, name=EVIL, info=msgspec.json.encode(copy)))
    engine.held_by_key = {"step": Shut(Limit(f"host:{EVIL}", 1), Reason.CONCURRENCY)}
    urls = [*PAGES, f"/events/{event_id}", f"/events/send?like={event_id}", f"/runs/{view.run.run_id}"]
    urls += [f"/runs/{view.run.run_id}?step={number:040x}" for number in range(len(answers))]
    urls += [
        "/?" + str(httpx2.QueryParams({"q": EVIL, "function": EVIL})),
        "/?" + str(httpx2.QueryParams({"where": EVIL})),
        f"/{'runs'}/{EVIL[:8]}",
    ]
    shown = 0
    for url in urls:
        text = (await web.get(url)).text
        shown += text.count("alert(1)")
        for tag, attributes in Tags(text).found:
            assert tag != "script" or (attributes.get("src") or "").startswith(
                ("./static", "../static", "../../static")
            )
            assert not [name for name in attributes if name.startswith("on") or name == "style"], (url, tag)
            assert not (attributes.get("href") or "").lower().startswith("javascript"), url
            assert tag != "img" or attributes.get("src") != "x"
    assert shown > 40


@pytest.mark.parametrize("url", [*PAGES, "/runs/nothing", "/static/base.css", "/nowhere/../static/none", "/login"])
async def test_a_strict_policy_on_every_answer_and_nothing_inline(web: httpx2.AsyncClient, url: str) -> None:
    answer = await web.get(url)
    if "nowhere" not in url:
        assert answer.headers["content-security-policy"] == CSP
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in answer.headers
    assert "unsafe" not in CSP
    if answer.headers["content-type"].startswith("text/html"):
        assert not re.search(r"<style|style=|<script(?![^>]*src=)| on\w+=", answer.text)


async def test_a_form_of_another_site_is_refused(engine: WatchedFake, web: httpx2.AsyncClient) -> None:
    run_id = engine.add_run().run.run_id
    good = token((await web.get(f"/runs/{run_id}")).text)
    url = f"/runs/{run_id}/cancel"
    assert (await web.post(url)).status_code == 403
    assert (await web.post(url, data={"token": "0" * 64})).status_code == 403
    assert (await web.post(url, data={"token": good}, headers={"Sec-Fetch-Site": "cross-site"})).status_code == 403
    assert (await web.post(url, data={"token": good}, headers={"Origin": "https://evil.example"})).status_code == 403
    assert engine.views[run_id].run.status is RunStatus.RUNNING
    assert (await web.post(url, data={"token": good}, headers={"Origin": "http://stepwell"})).status_code == 303


async def test_in_production_everything_is_behind_the_login(engine: WatchedFake) -> None:
    run_id = engine.add_run().run.run_id
    async with client(engine, CLOUD) as web:
        for url in [*PAGES, f"/runs/{run_id}", "/live", f"/runs/{run_id}/steps/x/image"]:
            answer = await web.get(url)
            assert answer.status_code == 303, url
            assert "login" in answer.headers["location"]
            assert run_id not in answer.text
        assert (await web.post(f"/runs/{run_id}/cancel", data={"token": "x"})).status_code == 401
        deep = (await web.get(f"/runs/{run_id}?step=a")).headers["location"]
        assert deep == f"../login?next=runs/{run_id}%3Fstep%3Da"
        assert (await web.post("/login", data={"key": "wrong"})).status_code == 401
        answer = await web.post("/login", data={"key": SIGNING_KEY, "next": f"runs/{run_id}?step=a"})
        assert answer.headers["location"] == f"./runs/{run_id}?step=a"
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie
        assert SIGNING_KEY not in cookie
        page = await web.get(f"/runs/{run_id}")
        assert page.status_code == 200
        assert (await web.post(f"/runs/{run_id}/cancel", data={"token": token(page.text)})).status_code == 303
        gone = await web.post("/logout", data={"token": token(page.text)})
        assert "Max-Age=0" in gone.headers["set-cookie"]
    session = cookie.partition(";")[0]
    async with client(engine, CLOUD, Cookie=session[:-1] + ("1" if session.endswith("0") else "0")) as web:
        assert (await web.get("/")).status_code == 303


async def test_a_password_takes_the_place_of_the_signing_key(engine: WatchedFake) -> None:
    settings = msgspec.structs.replace(CLOUD, dashboard_password="open sesame, please")
    async with client(engine, settings) as web:
        assert (await web.post("/login", data={"key": SIGNING_KEY})).status_code == 401
        answer = await web.post("/login", data={"key": "open sesame, please"})
        assert answer.status_code == 303
        assert (await web.get("/")).status_code == 200
    cookie = answer.headers["set-cookie"].partition(";")[0]
    for changed in (CLOUD, msgspec.structs.replace(settings, dashboard_password="another one, please")):
        async with client(engine, changed, Cookie=cookie) as web:
            assert (await web.get("/")).status_code == 303


def test_a_session_ends() -> None:
    sessions = Sessions(CLOUD)
    made = sessions.made(1_000)
    assert sessions.known(made, 1_000 + LASTS_S - 1) == made
    assert sessions.known(made, 1_000 + LASTS_S) is None
    later = f"{2_000 + LASTS_S}{made[made.index('.') :]}"
    assert sessions.known(later, 1_000) is None
    assert [sessions.known(odd, 0) for odd in (None, "", ".", "1.2", "9" * 40 + ".a.b", "\u0661.a.b")] == [None] * 6


@pytest.mark.parametrize(
    "there", ["https://evil.example/", "//evil.example", "\\\\evil", "x", "runs/a\r\nx: y", "v1/runs"]
)
async def test_the_login_leads_to_our_own_pages_only(engine: WatchedFake, there: str) -> None:
    async with client(engine, CLOUD) as web:
        answer = await web.post("/login", data={"key": SIGNING_KEY, "next": there})
        assert answer.headers["location"] == "./"


async def test_every_link_is_relative_so_that_any_prefix_works(engine: WatchedFake, web: httpx2.AsyncClient) -> None:
    view = engine.add_run()
    for url in [*PAGES, f"/runs/{view.run.run_id}", f"/events/{view.run.event_ids[0]}", "/runs/bad"]:
        for tag, attributes in Tags((await web.get(url)).text).found:
            for name in ("href", "src", "action", "data-more", "data-root"):
                link = attributes.get(name)
                assert link is None or link == "" or link.startswith((".", "#")), (url, tag, link)


async def test_a_broken_store_is_a_page_that_says_so(engine: WatchedFake, web: httpx2.AsyncClient) -> None:
    engine.broken = "The disk is full: free some space."
    answer = await web.get("/")
    assert answer.status_code == 503
    assert "The disk is full: free some space." in answer.text


async def test_the_api_is_where_it_was(web: httpx2.AsyncClient) -> None:
    assert (await web.get("/health")).json()["product"] == "stepwell"
    assert (await web.get("/v1/runs")).json()["data"] == []
    assert (await web.get("/nothing")).json()["status"] == 404


def add(view: RunView, *steps: Any) -> None:
    """Put steps into a run."""
    for step in steps:
        view.steps[step.step_id] = step
