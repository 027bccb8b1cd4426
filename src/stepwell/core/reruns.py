"""A run made anew from another one: from its start, or from one of its steps on (protocol section 2)."""

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from stepwell.core.model import Run, RunView, Step, StepStatus
from stepwell.core.outputs import Admission, Commit, Single
from stepwell.wire.ids import step_hash


class CannotRerun(ValueError):
    """The run can not be made anew like this. One sentence: why, and what can be done."""


def rerun(
    old: RunView, made: tuple[RunView, Commit], from_step: str | None = None, args: Sequence[object] | None = None
) -> tuple[RunView, Commit]:
    """The fresh run ``made`` for the event of ``old``, as a repetition of ``old``.

    ``from_step``: an id, hashed or as in the code, or a name; the steps that ended before it keep their results, in their
    order; it and all others are run again. ``args`` take the place of its arguments. Raises :class:`CannotRerun`.
    """
    view, commit = made
    if commit.run is None:
        raise CannotRerun("There is nothing to run.")
    again = None if from_step is None else find_step(old, from_step)
    if again is None and args is not None:
        raise CannotRerun("An input belongs to a step: say which one with from_step.")
    kept = [] if again is None else [_kept(step, commit.run.run_id, n) for n, step in enumerate(_before(old, again))]
    steps = (
        kept
        if again is None or args is None
        else [*kept, _edited(again, commit.run.run_id, len(kept), args, commit.now)]
    )
    run = replace(
        commit.run,
        event_ids=old.run.event_ids,
        original=old.run.run_id,
        parent=None,
        edited=again.step_id if again is not None and args is not None else None,
        req_version=old.run.req_version if kept else commit.run.req_version,
        steps=len(steps),
        completed=len(kept),
        state_bytes=sum(len(step.memo or b"") for step in kept),
    )
    view = RunView(run, old.events)
    view.apply(run, steps)
    admit = tuple(_alone(each, run) for each in commit.admit)
    needs = old.run.run_id
    return view, replace(commit, run=run, key=None, steps=tuple(steps), admit=admit, needs=needs)


def find_step(view: RunView, text: str) -> Step:
    """The step that ``text`` means: its id, hashed or not, or a name that only one step has. Raises CannotRerun."""
    found = view.steps.get(text) or view.steps.get(step_hash(text))
    if found is not None:
        return found
    named = [step for step in view.steps.values() if step.name == text]
    if len(named) == 1:
        return named[0]
    if named:
        raise CannotRerun(f"{len(named)} steps are called {text[:80]!r}; name one by its id.")
    raise CannotRerun(f"The run has no step {text[:80]!r}.")


def edited_inputs(view: RunView) -> dict[str, bytes]:
    """What a call says of edited inputs: by step id, while the step has not ended."""
    step = None if view.run.edited is None else view.steps.get(view.run.edited)
    return {} if step is None or step.ended or step.input is None else {step.step_id: step.input}


def _alone(admission: Admission, run: Run) -> Admission:
    """Where a singleton stops it, nobody is told: nobody waits for a run that is made anew."""
    if not isinstance(admission, Single) or admission.instead is None or admission.instead.run is None:
        return admission
    skipped = replace(admission.instead.run, parent=None, original=run.original, event_ids=run.event_ids)
    return replace(admission, instead=replace(admission.instead, run=skipped, more=()))


def _before(old: RunView, again: Step) -> list[Step]:
    """What ended before a step, in that order; all that ended when it did not end itself."""
    return [old.steps[step_id] for step_id in old.stack[: again.position]]


def _kept(step: Step, run_id: str, number: int) -> Step:
    return replace(
        step, run_id=run_id, number=number, position=number, group=0, checkpointed=False, own_item=False, callback=None
    )


def _edited(step: Step, run_id: str, number: int, args: Sequence[object], now: int) -> Step:
    """The step as it is before it is run again. The app reports it, and so what is to be done about it."""
    return Step(
        run_id=run_id,
        step_id=step.step_id,
        name=step.name,
        op=step.op,
        status=StepStatus.PLANNED,
        number=number,
        created_at=now,
        input=msgspec.json.encode(list(args)),
    )
