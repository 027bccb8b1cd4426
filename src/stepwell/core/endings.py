"""Functions that end while steps of a race go on (protocol 5.3).

Our SDK says at once that the function has ended. The npm SDK does not: as long as a step that lost the race has not ended, a
discovery is answered with it, and nothing else. A call that asks for a step which there is not makes it say what the
function returned; where the function goes on, nothing comes of that call. The npm SDK thinks about it for some ten seconds,
as long as the function's own code goes on, and the call takes a slot of the function's concurrency meanwhile, as every call
does: at most one of them is under way for a run, it has the time-out of a call, and ends with the run. Nothing waits for it:
once the loser has ended the app is called as ever, within the same limits. Other SDKs are not asked: the official Python
one would skip the steps of a group, and return something else.
"""

from collections.abc import Sequence

import msgspec

from stepwell.core.draft import Draft
from stepwell.core.inputs import Answered
from stepwell.core.model import Item, RunStatus, WorkKind
from stepwell.wire.calls import AnswerKind
from stepwell.wire.errors import ErrorInfo
from stepwell.wire.ops import Op, Opcode, opcode

ENDING = "ended"
"""Key of the item, and the step id that is asked for: no step has it, as theirs are hashes."""


def only_losers(draft: Draft, ops: Sequence[Op]) -> bool:
    """Whether an answer names steps of a race that are known to be under way, and says nothing else."""
    known = [draft.step(op.id) for op in ops]
    return bool(known) and all(step is not None and step.race and not step.ended for step in known)


def ask(draft: Draft) -> None:
    """Have the app asked whether the function has ended, if it is not being asked."""
    run = draft.run
    if run.asking:
        return
    draft.header(asking=True)
    draft.put(Item(run_id=run.run_id, key=ENDING, kind=WorkKind.CALL, due_at=draft.env.now, limits=run.limits))


def told(draft: Draft, given: Answered) -> None:
    """The answer to that: the function's result, or its final error. Of anything else nothing follows."""
    answer = given.answer
    done = [op for op in answer.ops if opcode(op.op) is Opcode.RUN_COMPLETE]
    if answer.kind is AnswerKind.RETURNED:
        draft.complete(answer.data)
    elif answer.kind is AnswerKind.OPS and done:
        draft.complete(bytes(done[0].data or b"null"))
    elif answer.kind is AnswerKind.ERROR and answer.no_retry is True and not answer.transport:
        draft.finish(RunStatus.FAILED, msgspec.json.encode(answer.error or ErrorInfo()))
    else:
        draft.header(asking=False)
        if draft.stack_after(given.sent) and draft.run.pending and not draft.run.discovering:
            ask(draft)
