"""What an unusual answer, or an unlucky order of events, must not do to a run: hang it, end it, run a step twice."""

import msgspec
from msgspec.structs import replace

from stepwell.core.inputs import Answered, Checkpointed, Env, Fetched, Fired, Input, Poked
from stepwell.core.machine import step
from stepwell.core.model import Item, RunStatus, RunView, StoredEvent
from stepwell.core.outputs import Commit
from stepwell.core.runs import start
from stepwell.wire.calls import Answer, AnswerKind
from stepwell.wire.errors import ErrorInfo
from stepwell.wire.fetch import FetchResponse
from stepwell.wire.ops import Op

RUN = "01JQDAE4RQF8MBCR55T5AK4KXS"
EVENT = StoredEvent(internal_id="E1", event_id="e1", name="x", received_at=0, body=b'{"name":"x"}')


class One:
    """One run, and its items."""

    def __init__(self, attempts: int = 3) -> None:
        env = Env(now=1_000)
        self.view: RunView
        self.view, commit = start(env, run_id=RUN, app_id="a", function_id="a-f", event=EVENT, attempts=attempts)
        self.items: dict[str, Item] = {}
        self._store(commit)

    def _store(self, commit: Commit) -> None:
        for ref in commit.done:
            del self.items[ref.key]
        if commit.drop:
            self.items.clear()
        self.items |= {item.key: item for item in commit.put}
        for key, attempt in (touch for touch in commit.touch if touch[0] in self.items):
            self.items[key] = replace(self.items[key], attempt=attempt)
        if commit.run is not None:
            self.view.apply(commit.run, commit.steps)

    def give(self, *inputs: Input) -> None:
        self._store(step(self.view, inputs, Env(now=1_000, flat_retry_ms=10)))

    def answer(self, *ops: Op, key: str = "step", sent: int | None = None, item: Item | None = None) -> None:
        answer = Answer(kind=AnswerKind.OPS, ops=list(ops), req_version=2)
        self.give(Answered(item or self.items[key], len(self.view.stack) if sent is None else sent, answer, 1_000))

    def fail(self, key: str = "step", item: Item | None = None) -> None:
        answer = Answer(kind=AnswerKind.ERROR, error=ErrorInfo(name="E", message="m"))
        self.give(Answered(item or self.items[key], len(self.view.stack), answer, 1_000))


def planned(name: str) -> Op:
    return Op(op="StepPlanned", id=name)


def ran(name: str) -> Op:
    return Op(op="StepRun", id=name, data=msgspec.Raw(b"1"))


def gateway(name: str, url: str = "http://h/", race: bool = False) -> Op:
    opts: dict[str, object] = {"url": url, "method": "GET", "headers": {}, **({"parallelMode": "race"} if race else {})}
    return Op(op="Gateway", id=name, opts=msgspec.Raw(msgspec.json.encode(opts)))


def test_a_member_that_ends_at_once_does_not_close_its_group() -> None:
    run = One()
    run.answer(gateway("bad", url="no url"), planned("s"), Op(op="Sleep", id="z", name="1h"))
    assert run.view.steps["bad"].ended
    assert sorted(run.items) == ["s", "z"], "the app is called once the whole group has ended"
    assert run.view.run.force_plan
    run.answer(ran("s"), key="s")
    assert sorted(run.items) == ["z"]


def test_a_step_that_ran_beside_a_request_waits_for_it() -> None:
    run = One()
    run.answer(ran("s"), gateway("g"))
    assert sorted(run.items) == ["g"]


def test_a_job_that_is_polled_for_long_keeps_its_first_and_its_last_attempts() -> None:
    run = One()
    opts = {"url": "http://h/", "method": "GET", "headers": {"stepwell-poll": "true"}}
    run.answer(Op(op="Gateway", id="g", opts=msgspec.Raw(msgspec.json.encode(opts))))
    goes_on = FetchResponse(status=202, url="http://h/", headers=(("Location", "/j"),))
    for made in range(1, 80):
        run.give(Fetched(run.items["g"], goes_on, 1_000))
        kept = [attempt.number for attempt in run.view.steps["g"].attempts]
        assert kept == [number for number in range(made) if number < 25 or number >= made - 25]


def test_a_group_named_twice_in_one_answer_counts_each_step_once() -> None:
    run = One()
    run.answer(gateway("g"), gateway("g"))
    run.give(Fetched(run.items["g"], FetchResponse(status=200, url="http://h/"), 1_000))
    assert sorted(run.items) == ["step"]


def slept(name: str, race: bool = False) -> Op:
    return Op(op="Sleep", id=name, name="1h", opts=msgspec.Raw(b'{"parallelMode":"race"}') if race else None)


def test_a_racer_that_becomes_a_member_of_a_group_counts_for_it() -> None:
    run = One()
    run.answer(slept("a", race=True), slept("c", race=True))
    run.give(Fired(run.items["c"]))
    run.answer(slept("a"), slept("b"))
    run.give(Fired(run.items["a"]))
    assert sorted(run.items) == ["b"]
    run.give(Fired(run.items["b"]))
    assert sorted(run.items) == ["step"]


def test_a_step_named_as_a_racer_and_as_a_member_at_once_hangs_no_run() -> None:
    run = One()
    run.answer(slept("a", race=True), slept("a"), slept("b"))
    run.give(Fired(run.items["a"]))
    run.answer()
    run.give(Fired(run.items["b"]))
    assert sorted(run.items) == ["step"]


def test_an_app_that_asks_for_another_call_gets_it_once_it_has_done_something() -> None:
    again = Op(op="DiscoveryRequest", id="")
    run = One(attempts=2)
    run.answer(again)
    assert run.items["step"].due_at > 1_000, "it is a failed attempt: else the app would be called without end"
    run.give(Checkpointed([ran("a")]))
    run.answer(again, sent=0)
    assert (run.items["step"].due_at, run.items["step"].attempt) == (1_000, 0)
    run.answer(slept("z"), again)
    assert sorted(run.items) == ["z"]


def test_a_targeted_step_that_is_only_planned_again_is_an_error_not_a_hang() -> None:
    run = One(attempts=2)
    run.answer(planned("a"), planned("b"))
    run.answer(planned("a"), key="a")
    assert run.items["a"].attempt == 1
    run.answer(planned("a"), key="a")
    assert run.view.run.status is RunStatus.FAILED
    assert b"StepNotFound" in (run.view.run.output or b"")


def test_a_failed_call_for_a_step_that_has_ended_meanwhile_changes_nothing() -> None:
    run = One(attempts=1)
    run.answer(gateway("r", race=True), planned("a"))
    late = run.items["a"]
    run.give(Fetched(run.items["r"], FetchResponse(status=200, url="http://h/"), 1_000))
    run.answer(ran("a"))
    assert run.view.steps["a"].ended
    run.fail(item=late)
    assert not run.view.run.status.ended
    assert sorted(run.items) == ["step"]


def test_a_poke_during_a_call_makes_another_call() -> None:
    run = One()
    run.give(Poked())
    run.answer(gateway("g"))
    assert sorted(run.items) == ["g", "step"]
    run.answer(sent=0)
    assert sorted(run.items) == ["g"]


def test_a_poke_during_a_call_that_fails_is_served_by_its_retry() -> None:
    run = One()
    run.give(Poked())
    run.fail()
    assert run.items["step"].attempt == 1
    run.answer(gateway("g"))
    assert sorted(run.items) == ["g"]


def test_an_empty_answer_after_a_checkpoint_is_progress() -> None:
    run = One(attempts=1)
    run.give(Checkpointed([ran("c")]))
    run.answer(sent=0)
    assert not run.view.run.status.ended
    assert run.items["step"].attempt == 0


def test_a_checkpoint_gives_the_call_its_attempts_back() -> None:
    run = One(attempts=2)
    run.fail()
    item = run.items["step"]
    assert item.attempt == 1
    run.give(Checkpointed([ran("c")]))
    assert run.items["step"].attempt == 0
    run.fail(item=item)
    assert not run.view.run.status.ended
    assert run.items["step"].attempt == 1
    run.fail()
    assert run.view.run.status is RunStatus.FAILED


def test_checkpoints_have_the_limit_of_steps_too() -> None:
    run = One()
    run.give(Checkpointed([ran(f"c{n}") for n in range(10_000)]))
    assert not run.view.run.status.ended
    run.give(Checkpointed([ran("c0")]))
    assert not run.view.run.status.ended
    run.give(Checkpointed([ran("one too many")]))
    assert run.view.run.status is RunStatus.FAILED
    assert b"TooManySteps" in (run.view.run.output or b"")


def test_a_checkpoint_that_comes_after_the_answer_of_its_call_has_the_app_called() -> None:
    run = One()
    run.answer(planned("c"))
    item = run.items["c"]
    run.give(Checkpointed([ran("c")]))
    assert sorted(run.items) == ["c", "step"]
    run.answer(ran("c"), key="c", item=item)
    assert sorted(run.items) == ["step"]
