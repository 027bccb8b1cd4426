"""Every kind of limit is seen while it holds work back: in the words of the page, with its key, until when."""

from typing import Any

import pytest

from stepwell.core.flow.breaker import Circuit
from stepwell.core.flow.gates import FlowState, shut_by
from stepwell.core.flow.holding import Behind, holdings
from stepwell.core.flow.slowdown import begin
from stepwell.core.model import Breaker, Item, Limit, Pace, Reason, WorkKind
from stepwell.server.api.waits import render_wait
from stepwell.server.dashboard.limits import key_of
from tests.server.test_flow_control import function, n, running, seen

KEY = {"limit": 1, "key": "event.data.n"}
KINDS: dict[str, tuple[dict[str, Any], str, str, bool]] = {
    "concurrency": ({"concurrency": KEY}, "concurrency limit of function a-f", "event.data.n = 1", False),
    "concurrency of runs": (
        {"concurrency": {"fn": [KEY]}},
        "concurrency limit of the runs of",
        "event.data.n = 1",
        False,
    ),
    "of the environment": (
        {"concurrency": {**KEY, "scope": "env"}},
        "concurrency limit of the environment",
        "event.data.n = 1",
        False,
    ),
    "of the account": (
        {"concurrency": {"limit": 1, "key": "'all'", "scope": "account"}},
        "concurrency limit of the account",
        "'all' = \"all\"",
        False,
    ),
    "throttle": ({"throttle": {**KEY, "period": "1m"}}, "throttle of function a-f", "event.data.n = 1", True),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_limit_of_a_function_is_seen_with_its_key(kind: str) -> None:
    config, words, key, timed = KINDS[kind]
    async with running(seen, function("a-f", "x", **config)) as rig:
        rig.caller.open.clear()
        await rig.send(n(1), n(1), n(1), n(2))
        await rig.settle()
        first, *_ = await rig.engine.held(5)
        assert words in str(render_wait(first.shut)["for"])
        assert (first.shut.until is not None) == timed
        waiting = 3 if kind == "of the account" else 2
        assert first.count == len(first.items) == waiting
        assert {one.function_id for one in first.items} == {"a-f"}
        view = await rig.view(first.items[0].run_id)
        [found] = rig.engine.functions()
        assert key_of(found, view.events[0], first.shut.by.bucket) == key


HOST = Pace("host:h", 1, 60_000, slows=True, breaker=Breaker())
HOSTS: dict[str, tuple[Limit | Pace, FlowState | None, Reason, str]] = {
    "slots": (Limit("host:h", 1), None, Reason.CONCURRENCY, "concurrency limit of host h"),
    "rate": (HOST, FlowState(tat=90_000_000), Reason.RATE, "rate limit of host h"),
    "slow-down": (HOST, FlowState(slow=begin(90_000, 10, None)), Reason.SLOW_DOWN, "slow-down of host h"),
    "breaker": (HOST, FlowState(circuit=Circuit(opens_at=90_000)), Reason.BREAKER, "circuit breaker of host h"),
    "fetch_throttle": (
        Pace("fetch:a-f:", 1, 60_000),
        FlowState(tat=90_000_000),
        Reason.RATE,
        "the requests of function",
    ),
}


@pytest.mark.parametrize("kind", HOSTS)
def test_a_limit_of_a_host_is_told_apart_by_its_reason(kind: str) -> None:
    by, state, reason, words = HOSTS[kind]
    limits, paces = ((by,), ()) if isinstance(by, Limit) else ((), (by,))
    item = Item(run_id="R", key="k", kind=WorkKind.FETCH, due_at=5, limits=limits, paces=paces)
    found = holdings([Behind(3, [(item, "a-f")])], lambda one: shut_by(one, lambda _: 1, lambda _: state, 100), 9)
    [one] = found
    assert (one.shut.reason, one.count) == (reason, 3)
    assert words in str(render_wait(one.shut)["for"])
    assert (one.shut.until is None) == (kind == "slots")
