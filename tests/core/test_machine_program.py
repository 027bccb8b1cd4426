"""Random programs driven through the pure machine: every run ends, each step is recorded once, no item is left over."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from stepwell.core.endings import ENDING
from stepwell.core.inputs import Answered, Env, Fetched, Fired, Input
from stepwell.core.machine import step
from stepwell.core.model import Item, ItemRef, RunStatus, RunView, StoredEvent, WorkKind
from stepwell.core.outputs import Commit
from stepwell.core.runs import start
from stepwell.wire.calls import Answer, AnswerKind
from stepwell.wire.errors import ErrorInfo
from stepwell.wire.fetch import FetchResponse
from stepwell.wire.ops import Op

RUN = "01JQDAE4RQF8MBCR55T5AK4KXS"
EVENT = StoredEvent(internal_id="E1", event_id="e1", name="x", received_at=0, body=b'{"name":"x"}')

Chain = list[str]
"""Kinds of the steps of one sequential strand of a program: run, fetch, sleep, flaky."""


class World:
    """A store of one run's items, and an app that plays a program of parallel strands."""

    def __init__(self, strands: list[Chain], race: bool, attempts: int = 3) -> None:
        self.now = 1_000
        env = Env(now=self.now)
        self.view, commit = start(env, run_id=RUN, app_id="a", function_id="a-f", event=EVENT, attempts=attempts)
        self.items: dict[str, Item] = {}
        self.claims = 0
        self.strands = strands
        self.race = race
        self.recorded: dict[str, bytes] = {}
        self.discoveries = 0
        self.store(commit)

    def store(self, commit: Commit) -> None:
        for ref in commit.done:
            held = self.items.pop(ref.key)
            assert ItemRef(held.run_id, held.key, held.claim) == ref
        if commit.drop:
            self.items.clear()
        for item in commit.put:
            self.items[item.key] = item
        if commit.run is not None:
            self.view.apply(commit.run, commit.steps)
        for done in commit.steps:
            if done.ended:
                assert self.recorded.setdefault(done.step_id, done.memo or b"") == done.memo
        self.check()

    def check(self) -> None:
        run = self.view.run
        assert len(self.view.stack) == run.completed == len(set(self.view.stack))
        assert run.discovering == ("step" in self.items)
        own = [s for s in self.view.steps.values() if s.own_item and not s.ended]
        if not run.status.ended:
            assert run.pending == len(own) == len([k for k in self.items if k not in ("step", ENDING)])
            assert run.asking == (ENDING in self.items)
            assert self.items, "the run would hang: nothing is left to do"

    def claim(self, key: str) -> Item:
        self.claims += 1
        item = msgspec.structs.replace(self.items[key], claim=self.claims)
        self.items[key] = item
        self.now = max(self.now, item.due_at)
        return item

    def decide(self, inputs: list[Input]) -> None:
        self.store(step(self.view, inputs, Env(now=self.now, flat_retry_ms=10)))

    def next_ops(self, sent: int, disable: bool) -> list[Op]:
        known = set(self.view.stack[:sent])
        found: list[tuple[str, str]] = []
        for number, strand in enumerate(self.strands):
            for place, kind in enumerate(strand):
                name = f"{number}.{place}"
                if name not in known:
                    found.append((name, kind))
                    break
        alone = len(found) == 1 and not disable
        return [self.op(name, kind, alone) for name, kind in found]

    def op(self, name: str, kind: str, alone: bool) -> Op:
        opts = msgspec.Raw(b'{"parallelMode":"race"}') if self.race else None
        if kind == "sleep":
            return Op(op="Sleep", id=name, name="5s", opts=opts)
        if kind == "fetch":
            extra = {"parallelMode": "race"} if self.race else {}
            body = msgspec.json.encode({"url": "http://h/", "method": "GET", "headers": {}, **extra})
            return Op(op="Gateway", id=name, opts=msgspec.Raw(body))
        if not alone:
            return Op(op="StepPlanned", id=name, opts=opts)
        return self.ran(name, kind, 0)

    def ran(self, name: str, kind: str, attempt: int) -> Op:
        if kind == "flaky" and attempt == 0:
            return Op(op="StepError", id=name, error=msgspec.Raw(b'{"name":"E","message":"m"}'))
        return Op(op="StepRun", id=name, data=msgspec.Raw(b"1"))

    def outcome(self, item: Item, sent: int) -> Input:
        if item.kind is WorkKind.TIMER:
            return Fired(item)
        if item.kind is WorkKind.FETCH:
            return Fetched(item, FetchResponse(status=200, url="http://h/", body=b"ok"), self.now)
        if item.key == ENDING:  # this program goes on until all of its steps have ended
            return Answered(item, sent, Answer(kind=AnswerKind.ERROR, error=ErrorInfo(name="StepNotFound")), self.now)
        if not item.is_discovery:
            strand, place = map(int, item.key.split("."))
            op = self.ran(item.key, self.strands[strand][place], item.attempt)
            return Answered(item, sent, Answer(kind=AnswerKind.OPS, ops=[op], req_version=2), self.now)
        self.discoveries += 1
        ops = self.next_ops(sent, self.view.run.force_plan)
        if item.attempt > 0:
            ops = [self.ran(op.id, "run", 1) if op.op == "StepError" else op for op in ops]
        if ops:
            return Answered(item, sent, Answer(kind=AnswerKind.OPS, ops=ops, req_version=2), self.now)
        return Answered(item, sent, Answer(kind=AnswerKind.RETURNED, data=b'"done"'), self.now)


kinds = st.sampled_from(["run", "fetch", "sleep", "flaky"])
programs = st.lists(st.lists(kinds, min_size=1, max_size=4), min_size=0, max_size=5)


@settings(max_examples=200, deadline=None)
@given(programs, st.booleans(), st.data())
def test_every_program_ends_with_each_step_recorded_once(strands: list[Chain], race: bool, data: st.DataObject) -> None:
    world = World(strands, race)
    flying: dict[str, tuple[Item, int]] = {}
    for _ in range(500):
        if world.view.run.status.ended:
            break
        waiting = sorted(set(world.items) - set(flying))
        choices = [("claim", key) for key in waiting] + [("end", key) for key in sorted(flying)]
        action, key = data.draw(st.sampled_from(choices))
        if action == "claim":
            flying[key] = (world.claim(key), len(world.view.stack))
            continue
        batch = [key] + [other for other in sorted(flying) if other != key and data.draw(st.booleans())]
        inputs = [world.outcome(*flying.pop(each)) for each in batch]
        world.decide(inputs)
    assert world.view.run.status is RunStatus.COMPLETED
    assert not world.items
    assert len(world.recorded) == sum(map(len, strands))


def test_a_group_of_parallel_fetches_takes_one_discovery() -> None:
    world = World([["fetch"]] * 20, race=False)
    world.decide([world.outcome(world.claim("step"), 0)])
    for key in sorted(world.items):
        world.decide([world.outcome(world.claim(key), 0)])
    assert list(world.items) == ["step"]
    world.decide([world.outcome(world.claim("step"), 20)])
    assert world.discoveries == 2
    assert world.view.run.status is RunStatus.COMPLETED


def test_in_race_mode_the_app_is_called_after_the_first_completion() -> None:
    world = World([["fetch"], ["fetch"]], race=True)
    world.decide([world.outcome(world.claim("step"), 0)])
    world.decide([world.outcome(world.claim("0.0"), 0)])
    assert "step" in world.items


def test_an_app_that_finds_nothing_and_waits_for_nothing_fails_with_a_sentence() -> None:
    world = World([["run"]], race=False, attempts=2)
    for _ in range(2):
        item = world.claim("step")
        world.decide([Answered(item, 0, Answer(kind=AnswerKind.OPS, ops=[]), 0)])
    assert world.view.run.status is RunStatus.FAILED
    assert b"no new steps" in (world.view.run.output or b"")


def test_errors_use_up_the_attempts_and_then_fail_the_run() -> None:
    world = World([["run"]], race=False, attempts=3)
    answer = Answer(kind=AnswerKind.ERROR, error=ErrorInfo(name="ValueError", message="bad"))
    for attempt in range(3):
        item = world.claim("step")
        assert item.attempt == attempt
        world.decide([Answered(item, 0, answer, 0)])
    assert world.view.run.status is RunStatus.FAILED
    assert b"bad" in (world.view.run.output or b"")


def test_a_step_that_keeps_failing_becomes_an_error_the_function_can_catch() -> None:
    world = World([["run"]], race=False, attempts=2)
    failing = Op(op="StepError", id="s", error=msgspec.Raw(b'{"name":"E","message":"m"}'))
    for _ in range(2):
        item = world.claim("step")
        world.decide([Answered(item, 0, Answer(kind=AnswerKind.OPS, ops=[failing], req_version=2), 0)])
    assert world.view.memos["s"] == b'{"error":{"name":"E","message":"m"}}'
    assert world.items["step"].attempt == 0
    assert len(world.view.steps["s"].attempts) == 2


def test_unknown_opcodes_are_retried_and_named() -> None:
    world = World([["run"]], race=False, attempts=1)
    item = world.claim("step")
    world.decide([Answered(item, 0, Answer(kind=AnswerKind.OPS, ops=[Op(op="Teleport", id="x")]), 0)])
    assert world.view.run.status is RunStatus.FAILED
    assert b"Teleport" in (world.view.run.output or b"")


def test_no_retry_ends_at_once() -> None:
    world = World([["run"]], race=False)
    item = world.claim("step")
    answer = Answer(kind=AnswerKind.ERROR, error=ErrorInfo(message="no"), no_retry=True)
    world.decide([Answered(item, 0, answer, 0)])
    assert world.view.run.status is RunStatus.FAILED


def test_the_view_is_only_read() -> None:
    world = World([["fetch"], ["run"]], race=False)
    item = world.claim("step")
    before = (world.view.run, dict(world.view.steps), list(world.view.stack))
    step(world.view, [world.outcome(item, 0)], Env(now=5))
    assert before == (world.view.run, dict(world.view.steps), list(world.view.stack))
    assert isinstance(world.view, RunView)
