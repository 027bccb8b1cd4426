"""The verbs of a store. The memory store defines what they mean; one conformance suite holds every other to it."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Protocol, runtime_checkable

import msgspec

from stepwell.core.flow.gates import Shut
from stepwell.core.flow.holding import Holding
from stepwell.core.model import Cancellation, Item, ItemRef, Pause, Run, RunView, StoredEvent, Wait
from stepwell.core.outputs import Commit

PIECE_BYTES = 1024 * 1024
"""Every piece of a body but its last one has this size: small enough that the commits of others need not wait for it."""
Data = bytes | memoryview
Piece = Data | Callable[[], Data]
"""A piece, or what makes it, to be called in a thread. What holds it may be used again once the verb has returned."""


class StoreError(Exception):
    """The store can not do its work: disk full, file locked or damaged. The message says what to do about it."""


class Unsure(StoreError):
    """The answer was lost: nobody knows whether it was done. Asking again is safe: ids, versions and claim numbers see to that.

    ``claims``: those that the transaction has made if it was stored. Nobody works on them: whoever asked gives them back.
    """

    def __init__(self, message: str, claims: Sequence[ItemRef] = ()) -> None:
        super().__init__(message)
        self.claims = tuple(claims)


class Outcome(StrEnum):
    """How one commit of a transaction went."""

    APPLIED = "applied"
    CONFLICT = "conflict"
    DUPLICATE = "duplicate"
    REFUSED = "refused"


class ClaimRequest(msgspec.Struct, frozen=True):
    """``owner`` takes up to ``limit`` items that are due at ``now`` (ms), oldest ``due_at`` first, within their limits."""

    owner: str
    limit: int
    now: int


class Transacted(msgspec.Struct):
    """What a transaction brought: an outcome per commit, the items claimed, and when the next unclaimed item is due.

    ``next_due`` looks at items that wait for their time only: until they are due, or until a pace lets them pass; not at
    those that are held back by a limit or by the size of the claim; None when there is none. It may be early, and is never late
    by more than ``WAKE_MS``.
    """

    outcomes: list[Outcome]
    claimed: list[Item]
    next_due: int | None
    versions: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    """Of the runs of the claimed items, where other processes write to the store as well; else empty."""


class AppRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An app as it registered. ``functions`` is the JSON array of its function configs (protocol 1.3)."""

    app_id: str
    url: str
    sdk: str
    checksum: str
    functions: bytes
    synced_at: int
    error: str | None = None


class WorkerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A process of the platform, as it was at its newest beat. ``worker_id`` is the owner of its claims.

    ``apps``: ids of the apps whose functions are in this process; ``items``: how many work items it works on.
    """

    worker_id: str
    host: str
    pid: int
    version: str
    started_at: int
    beat_at: int
    apps: tuple[str, ...] = ()
    items: int = 0
    leads: bool = False
    """Whether it is the one that starts crons, and deletes what is old."""
    stopping: bool = False
    """Whether it was told to stop, and takes no new work."""


class RunQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs, newest first by run id; all given conditions must hold."""

    limit: int = 50
    before: str | None = None
    """Run ids below this one: what to go on from. Ids begin with the time at which the run was queued."""
    after: str | None = None
    """Run ids above this one."""
    status: str | None = None
    function_id: str | None = None
    event_id: str | None = None
    """Internal id of an event: runs that it triggered."""
    app_id: str | None = None
    active: bool = False
    """Only those that have not ended; together with ``function_id``."""


class EventQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which events, the last received first, those of one millisecond by internal id; all given conditions must hold."""

    limit: int = 20
    before: tuple[int, str] | None = None
    """When the last one seen was received (ms), and its internal id: what to go on from."""
    name: str | None = None
    after: int | None = None
    """Received later than this (ms)."""
    until: int | None = None
    """Received earlier than this (ms)."""


class WaitQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Waits for events called ``name``: those without a ``path``, and those with one of the (path, value) pairs ``at``.

    Only those that were stored before the item ``before`` (run id, key): none when that is not there (None: all). ``after``
    is the ``seq`` of the wait to go on from.
    """

    name: str
    at: tuple[tuple[str, bytes], ...] = ()
    before: tuple[str, str] | None = None
    after: int = -(2**63)
    limit: int = 500


class Old(StrEnum):
    """What is deleted once it is old.

    ``RUNS``: those that ended before the time, with their steps and bodies (``core.retention``), the newest first by id;
    ``EVENTS``: those received before it that belong to no stored run and are not on their way, the oldest first; ``KEYS``:
    those that have expired before it and hold no longer (``core.runs.holds``), the oldest first; ``CANCELLATIONS`` of many
    runs: those that can mean none queued since (``core.cancellations.over``) and have no work item, the oldest first by id.
    """

    RUNS = "runs"
    EVENTS = "events"
    KEYS = "keys"
    CANCELLATIONS = "cancellations"


Cursor = tuple[int | str, ...]


class Prune(msgspec.Struct, frozen=True):
    """Look at the next ``limit`` of ``what``, and delete those that are old: before ``before`` (ms). ``dry``: count them."""

    what: Old
    before: int
    after: Cursor | None = None
    """``Pruned.last`` of the look before; None: begin."""
    limit: int = 100
    dry: bool = False


class Pruned(msgspec.Struct, frozen=True):
    """How many were deleted. ``last``: where to look on; None when that was all."""

    count: int
    last: Cursor | None = None


class Counts(msgspec.Struct, frozen=True):
    """For health: runs by status, and work items unclaimed and claimed."""

    runs: dict[str, int]
    queued: int
    claimed: int


WORK, APPS, CANCELLATIONS, PAUSES = "work", "apps", "cancellations", "pauses"
"""What processes tell each other of: work that is due, apps that were synced, cancellations of many runs, paused functions."""
TOPICS = (WORK, APPS, CANCELLATIONS, PAUSES)


@runtime_checkable
class Watched(Protocol):
    """A store that several processes share, and that tells one what the others have stored."""

    def watch(self, told: Callable[[str], None]) -> None:
        """Have ``told`` called in the running loop, with a topic, until the store is closed. What is told may be lost."""
        ...


class Store(Protocol):
    """All verbs. Each either did all of its work durably when it returns, or raised :class:`StoreError` and did nothing.

    ``Unsure`` is a StoreError as well: then either may be true.
    """

    exclusive: bool
    """Whether one process at a time owns the storage, so that at opening every claim is known to be dead."""

    async def open(self) -> None:
        """Take hold of the storage, bring its schema up to date. Raises StoreError with one clear sentence."""
        ...

    async def close(self) -> None:
        """Let go of it. Idempotent."""
        ...

    async def transact(self, commits: Sequence[Commit], claim: ClaimRequest | None = None) -> Transacted:
        """Apply the commits in order, each whole or not at all, then claim work; all in one durable transaction.

        An item is claimed only when each of its limits has room, counting every claimed item of the bucket, and each of its
        paces is open at that time (``core.flow.gates``, durable). Items held back wait without being looked at again until
        a slot of the bucket that stopped them is freed, or its time has come; or until their ``expires_at``, when they are
        claimed without regard to limits and paces. An item that ``holds`` needs room there too, unless its run has that slot
        already; the claim takes it for the run, durably, and a commit that ``drop``s the run's items frees it.
        A claim increments the item's ``claim``; the returned item carries the new number.
        """
        ...

    async def load_runs(self, run_ids: Sequence[str]) -> list[RunView]:
        """The runs with their events and steps; unknown ids are left out."""
        ...

    async def heartbeat(self, owner: str, expires_at: int) -> None:
        """Extend the owner's lease on everything that it has claimed, until ``expires_at`` (ms)."""
        ...

    async def rescue(self, now: int) -> int:
        """Free the items claimed by owners whose lease has ended, or who never had one; the number of items freed.

        Adds one to each item's ``rescues``, which a ``put`` that replaces the item sets anew and a ``release`` leaves alone.
        """
        ...

    async def release(self, refs: Sequence[ItemRef]) -> None:
        """Give claims back unworked; the items can be claimed again at once. Claims no longer held are ignored."""
        ...

    async def beat(self, worker: WorkerRecord, forget: int) -> None:
        """Insert or replace a process's record; delete those of others whose newest beat came before ``forget`` (ms)."""
        ...

    async def workers(self) -> list[WorkerRecord]:
        """Every process that has not said that it ends, by id: also those whose beat has stopped."""
        ...

    async def drop_worker(self, worker_id: str) -> None:
        """The process ends; unknown ids are ignored."""
        ...

    async def lead(self, owner: str, now: int, expires_at: int) -> bool:
        """Be the one of all processes that leads, until ``expires_at`` (ms); whether that is so.

        Not while another one is it whose time has not come at ``now``. The one that is it goes on.
        """
        ...

    async def resign(self, owner: str) -> None:
        """Lead no longer; ignored when another one leads."""
        ...

    async def prune(self, asked: Prune) -> Pruned:
        """Delete a few old records that nothing needs any more, in one short transaction."""
        ...

    async def get_event(self, internal_id: str) -> StoredEvent | None:
        """One event."""
        ...

    async def list_events(self, query: EventQuery) -> list[StoredEvent]:
        """Events, newest first."""
        ...

    async def list_runs(self, query: RunQuery) -> list[Run]:
        """Run headers, newest first by run id."""
        ...

    async def save_app(self, app: AppRecord) -> None:
        """Insert or replace an app."""
        ...

    async def load_apps(self) -> list[AppRecord]:
        """Every app, by id."""
        ...

    async def load_body(self, ref: str, start: int = 0, end: int | None = None) -> bytes | None:
        """Bytes ``start:end`` of a body kept beside the state; None when there is no such body."""
        ...

    async def append_body(self, claim: ItemRef, start: int, data: Piece, *, last: bool = False) -> bool:
        """Store the piece from byte ``start`` on of the body that the holder of ``claim`` receives; in order, one at a time.

        Every piece but the last is ``PIECE_BYTES`` long; one at 0 begins anew, and one that comes again replaces itself.
        Nobody sees the body until a commit keeps it (``Commit.keep``), and durable it is no sooner. When the claim ends in
        any other way, or its owner dies, its pieces go. False, and nothing is stored, once the claim is not held any longer.
        ``last``: nothing follows, so that the store can have the disk begin before the commit.
        """
        ...

    async def list_items(self, run_id: str) -> list[Item]:
        """The work items of a run, claimed or not, by due time."""
        ...

    async def waits(self, run_id: str, now: int) -> dict[str, Shut]:
        """The items of a run that are due at ``now`` and held back: what by, and until when; by key."""
        ...

    async def held(self, now: int, limit: int) -> list[Holding]:
        """What holds back work that is due at ``now``, the one with the most first, each with up to ``limit`` items, those
        that were due first. Work that nobody has tried to claim yet need not be in it, nor what has very few like it; work
        that two things hold back counts for one of them."""
        ...

    async def find_waits(self, query: WaitQuery) -> list[Wait]:
        """Waits for events, in the order in which they were stored."""
        ...

    async def waited_places(self, name: str) -> list[Wait]:
        """One wait for each ``path`` that is in use among the waits for events called ``name``."""
        ...

    async def find_signal(self, signal: str) -> Wait | None:
        """What waits for a signal."""
        ...

    async def cancellations(self) -> list[Cancellation]:
        """Every cancellation of many runs, the newest first by id."""
        ...

    async def drop_cancellation(self, cancellation_id: str) -> bool:
        """Delete one; False when there is none of that id."""
        ...

    async def keys_of(self, function_id: str) -> list[str]:
        """The keys (``RunKey.key``) that are stored for a function id, or for what stands in its place, in order."""
        ...

    async def pauses(self) -> list[Pause]:
        """Every paused function, by id."""
        ...

    async def save_pause(self, pause: Pause) -> None:
        """Pause a function. One that is paused stays so since it was."""
        ...

    async def drop_pause(self, function_id: str) -> bool:
        """End a pause; False when there is none."""
        ...

    async def waiting_names(self) -> set[str]:
        """The names of events that anything waits for."""
        ...

    async def counts(self) -> Counts:
        """Figures for health."""
        ...
