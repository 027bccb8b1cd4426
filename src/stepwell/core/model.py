"""What the platform knows: functions, runs, steps, work items, events. Times are integer milliseconds since the epoch."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from stepwell.wire.constants import DISCOVERY, UNKNOWN_VERSION


class RunStatus(StrEnum):
    """Where a run is. The last four are ends and never change."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    """It never began: its function was paused, or another run of its singleton was active."""

    @property
    def ended(self) -> bool:
        """Whether the run has ended."""
        return self in _ENDED


_ENDED = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.SKIPPED})


class StepStatus(StrEnum):
    """Where a step is: known and to be run, under way or waiting, between attempts, or ended."""

    PLANNED = "planned"
    WAITING = "waiting"
    RETRYING = "retrying"
    COMPLETED = "completed"
    FAILED = "failed"


class WorkKind(StrEnum):
    """What a work item asks for: call the app, perform a request, wake up, take the result that came for a step, end the
    run (because somebody wants it, or with the error in the payload), hand an event to what waits for it, begin a run that
    waited for more events, or end the next runs of those that a cancellation means."""

    CALL = "call"
    FETCH = "fetch"
    TIMER = "timer"
    RESUME = "resume"
    CANCEL = "cancel"
    FAIL = "fail"
    DELIVER = "deliver"
    START = "start"
    CANCEL_RUNS = "cancel_runs"


class Reason(StrEnum):
    """What holds an item back."""

    CONCURRENCY = "concurrency"
    RATE = "rate"
    SLOW_DOWN = "slow_down"
    BREAKER = "breaker"


class Limit(msgspec.Struct, frozen=True, gc=False):
    """At most ``limit`` claimed items at once in ``bucket``, over all runs and processes."""

    bucket: str
    limit: int


class Breaker(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A host is left alone for ``open_ms`` once ``ratio`` of at least ``minimum`` requests within ``window_ms`` failed."""

    ratio: float = 0.5
    window_ms: int = 30_000
    minimum: int = 10
    open_ms: int = 30_000


class Pace(msgspec.Struct, frozen=True, omit_defaults=True):
    """How fast the items of ``bucket`` are claimed: ``limit`` in each period (0: any number) and ``burst`` more at once.

    ``slows``: the bucket is a host whose 429 and 503 slow everybody down; ``breaker``: it has a circuit breaker.
    """

    bucket: str
    limit: int = 0
    period_ms: int = 1_000
    burst: int = 0
    slows: bool = False
    breaker: Breaker | None = None


class Passed(msgspec.Struct, frozen=True, gc=False):
    """A bucket that held an item back until it was claimed, and for what."""

    bucket: str
    reason: Reason


class Attempt(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One attempt of a step. ``status`` is the HTTP status of a fetch, ``size`` the bytes of the response's body as it came;
    ``delay_ms`` what was waited for afterwards. ``passed``: the limits and paces that had held it back before it began, for
    ``held_ms``."""

    number: int
    started_at: int
    ended_at: int
    status: int | None = None
    error: str | None = None
    delay_ms: int | None = None
    reason: str | None = None
    phases: dict[str, float] | None = None
    size: int | None = None
    passed: tuple[Passed, ...] = ()
    held_ms: int | None = None


class Callback(msgspec.Struct, frozen=True, kw_only=True):
    """A call-back that a step waits for. ``digest``: SHA-256 of the secret in its URL; ``rich``: our own SDK asked.

    ``void``: the response to the request itself is the result, so that nobody is waited for any longer. ``secrets``: the names
    of those that the request had.
    """

    digest: bytes
    rich: bool = False
    void: bool = False
    secrets: tuple[str, ...] = ()


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a run. ``memo`` is the JSON that the app gets for it once it has ended (wire wrapper form).

    ``position`` is its place in the run's completion order (the stack), from 0; None while it has not ended. ``group`` is
    the coalescing group it belongs to, 0 for none. ``info`` is JSON for people (masked): url and method, wake-up time.
    """

    run_id: str
    step_id: str
    name: str
    op: str
    status: StepStatus
    number: int
    """Order of creation in the run, from 0."""
    group: int = 0
    race: bool = False
    checkpointed: bool = False
    """Whether the app reported it from within a call, and so knows of it already."""
    own_item: bool = False
    """Whether a work item of its own works on it, rather than the run's discovery call."""
    attempt: int = 0
    """Attempts made so far; of what an app runs, those that failed."""
    position: int | None = None
    memo: bytes | None = None
    created_at: int = 0
    started_at: int | None = None
    """Of what an app ran: when its first attempt began, where that is known."""
    ended_at: int | None = None
    due_at: int | None = None
    """What it waits for: the time of its wake-up or next attempt."""
    info: bytes | None = None
    attempts: tuple[Attempt, ...] = ()
    callback: Callback | None = None
    input: bytes | None = None
    """JSON array of the arguments that take the place of the code's own, in a re-run (protocol section 2)."""

    @property
    def ended(self) -> bool:
        """Whether the step has its one recorded result."""
        return self.position is not None

    @property
    def began_at(self) -> int:
        """When it was known, or begun: an app tells of a step that it ran within a call when that is done."""
        return self.created_at if self.started_at is None else min(self.created_at, self.started_at)


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """The header of a run; small, written at each transition. ``version`` counts the transitions and fences them."""

    run_id: str
    function_id: str
    app_id: str
    status: RunStatus = RunStatus.QUEUED
    version: int = 0
    req_version: int = UNKNOWN_VERSION
    generation: int = 0
    event_ids: tuple[str, ...] = ()
    limits: tuple[Limit, ...] = ()
    paces: tuple[Pace, ...] = ()
    """Of the run's requests: the function's ``fetch_throttle``."""
    max_attempts: int = 5
    steps: int = 0
    """Steps known so far."""
    completed: int = 0
    """Steps ended so far: the length of the stack."""
    group: int = 0
    """Number of the newest coalescing group; ``group_left`` of its steps have not ended."""
    group_left: int = 0
    pending: int = 0
    """Steps that have not ended."""
    force_plan: bool = False
    discovering: bool = False
    """Whether a discovery item exists, queued or in flight."""
    poked: bool = False
    """Whether the app asked to be called while it was being called: its answer may be older than what it wants to say."""
    asking: bool = False
    """Whether the app is asked if the function has ended while steps of a race go on (``core.endings``)."""
    progressed: bool = False
    """Whether steps were checkpointed during the discovery in flight."""
    queued_at: int = 0
    started_at: int | None = None
    ended_at: int | None = None
    output: bytes | None = None
    """JSON: the result of a completed run, the error object of a failed one."""
    state_bytes: int = 0
    """Bytes of all memos: what a call has to carry."""
    trigger: str = ""
    """Name of the event that started the run."""
    parent: str | None = None
    """``run id.step id`` of the step that invoked this run and waits for its outcome (protocol 5.6)."""
    original: str | None = None
    """The run that this one repeats. Results that it took over name bodies of that run, which stay as long as this one."""
    edited: str | None = None
    """The step that has an ``input``."""
    cancels: int = 0
    """How many waits may end the run."""
    parents: tuple[str, ...] = ()
    """More such steps: those of the other events of a batch."""
    gathering: bool = False
    """Whether the run has not begun and waits for more events (debounce, batch); a START item says until when."""
    buckets: tuple[str, ...] = ()
    """Admission buckets that the run takes until it ends (``core.flow.admission``)."""
    error: str | None = None
    """What went wrong in the newest failed call, while it is retried; ``retry_at`` says when."""
    retry_at: int | None = None
    priority_ms: int = 0
    """How much earlier than it is due the run's work is done."""
    start_ms: int | None = None
    """It is cancelled when its first call has not begun so long after it was due; ``finish_ms``: or not ended so long
    after that call began."""
    finish_ms: int | None = None
    trace: str = ""
    """That of its event."""
    skipped: str | None = None
    """Why it never began, in a word: ``paused`` or ``singleton``."""


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """A work item: something to do for a run, at ``due_at`` or later. At most one exists for (run_id, key).

    ``key`` is ``"step"`` for a discovery, else the hashed id of the step. ``claim`` counts the claims made of the item; who
    reports an outcome names the claim that it holds, so that a late owner is rejected. ``payload`` is msgpack of what the
    kind needs (a FetchRequest).
    """

    run_id: str
    key: str
    kind: WorkKind
    due_at: int
    attempt: int = 0
    limits: tuple[Limit, ...] = ()
    paces: tuple[Pace, ...] = ()
    holds: tuple[Limit, ...] = ()
    """Slots of the run as a whole, taken with the claim and kept until the run ends; on one item of a run: its first call."""
    expires_at: int | None = None
    """From then on no limit and no pace holds the item back: its deadline has passed, and it is claimed to be told so."""
    payload: bytes | None = None
    claim: int = 0
    rescues: int = 0
    """How often the item was taken from an owner that died with it: its work may have been done in part."""
    passed: tuple[Passed, ...] = ()
    """What had held the item back, as of the claim; not stored with it."""

    @property
    def is_discovery(self) -> bool:
        """Whether this item is the run's discovery call."""
        return self.key == DISCOVERY


class ItemRef(msgspec.Struct, frozen=True):
    """Names a held claim of an item."""

    run_id: str
    key: str
    claim: int

    @property
    def body(self) -> str:
        """The ref of the body that the holder of this claim stores while it arrives: no other owner's, no other attempt's."""
        return f"{self.run_id}.{self.key}.{self.claim}"


class StoredEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An accepted event. ``internal_id`` is our ULID; ``body`` the normalised JSON object that functions see."""

    internal_id: str
    event_id: str
    name: str
    received_at: int
    body: bytes
    ts: int = 0
    """The event's own time; in the future, it delays the runs that it starts."""
    trace: str = ""
    """The trace context that it came with (``wire.traces``); not stored: the runs that it starts keep it."""


class RunKey(msgspec.Struct, frozen=True):
    """Idempotency: while it holds, no second run of the function starts for the same event id (protocol 5.9).

    It holds until 24 hours after the end of ``run_id``; until ``expires_at`` where there is no such run.
    """

    function_id: str
    key: str
    expires_at: int
    run_id: str | None = None


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """A step that waits for an event called ``name``, or, with a ``step_id`` of ``cancel:n``, a run that one cancels; or a
    step that waits for a ``signal``, and has no ``name`` then.

    ``expression`` has ``async``, the candidate; what it said of the run's own event has been filled in (protocol 5.5), but for
    the few where that would be too long: they have ``event`` kept with them, as JSON.
    """

    run_id: str
    step_id: str
    name: str = ""
    expression: str | None = None
    event: bytes | None = None
    until: int | None = None
    """Events later than this (ms) do not count; a step's own time-out is a work item."""
    path: str | None = None
    value: bytes = b""
    """Only an event whose value at ``path`` has the canonical form ``value`` can be it (``cel.keys``); None: any may be."""
    signal: str | None = None
    """One step at a time waits for a signal; ``replace``: it takes the place of the one that does."""
    replace: bool = False
    seq: int = 0
    """Its place in the order in which waits and items were stored; the store gives it."""


class Cancellation(msgspec.Struct, frozen=True, kw_only=True):
    """The runs of a function that shall end: those queued after ``started_after`` (ms) and at ``started_before`` or earlier
    whose event meets ``condition``, an expression of ``event``."""

    cancellation_id: str
    created_at: int
    app_id: str
    function_id: str
    started_before: int
    started_after: int | None = None
    condition: str | None = None


class Pause(msgspec.Struct, frozen=True):
    """A function that starts no runs since ``paused_at`` (ms)."""

    function_id: str
    paused_at: int


class Body(msgspec.Struct, frozen=True):
    """A fetched body that is kept beside the run's state, under ``ref``."""

    ref: str
    run_id: str
    data: bytes


@dataclass(slots=True)
class RunView:
    """A run as the engine holds it: header, events (JSON each, first is the trigger), steps by id, completion order.

    ``steps`` and ``stack`` only grow while the view is alive, so that a reader who knows a length has a stable snapshot.
    """

    run: Run
    events: list[bytes]
    steps: dict[str, Step] = field(default_factory=dict[str, Step])
    stack: list[str] = field(default_factory=list[str])
    memos: dict[str, bytes] = field(default_factory=dict[str, bytes])

    @property
    def call_bytes(self) -> int:
        """About how much a call has to carry: the results so far, all events, and the first of them once more."""
        return self.run.state_bytes + sum(map(len, self.events)) + sum(map(len, self.events[:1]))

    def apply(self, run: Run, steps: Sequence[Step]) -> None:
        """Take over what a transition wrote."""
        self.run = run
        for step in steps:
            self.steps[step.step_id] = step
        known = len(self.stack)
        ended = [(step.position, step) for step in steps if step.position is not None and step.position >= known]
        for _, step in sorted(ended, key=lambda pair: pair[0]):  # they come in the order in which they were met
            self.stack.append(step.step_id)
            self.memos[step.step_id] = step.memo or b"null"
