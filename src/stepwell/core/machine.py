"""The engine's decision: what a run's inputs come to. ``step(view, inputs, env) -> Commit``, pure."""

from collections.abc import Sequence
from dataclasses import replace as replace_input

import msgspec
from msgspec.structs import replace

from stepwell.core import endings
from stepwell.core.callbacks import timed_out as not_called_back
from stepwell.core.draft import Draft
from stepwell.core.fetchsteps import called_back, fetched
from stepwell.core.flow.admission import waiting_steps_of
from stepwell.core.gathering import begin
from stepwell.core.groups import completed, unseen
from stepwell.core.inputs import (
    Answered,
    Began,
    Broken,
    CalledBack,
    Cancelled,
    Checkpointed,
    Env,
    Fetched,
    Fired,
    Held,
    Input,
    Poked,
    Ready,
)
from stepwell.core.invokes import timed_out
from stepwell.core.model import Item, RunStatus, RunView, Step, StepStatus, WorkKind
from stepwell.core.ops import Told, UnknownOp, apply_ops, checkpoint
from stepwell.core.outputs import Commit, Observed
from stepwell.core.stepcalls import call_failed
from stepwell.core.timeouts import began, over
from stepwell.wire.calls import Answer, AnswerKind
from stepwell.wire.constants import DISCOVERY, MAX_RUN_BYTES, UNKNOWN_VERSION
from stepwell.wire.errors import ErrorInfo
from stepwell.wire.memos import is_error
from stepwell.wire.ops import Opcode, opcode


def step(view: RunView, inputs: Sequence[Input], env: Env) -> Commit:
    """The writes that follow from the inputs, taken in order. The view is only read."""
    draft = Draft(view, env)
    for given in inputs:
        _take(draft, given)
    _bound(draft)
    _keep_going(draft)
    return draft.commit()


def _keep_going(draft: Draft) -> None:
    """Whatever an app said of groups and races: where nothing is under way any more, it is called."""
    run = draft.run
    if not (draft.ended or run.gathering or run.discovering or run.pending):
        draft.header(group_left=0, force_plan=False)
        draft.put_discovery()


def _bound(draft: Draft) -> None:
    """A run that keeps more than it may is over, whatever it still had to do."""
    size = draft.run.state_bytes
    if size > MAX_RUN_BYTES and not draft.ended:
        message = (
            f"the results of the run's steps have {size} bytes, more than the {MAX_RUN_BYTES} that a run may keep: store "
            "large data elsewhere and return references to it, or split the work over several runs"
        )
        draft.fail("StateTooLarge", message)


def _take(draft: Draft, given: Input) -> None:
    match given:
        case Answered():
            _answered(draft, given)
        case Fetched():
            draft.done(given.item)
            if not draft.ended:
                fetched(draft, given)
        case Fired():
            draft.done(given.item)
            _fired(draft, given)
        case Held():
            draft.done(given.item)
            if not draft.ended:
                _held(draft, given)
        case Broken():
            _broken(draft, given)
        case Ready():
            begin(draft, given)
        case Poked():
            _poked(draft)
        case Began() | Checkpointed() | CalledBack() | Cancelled():
            if not draft.ended:
                _told(draft, given)


def _held(draft: Draft, given: Held) -> None:
    """The item comes again. No call was made: the place that it took in a throttle is free for the next."""
    due = draft.env.now + given.delay_ms
    draft.put(replace(given.item, due_at=due, claim=0))
    for pace in given.item.paces:
        draft.observe(Observed(pace, given.tried_at, given_back=True))
    draft.header(error=given.reason, retry_at=due)


def _broken(draft: Draft, given: Broken) -> None:
    if given.item is not None:
        draft.done(given.item)
    if draft.ended:
        return
    if given.item is not None and given.item.kind is WorkKind.START:
        draft.header(parents=waiting_steps_of(given.item))
    draft.fail(given.name, given.message)


def _poked(draft: Draft) -> None:
    if not draft.run.gathering:
        draft.header(poked=draft.run.discovering)
        draft.put_discovery()


def _told(draft: Draft, given: Began | Checkpointed | CalledBack | Cancelled) -> None:
    """A word from outside, about a run that goes on."""
    match given:
        case Began():
            began(draft, given.at)
        case Checkpointed():
            if draft.run.gathering:
                return
            checkpoint(draft, given.ops)
            draft.header(progressed=True)
            draft.touch(DISCOVERY, 0)
        case CalledBack():
            called_back(draft, given)
        case Cancelled():
            _cancel(draft, given.reason, given.parents)


def _cancel(draft: Draft, reason: str, parents: tuple[str, ...]) -> None:
    if parents:
        draft.header(parents=parents)
    error = ErrorInfo(name="RunCancelled", message=reason)
    draft.finish(RunStatus.CANCELLED, msgspec.json.encode(error))


def _time_is_up(draft: Draft, given: Fired) -> None:
    reason = None if draft.ended else over(draft.run, given.item)
    if reason is not None:
        _cancel(draft, reason, given.parents)


def _fired(draft: Draft, given: Fired) -> None:
    if given.item.kind is WorkKind.CANCEL:
        _time_is_up(draft, given)
        return
    found = draft.step(given.item.key)
    if found is None or found.ended or draft.ended:
        return
    if given.item.kind is WorkKind.FAIL:
        error = given.item.payload or b"null"
        draft.end_step(found, b'{"error":' + error + b"}", StepStatus.FAILED)
        draft.finish(RunStatus.FAILED, error)
        return
    memo = _due(found, given.item)
    status = StepStatus.FAILED if is_error(memo) else StepStatus.COMPLETED
    completed(draft, draft.end_step(found, memo, status))


def _due(waiting: Step, item: Item) -> bytes:
    """What a step gets whose item is due: the result that came for it, or what its time-out means."""
    if item.kind is WorkKind.RESUME:
        return item.payload or b"null"
    if waiting.callback is not None:
        return not_called_back(waiting)
    return timed_out() if waiting.op == Opcode.INVOKE else b"null"


def _answered(draft: Draft, given: Answered) -> None:
    item, answer = given.item, given.answer
    draft.done(item)
    if draft.ended:
        return
    _note_call(draft, given)
    if item.is_discovery:
        given = _discovered(draft, given)
    elif item.key == endings.ENDING:
        endings.told(draft, given)
        return
    elif _has_ended(draft, item.key):
        return
    if answer.kind is AnswerKind.RETURNED and (item.is_discovery or answer.ends_late):
        draft.complete(answer.data)  # also where a step was asked for that lost a race
    elif answer.kind is AnswerKind.OPS:
        _ops(draft, given)
    else:
        _call_failed(draft, given, answer.error or _no_step(item.key))


def _discovered(draft: Draft, given: Answered) -> Answered:
    """The discovery is over. Steps that were checkpointed during it have given it its attempts back (protocol 1.8)."""
    draft.header(discovering=False)
    if not draft.run.progressed:
        return given
    draft.header(progressed=False)
    return replace_input(given, item=replace(given.item, attempt=0))


def _has_ended(draft: Draft, step_id: str) -> bool:
    """Whether the step has its result already, so that another call's word about it comes too late."""
    found = draft.step(step_id)
    return found is not None and found.ended


def _note_call(draft: Draft, given: Answered) -> None:
    run = draft.run
    version = given.answer.req_version
    began(draft, given.started_at)
    if version is not None and run.req_version == UNKNOWN_VERSION and given.answer.kind is AnswerKind.OPS:
        draft.header(req_version=version)
    if run.error is not None:
        draft.header(error=None, retry_at=None)


def _ops(draft: Draft, given: Answered) -> None:
    item, answer = given.item, given.answer
    if not item.is_discovery and not any(op.id == item.key for op in answer.ops):
        _call_failed(draft, given, _no_step(item.key))
        return
    losers = answer.ends_late and endings.only_losers(draft, answer.ops)
    try:
        told = Told(item, _since(draft, given), answer.no_retry, answer.retry_after)
        apply_ops(draft, told, answer.ops)
    except UnknownOp as problem:
        _call_failed(draft, given, ErrorInfo(name="UnknownOpcode", message=str(problem)))
        return
    if draft.ended:
        return
    if not item.is_discovery:
        if not _has_ended(draft, item.key) and not draft.will_do(item.key):
            _call_failed(draft, given, _no_step(item.key))
    elif not draft.run.discovering:
        _go_on(draft, given, losers)


def _since(draft: Draft, given: Answered) -> int:
    """When the app began with what its answer tells of: with the call, or with the end of what it checkpointed in it."""
    within = (step.ended_at or 0 for step in draft.stack_after(given.sent) if step.checkpointed)
    return max(given.started_at, *within, 0)


def _go_on(draft: Draft, given: Answered, losers: bool) -> None:
    """Have the app called again at once when it has more to say, or something to hear that this call did not carry.

    ``losers``: it has named steps of a race that go on, and nothing else. An app that asks for another call gets it when it
    has done something in this one; else it would be called for ever.
    """
    idle = draft.run.pending == 0
    asks = idle or any(opcode(op.op) is Opcode.DISCOVERY for op in given.answer.ops)
    if draft.run.poked or unseen(draft, given.sent) or (asks and draft.stack_after(given.sent)):
        draft.put_discovery()
    elif idle:
        _stuck(draft, given)
    elif losers and given.sent:
        endings.ask(draft)


def _stuck(draft: Draft, given: Answered) -> None:
    """The app neither finished nor asked for anything, and nothing is under way: nothing would ever call it again."""
    message = (
        "the app answered with no new steps while none is pending, so the run could never go on: look for a step that is "
        "skipped in a replay, or for code that waits for something that only the earlier process knew"
    )
    _call_failed(draft, given, ErrorInfo(name="NoProgress", message=message))


def _call_failed(draft: Draft, given: Answered, error: ErrorInfo) -> None:
    answer: Answer = given.answer
    call_failed(draft, given.item, error, answer.no_retry, answer.retry_after, given.started_at)


def _no_step(key: str) -> ErrorInfo:
    message = f"the app was asked to run the step {key} and answered with something else: its code may have changed"
    return ErrorInfo(name="StepNotFound", message=message)
