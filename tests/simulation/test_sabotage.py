"""The simulation finds what is broken on purpose, and says it with little."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from stepwell.core.outputs import Commit
from stepwell.server.runtime.committer import Committer
from stepwell.server.store import memory_items
from stepwell.testing.platform.simulation.generate import script
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
    monkeypatch.setattr(memory_items, "shut_by", lambda *_: None)
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
