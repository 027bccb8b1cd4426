"""What an event did not start, and why: on record, in the API, and told to whoever looks on."""

from collections.abc import Sequence

import msgspec
import pytest

from stepwell.core.flow.hosts import NO_RULES
from stepwell.core.model import RunKey, StoredEvent
from stepwell.core.unstarted import Unstarted, found, sentence
from stepwell.server.telemetry.logs import JsonFormatter, RunLog
from stepwell.server.telemetry.metrics import Metrics
from stepwell.server.telemetry.observers import Missed, Observer
from stepwell.wire.events import parse_events
from tests.server.api_fakes import FakeEngine, api_client
from tests.server.test_flow_control import Rig, function, invoking, n, running, seen

WHY: dict[str, tuple[dict[str, object], str]] = {
    "rate limit": ({"rateLimit": {"limit": 1, "period": "1h"}}, "rate_limit"),
    "idempotency": ({"idempotency": "event.data.k", "rateLimit": {"limit": 9, "period": "1s"}}, "idempotency"),
    "singleton": ({"singleton": {"mode": "skip"}}, "singleton"),
    "rate limit of a debounce": (
        {"rateLimit": {"limit": 1, "period": "1h"}, "debounce": {"period": "1h"}},
        "rate_limit",
    ),
}


class Seen(Observer):
    def __init__(self) -> None:
        self.missed: list[tuple[str, str, str]] = []

    def received(self, events: Sequence[StoredEvent], missed: Sequence[Missed] = ()) -> None:
        self.missed += [(event.internal_id, one.function_id, one.reason) for event, one in missed]


@pytest.mark.parametrize("what", WHY)
async def test_each_limit_leaves_word_of_what_it_stopped(what: str) -> None:
    config, reason = WHY[what]
    async with running(seen, function("a-f", "x", **config), function("a-g", "x")) as rig:
        rig.engine.observers.add(looks := Seen())
        rig.caller.open.clear()
        first, second = await rig.send(n(1, id="e1"), n(2, id="e2"))
        [one] = await rig.engine.unstarted(second)
        assert (one.function_id, one.reason) == ("a-f", reason)
        assert (one.run_id is not None) == (reason == "singleton")
        assert await rig.engine.unstarted(first) == []
        assert looks.missed == [(second, "a-f", reason)]


async def test_where_two_limits_may_have_stopped_it_the_log_says_so_and_the_record_knows_better() -> None:
    config = {"rateLimit": {"limit": 1, "period": "1h"}, "singleton": {"mode": "skip"}}
    async with running(seen, function("a-f", "x", **config)) as rig:
        rig.engine.observers.add(looks := Seen())
        _, second = await rig.send(n(1), n(2))
        assert looks.missed == [(second, "a-f", "rate_limit or singleton")]
        assert [one.reason for one in await rig.engine.unstarted(second)] == ["rate_limit"]
    assert sentence("rate_limit or singleton").count("Or: ") == 1


async def test_an_event_whose_id_has_come_before_says_so_but_not_the_same_request_that_came_twice() -> None:
    async with running(seen, function("a-f", "x")) as rig:
        rig.engine.observers.add(looks := Seen())
        (first,) = await rig.send(n(1, id="e"))
        events = parse_events(b'[{"name":"x","id":"e","data":{"n":1}}]', "application/json", rig.engine.now())
        await rig.engine.ingest(events, [first])
        assert await rig.engine.unstarted(first) == []
        (second,) = await rig.send(n(1, id="e"))
        assert await rig.engine.unstarted(second) == [Unstarted("a-f", "duplicate")]
        assert looks.missed[-1] == (second, "a-f", "duplicate")


async def test_a_paused_function_s_skipped_run_is_named() -> None:
    async with running(seen, function("a-f", "x")) as rig:
        rig.engine.observers.add(looks := Seen())
        await rig.engine.pausing.pause("a-f")
        before = rig.engine.changes.last
        (event,) = await rig.send(n(1))
        [run_id] = await rig.engine.runs_of(event)
        assert await rig.engine.unstarted(event) == [Unstarted("a-f", "paused", run_id)]
        assert looks.missed == [(event, "a-f", "paused")]
        assert rig.engine.changes.since(before) == {run_id}, "open pages hear of it"


async def test_an_invoked_function_that_its_rate_limit_stops_leaves_word_at_its_own_event() -> None:
    config = {"rateLimit": {"limit": 1, "period": "1h"}}
    async with running(invoking("a-c", 2), function("a-p", "x"), function("a-c", None, **config)) as rig:
        await rig.send(n(0))
        await rig.settle()
        assert len(await unstarted_anywhere(rig)) == 1


async def unstarted_anywhere(rig: Rig) -> list[RunKey]:
    keys = rig.store._keys.values()  # pyright: ignore[reportPrivateUsage]
    return [key for key in keys if key.function_id.startswith(":unstarted:")]


def test_a_line_of_the_log_and_a_figure(caplog: pytest.LogCaptureFixture) -> None:
    event = StoredEvent(internal_id="E", event_id="e", name="x", received_at=1, body=b"{}")
    missed = [(event, Unstarted("a-f", "paused", "R"))]
    with caplog.at_level("INFO", "stepwell.runs"):
        RunLog().received([event], missed)
    [line] = [msgspec.json.decode(JsonFormatter().format(record)) for record in caplog.records]
    assert line["message"] == "event E starts no run of a-f: paused"
    names = ("event", "event_id", "function", "reason", "run_id")
    assert [line[name] for name in names] == ["run.not_started", "E", "a-f", "paused", "R"]
    metrics = Metrics(NO_RULES)
    metrics.received([event], missed)
    assert b'stepwell_runs_not_started_total{function="a-f",reason="paused"} 1.0' in metrics.text({}, 0, 0)


def test_a_key_means_nothing_where_there_is_a_run() -> None:
    run = FakeEngine().add_run().run
    assert found(["duplicate:app-fn", "rate_limit:other:with:colons"], [run]) == [
        Unstarted("other:with:colons", "rate_limit")
    ]


async def test_the_api_says_it_beside_the_runs() -> None:
    engine = FakeEngine()
    run = engine.add_run().run
    engine.unstarted_keys = ["rate_limit:a-f"]
    async with api_client(engine) as http:
        answer = (await http.get(f"/v1/events/{run.event_ids[0]}/runs")).json()
    assert [each["run_id"] for each in answer["data"]] == [run.run_id]
    assert answer["metadata"]["not_started"] == [
        {"function": "a-f", "reason": "rate_limit", "message": "Its rate limit was used up.", "run_id": None}
    ]
