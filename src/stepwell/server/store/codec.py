"""How stores write records: msgpack maps, so that a field added with a default reads back from older files."""

from collections.abc import Callable, Iterable

import msgspec

from stepwell.core.flow.admission import State
from stepwell.core.flow.gates import FlowState
from stepwell.core.model import Item, Run, RunView, Step, StoredEvent, Wait
from stepwell.core.outputs import Commit

encode = msgspec.msgpack.Encoder().encode
"""Any record of the model to msgpack."""

decode_run = msgspec.msgpack.Decoder(Run).decode
decode_step = msgspec.msgpack.Decoder(Step).decode
decode_item = msgspec.msgpack.Decoder(Item).decode
decode_flow = msgspec.msgpack.Decoder(FlowState).decode
decode_admission = msgspec.msgpack.Decoder(State).decode
decode_event = msgspec.msgpack.Decoder(StoredEvent).decode


def build_view(run: Run, events: Iterable[bytes], steps: Iterable[Step]) -> RunView:
    """The view of a run from its parts in any order: steps by number, the stack and its memos by position."""
    view = RunView(run, list(events))
    view.apply(run, sorted(steps, key=lambda step: step.number))
    return view


def stored_item(data: bytes, claim: int, attempt: int, rescues: int) -> Item:
    """An item from its record and the figures that change while it is stored, which the record may have wrong."""
    item = decode_item(data)
    if (item.claim, item.attempt, item.rescues) == (claim, attempt, rescues):
        return item
    return msgspec.structs.replace(item, claim=claim, attempt=attempt, rescues=rescues)


def run_of(commit: Commit) -> str:
    """The run that ``drop`` and ``touch`` of a commit mean: that of its header, else of its claim, else a step."""
    if commit.run is not None:
        return commit.run.run_id
    for record in (*commit.done, *commit.steps, *commit.put):
        return record.run_id
    return ""


def gone(commit: Commit) -> tuple[tuple[str, str], ...]:
    """The waits that a commit ends."""
    return (*commit.unwait, *commit.take)


def contested(wait: Wait, commit: Commit, holder: Callable[[str], tuple[str, str] | None]) -> bool:
    """Whether somebody else waits for the signal of one of the commit's waits, and goes on doing so."""
    if wait.signal is None or wait.replace:
        return False
    return holder(wait.signal) not in (None, (wait.run_id, wait.step_id), *gone(commit))
