"""Parallel steps: which belong together, and when the app is called again (protocol 5.3).

Without a flag, the steps of one answer are a group, and the app is called once all of them have ended. Steps in race mode,
and all steps of apps that speak version 1, belong to no group: the app is called after each. A call that is still to be made
or in flight serves for every completion up to its answer, so that at most one discovery is under way per run.
"""

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from stepwell.core.draft import Draft
from stepwell.core.model import Step
from stepwell.wire.constants import REQUEST_VERSION
from stepwell.wire.ops import Op, Opcode

_ASYNC = frozenset(
    {
        Opcode.STEP_PLANNED,
        Opcode.SLEEP,
        Opcode.WAIT_FOR_EVENT,
        Opcode.WAIT_FOR_SIGNAL,
        Opcode.INVOKE,
        Opcode.GATEWAY,
        Opcode.AI_GATEWAY,
    }
)
_OURS = b'{"parallelMode":"race"'
"""Our SDK has the flag come first."""
_FLAG, _ESCAPE = b"parallelMode", b"\\u"
"""Options without these have no flag: they need not be read, however long they are."""


def open_group(draft: Draft, reports: Sequence[tuple[Opcode, Op]]) -> None:
    """Start a new group for the ops of an answer that the platform has to work on; it replaces the one before.

    All of its members are counted before the first is begun: one that ends at once must not close the group.
    """
    if len(reports) > 1:
        draft.header(force_plan=True)
    grouped = [op for code, op in reports if code in _ASYNC and not is_race(draft, op)]
    if not grouped:
        return
    known = {op.id: draft.step(op.id) for op in grouped}
    left = sum(1 for step in known.values() if step is None or not step.ended)
    draft.header(group=draft.run.group + 1, group_left=left)
    for step in known.values():
        if step is not None and not step.ended and step.own_item:
            draft.save(replace(step, group=draft.run.group, race=False))


def joins_group(draft: Draft, step: Step, op: Op) -> Step:
    """The new step as a member of the group that its answer opened, or as a racer."""
    step = replace(step, race=True) if is_race(draft, op) else replace(step, group=draft.run.group)
    draft.save(step)
    return step


def completed(draft: Draft, step: Step) -> None:
    """A step has ended: have the app called, unless its group still waits for others."""
    if step.group and step.group == draft.run.group and not step.race:
        draft.header(group_left=max(0, draft.run.group_left - 1))
        if draft.run.group_left == 0:
            draft.header(force_plan=False)
    if step.checkpointed:
        return
    if draft.run.group_left == 0 or step.race:
        draft.put_discovery()
    if draft.run.pending == 0 and draft.run.group_left == 0:
        draft.header(force_plan=False)


def unseen(draft: Draft, sent: int) -> bool:
    """Whether something ended that an answered discovery, which carried ``sent`` of the stack, did not know."""
    news = [step for step in draft.stack_after(sent) if not step.checkpointed]
    return bool(news) and (draft.run.group_left == 0 or any(step.race for step in news))


def is_race(draft: Draft, op: Op) -> bool:
    """Whether the op asks to go on after each completion."""
    if 0 <= draft.run.req_version < REQUEST_VERSION:
        return True
    opts = bytes(op.opts or b"")
    if opts.startswith(_OURS):
        return True
    if _FLAG not in opts and _ESCAPE not in opts:
        return False
    try:
        return msgspec.json.decode(opts, type=_Opts).parallelMode == "race"
    except msgspec.MsgspecError:
        return False


class _Opts(msgspec.Struct):
    parallelMode: str | None = None  # noqa: N815 - the wire's spelling
