"""What must be so after whatever was killed or stalled wherever. One checker for every cell."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec

from stepwell.core import invariants
from stepwell.core.invariants import Result
from stepwell.core.model import RunStatus, RunView
from stepwell.wire.constants import DISCOVERY
from stepwell.wire.ids import step_hash
from tests.crash.matrix_app import LIMIT
from tests.crash.matrix_places import Claim, State
from tests.crash.matrix_upstream import DIGEST, MatrixUpstream

Step = tuple[str, str]
"""Run and name."""


class Fall:
    """How things stood when a process fell. ``claimed``: what it was about; empty where it loses nothing. ``calls``: how many
    calls of a run it may do once more."""

    def __init__(
        self, upstream: MatrixUpstream, claimed: Iterable[Claim], state: State | None = None, calls: int = 1
    ) -> None:
        self.claimed = {(run, key) for run, key, _ in claimed}
        self.calls = calls
        self.flying = max(upstream.flying.total(), sum(key != DISCOVERY for _, key in self.claimed))
        self.results = {} if state is None else recorded(state)
        self.wrong = [] if state is None else wrong(state)
        upstream.most = 0


def wrong(state: State) -> list[str]:
    """What can not be, of what is stored."""
    return [sentence for stored in state.stored() for sentence in invariants.problems(stored)]


def recorded(state: State) -> dict[str, dict[str, Result]]:
    """The results of each run, by step."""
    return {view.run.run_id: invariants.results(view.steps.values()) for view in state.views}


def check(state: State, upstream: MatrixUpstream, falls: list[Fall], events: list[dict[str, Any]]) -> None:
    """Everything."""
    _every_event_has_its_run(state, events)
    for view in state.views:
        assert view.run.status is RunStatus.COMPLETED, (view.run.status, view.run.output)
        _output(view, upstream)
    found = wrong(state)
    for fall in falls:
        found += fall.wrong
        found += [
            sentence
            for view in state.views
            for sentence in invariants.changed(fall.results.get(view.run.run_id, {}), view.steps.values())
        ]
    assert found == []
    assert state.waiting == set(), "an event is still waited for"
    _repeats(state, upstream, falls)
    assert upstream.most <= LIMIT + sum(fall.flying for fall in falls), "a limit was exceeded"


def _every_event_has_its_run(state: State, events: list[dict[str, Any]]) -> None:
    found = Counter((state.events[view.run.event_ids[0]], view.run.function_id) for view in state.views)
    assert found == Counter((event["id"], f"matrix-{event['name']}") for event in events)


def _output(view: RunView, upstream: MatrixUpstream) -> None:
    """What the function returned is what the upstream gave out, for the keys that it was asked with."""
    output = msgspec.json.decode(view.run.output or b"null")
    given = {name: upstream.given[key] for key, (run, name) in upstream.steps.items() if run == view.run.run_id}
    if view.run.function_id == "matrix-load":
        assert output == DIGEST
    elif view.run.function_id == "matrix-stall":
        assert output in given["charge stalled"]
    else:
        first, missed, *rest, _, once = output
        assert missed is None
        for name, serial in zip(("0", "1", "2", "flaky"), (first, *rest), strict=True):
            assert serial in given[f"charge {name}"]
        assert once == "unknown" or once in given["charge once"]


def _repeats(state: State, upstream: MatrixUpstream, falls: list[Fall]) -> None:
    """Only what was in flight is sent again, with the same key; what may be sent once, never."""
    ids = {(view.run.run_id, step.name): step for view in state.views for step in view.steps.values()}
    names = Counter(upstream.steps.values())
    assert set(names.values()) <= {1}, "a request had two idempotency keys"
    for key, seen in upstream.seen.items():
        run, name = upstream.steps[key]
        step = ids[run, name]
        lost = sum((run, step.step_id) in fall.claimed for fall in falls)
        assert seen <= step.attempt + lost, f"{name} was sent {seen} times, with {step.attempt} attempts on record"
        if name == "charge once":
            assert seen <= 1, "a request with at_most_once was sent twice"
    for view in state.views:
        calls = {(view.run.run_id, DISCOVERY), (view.run.run_id, step_hash("effect"))}
        lost = sum(fall.calls for fall in falls if fall.claimed & calls)
        made = upstream.effects[view.run.run_id]
        assert made <= 1 + lost, f"a step was done {made} times"
