"""The simulation finds what is broken on purpose, and says it with little."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from stepwell.core.flow import admission, entrance, gates, pace
from stepwell.core.flow.gates import FlowState
from stepwell.core.model import Item, Pace
from stepwell.core.outputs import Commit
from stepwell.server.runtime import committer
from stepwell.server.runtime.committer import Committer
from stepwell.server.runtime.worker import Worker
from stepwell.server.store import memory_items
from stepwell.server.store.base import ClaimRequest
from stepwell.testing.platform.simulation.generate import script
from stepwell.testing.platform.simulation.process import EPOCH_MS
from stepwell.testing.platform.simulation.script import Fault, Script
from stepwell.testing.platform.simulation.shrink import shrink
from stepwell.testing.platform.simulation.stores import SharedStore
from stepwell.testing.platform.simulation.world import simulate

SEEDS = 100


def first_failing(change: Callable[[Script], Script] = lambda made: made) -> tuple[Script, list[str]]:
    for seed in range(SEEDS):
        made = change(script(seed))
        problems = simulate(made).problems
        if problems:
            return made, problems
    raise AssertionError(f"{SEEDS} seeds have not found it")


def size(found: Script) -> int:
    steps = sum(len(stage.does) for function in found.functions for stage in function.stages)
    return len(found.sends) + len(found.faults) + steps


def test_limits_that_nobody_looks_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def free(item: Item, *rest: Any) -> Any:
        return gates.shut_by(replace(item, limits=(), holds=()), *rest)

    monkeypatch.setattr(memory_items, "shut_by", free)
    found, problems = first_failing()
    assert "at once in" in problems[0]
    small = shrink(found, most=100)
    assert simulate(small).problems
    assert size(small) < size(found)


def test_events_that_are_acknowledged_before_they_are_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    async def write(self: Committer, commits: Sequence[Commit], applied: Any = None) -> list[Any]:
        self.submit(commits, lambda _: None)
        return []

    monkeypatch.setattr(Committer, "write", write)
    first_failing()


def test_work_of_the_dead_that_nobody_takes_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def rescue(self: SharedStore, now: int) -> int:
        return 0

    monkeypatch.setattr(SharedStore, "rescue", rescue)
    assert "never ends" in first_failing()[1][0]


def test_late_outcomes_that_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def held(self: SharedStore, ref: Any) -> Any:
        return self._items.get(ref.run_id, {}).get(ref.key)

    monkeypatch.setattr(SharedStore, "_held", held)
    first_failing()


def test_claims_without_an_answer_that_nobody_gives_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async def settle(self: Committer) -> None:
        self._doubtful = []

    monkeypatch.setattr(Committer, "_settle_doubts", settle)
    _, problems = first_failing(lambda made: replace(made, faults=[Fault(0, "silent", 40_000, n) for n in range(3)]))
    assert "never" in problems[0]


@pytest.mark.parametrize(
    ("bucket", "told"),
    [("throttle:", "in the throttle of"), ("fetch:", "in the fetch_throttle of"), ("host:", "in the rate of host up")],
)
def test_a_pace_that_nobody_keeps(monkeypatch: pytest.MonkeyPatch, bucket: str, told: str) -> None:
    def forgetful(pace: Pace, state: FlowState | None, now: int) -> FlowState | None:
        return None if pace.bucket.startswith(bucket) else gates.taken(pace, state, now)

    monkeypatch.setattr(memory_items, "taken", forgetful)
    assert told in first_failing()[1][0]


def test_a_rate_limit_that_lets_everything_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "_rate", lambda asked, state, now: admission.Verdict(True, admission.Rate(now)))
    assert "in the rate limit of" in first_failing()[1][0]


def test_a_limit_that_no_event_meets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entrance, "_rate", lambda function, event: None)
    assert "in the rate limit of" in first_failing()[1][0]


def test_wake_ups_that_come_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "SLACK_MS", 500)
    assert "by the clocks of those who let them pass" in first_failing()[1][0]


def test_work_that_is_claimed_by_a_clock_that_runs_too_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    def hurried(owner: str, limit: int, now: int) -> ClaimRequest:
        return ClaimRequest(owner, limit, EPOCH_MS + 2 * (now - EPOCH_MS))

    monkeypatch.setattr(committer, "ClaimRequest", hurried)
    problems = first_failing()[1]
    assert "more at once" in problems[0]
    assert "by the clocks" not in problems[0], "by its own clock it is not too fast"


def test_requests_that_are_sent_twice_under_one_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    perform = Worker._perform

    async def twice(self: Worker, request: Any, item: Any, started: int) -> Any:
        await perform(self, request, item, started)
        return await perform(self, request, item, started)

    monkeypatch.setattr(Worker, "_perform", twice)
    assert "nobody had claimed it for that" in first_failing()[1][0]
