"""What is decided when an event comes in: rate limit, singleton, debounce, batch (protocol 5.10). Pure.

Stores call :func:`admit` in the transaction that stores the event, with what the bucket remembers, and keep what it says.
"""

from collections.abc import Callable, Sequence

import msgspec

from stepwell.core.flow.pace import interval_us, passed
from stepwell.core.invokes import failure, resume
from stepwell.core.model import Item, WorkKind
from stepwell.core.outputs import Admission, Batched, Commit, Debounced, Joining, RateLimited, Release, Single
from stepwell.core.waits import SINGLETON

START = "start"
"""Key of the item with which a run begins that waited for more events."""
MAX_BATCH_BYTES = 10 * 1024 * 1024


class Rate(msgspec.Struct, frozen=True, tag="rate"):
    """The theoretical arrival time of ``flow.pace``, microseconds."""

    tat: int


class Active(msgspec.Struct, frozen=True, tag="active"):
    """The run that has the bucket."""

    run_id: str


class Gathering(msgspec.Struct, frozen=True, tag="gathering"):
    """A run that waits for events until ``fire_at``. ``ts``: the newest event's own time; ``parents``: steps that wait."""

    run_id: str
    first_at: int
    fire_at: int
    ts: int
    size: int
    events: tuple[str, ...]
    parents: tuple[str, ...] = ()


State = Rate | Active | Gathering
"""What a bucket remembers."""


class Verdict(msgspec.Struct, frozen=True):
    """Whether the commit passes, what the bucket remembers from here on, and what is written in any case."""

    passes: bool
    state: State | None
    writes: tuple[Commit, ...] = ()


class Gathered(msgspec.Struct, frozen=True):
    """The payload of a START: the internal ids of the run's events, and the steps that wait for it."""

    events: tuple[str, ...]
    parents: tuple[str, ...] = ()


def gathered_of(item: Item) -> Gathered:
    """What a START item carries."""
    return msgspec.msgpack.decode(item.payload or b"", type=Gathered)


def waiting_steps_of(item: Item) -> tuple[str, ...]:
    """The steps that wait for the run that a START item begins; none where that can not be read."""
    try:
        return gathered_of(item).parents
    except msgspec.MsgspecError:
        return ()


def idle_at(state: State) -> int | None:
    """From this time (ms) on the state means nothing and may be forgotten; None: not before the run gives it back."""
    match state:
        case Rate():
            return -(-state.tat // 1000)
        case Active():
            return None
        case Gathering():
            return state.fire_at


def judge(
    admissions: Sequence[Admission],
    load: Callable[[str], State | None],
    keep: Callable[[str, State | None], None],
    now: int,
) -> tuple[bool, list[Commit]]:
    """Whether all let a commit pass, in order up to the first that does not; and what their verdicts write."""
    writes: list[Commit] = []
    for admission in admissions:
        verdict = admit(admission, load(admission.bucket), now)
        keep(admission.bucket, verdict.state)
        writes.extend(verdict.writes)
        if not verdict.passes:
            return False, writes
    return True, writes


def admit(admission: Admission, state: State | None, now: int) -> Verdict:
    """The verdict on one admission."""
    match admission:
        case RateLimited():
            return _rate(admission, state if isinstance(state, Rate) else None, now)
        case Single():
            return _single(admission, state if isinstance(state, Active) else None, now)
        case Release():
            return _release(admission, state, now)
        case Debounced():
            return _debounce(admission, _open(state, now), now)
        case Batched():
            return _batch(admission, _open(state, now), now)


def _rate(asked: RateLimited, state: Rate | None, now: int) -> Verdict:
    """In any window of w ms at most ``limit + w / interval`` pass, where the interval is ``period / limit``."""
    interval = interval_us(asked.limit, asked.period_ms)
    tat = state.tat if state is not None else 0
    if tat - (asked.limit - 1) * interval > now * 1000:
        return Verdict(False, state, _commits(asked.instead))
    return Verdict(True, Rate(passed(tat, interval, now)))


def _single(asked: Single, state: Active | None, now: int) -> Verdict:
    taken = Active(asked.run_id)
    if state is None:
        return Verdict(True, taken)
    if not asked.cancels:
        return Verdict(False, state, _commits(asked.instead))
    end = Item(run_id=state.run_id, key=SINGLETON, kind=WorkKind.CANCEL, due_at=now)
    return Verdict(True, taken, (Commit(now=now, put=(end,)),))


def _release(asked: Release, state: State | None, now: int) -> Verdict:
    if state is None or isinstance(state, Rate) or state.run_id != asked.run_id:
        return Verdict(True, state)
    waiting = state.parents if isinstance(state, Gathering) and asked.memo is not None else ()
    return Verdict(True, None, tuple(resume(parent, asked.memo or b"null", now) for parent in waiting))


def _open(state: State | None, now: int) -> Gathering | None:
    """The run that still waits: once it is due, no event joins it any more, whether it has begun or not."""
    return state if isinstance(state, Gathering) and now < state.fire_at else None


def _debounce(asked: Debounced, state: Gathering | None, now: int) -> Verdict:
    join = asked.join
    if state is None:
        return _begin(join, now, _end(asked, now, now))
    if join.ts < state.ts:
        return Verdict(True, state, (_linked(join, state.run_id, now), *_superseded(_parents(join), state, now)))
    after = Gathering(
        run_id=state.run_id,
        first_at=state.first_at,
        fire_at=_end(asked, state.first_at, now),
        ts=join.ts,
        size=join.size,
        events=(join.event_id,),
        parents=_parents(join),
    )
    told = _superseded(state.parents, state, now)
    return Verdict(True, after, (_linked(join, state.run_id, now, _item(after)), *told))


def _end(asked: Debounced, first_at: int, now: int) -> int:
    due = now + asked.period_ms
    return due if asked.timeout_ms is None else min(due, first_at + asked.timeout_ms)


def _batch(asked: Batched, state: Gathering | None, now: int) -> Verdict:
    join = asked.join
    if state is None:
        return _begin(join, now, now + asked.timeout_ms)
    if state.size + join.size > MAX_BATCH_BYTES:
        verdict = _begin(join, now, now + asked.timeout_ms)
        full = Commit(now=now, put=(_item(msgspec.structs.replace(state, fire_at=now)),))
        return Verdict(True, verdict.state, (full, *verdict.writes))
    after = msgspec.structs.replace(
        state,
        size=state.size + join.size,
        events=(*state.events, join.event_id),
        parents=(*state.parents, *_parents(join)),
    )
    if len(after.events) < asked.max_size:
        return Verdict(True, after, (_linked(join, state.run_id, now, _item(after)),))
    full = _item(msgspec.structs.replace(after, fire_at=now))
    return Verdict(True, None, (_linked(join, state.run_id, now, full),))


def _begin(join: Joining, now: int, fire_at: int) -> Verdict:
    """The first event: its run is stored, and waits."""
    state = Gathering(
        run_id=join.run.run_id,
        first_at=now,
        fire_at=fire_at,
        ts=join.ts,
        size=join.size,
        events=(join.event_id,),
        parents=_parents(join),
    )
    return Verdict(True, state, (Commit(now=now, run=join.run, put=(_item(state),)),))


def _linked(join: Joining, run_id: str, now: int, *items: Item) -> Commit:
    key = msgspec.structs.replace(join.key, run_id=run_id)
    return Commit(now=now, keys=(key,), links=((join.event_id, run_id),), put=items)


def _item(state: Gathering) -> Item:
    payload = msgspec.msgpack.encode(Gathered(state.events, state.parents))
    return Item(run_id=state.run_id, key=START, kind=WorkKind.START, due_at=state.fire_at, payload=payload)


def _parents(join: Joining) -> tuple[str, ...]:
    return () if join.parent is None else (join.parent,)


def _superseded(parents: tuple[str, ...], state: Gathering, now: int) -> tuple[Commit, ...]:
    message = f"another event took the place of this one in the debounced run {state.run_id}"
    return tuple(resume(parent, failure("InvokedFunctionSuperseded", message), now) for parent in parents)


def _commits(instead: Commit | None) -> tuple[Commit, ...]:
    return () if instead is None else (instead,)
