"""What a decision comes to: writes that a store applies in one transaction."""

import msgspec

from stepwell.core.model import Body, Cancellation, Item, ItemRef, Pace, Run, RunKey, Step, StoredEvent, Wait


class Observed(msgspec.Struct, frozen=True):
    """A request that was sent at ``started_at`` (ms) has ended: what its host's pace is to learn from that.

    ``wait_ms``: how long the host asked to be left alone; ``failed``: for its circuit breaker. ``given_back``: what passed the
    pace did nothing, so that another may pass in its place.
    """

    pace: Pace
    started_at: int
    failed: bool = False
    wait_ms: int | None = None
    given_back: bool = False


class SystemEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event that the platform itself sends. ``data`` is JSON. ``function_id``: only this function is started by it.

    ``correlation``: ``run id.step id`` of the step that waits for the outcome; it learns of it when there is no such function.
    """

    name: str
    data: bytes
    event_id: str | None = None
    function_id: str | None = None
    correlation: str | None = None


class Commit(msgspec.Struct, kw_only=True):
    """The writes of one transition; applied whole or not at all.

    A store checks first, in this order, and writes nothing of this commit when a check fails:

    * ``key`` is not stored, or does not hold any more -> else DUPLICATE (an event or signal that came twice);
    * ``waited`` given: a step or run waits for events of that name -> else REFUSED;
    * each of ``done`` is stored and held under that claim number -> else CONFLICT;
    * ``run`` given: the stored header's version is ``expected``, or no header exists when ``expected`` is None -> else
      CONFLICT;
    * ``needs``: that run is stored -> else CONFLICT (it was deleted meanwhile);
    * each of ``take`` names a stored wait -> else CONFLICT (another event, or its end, came first);
    * no other step waits for the signal of one of ``waits``, unless that wait replaces it -> else CONFLICT;
    * each of ``admit`` passes, in order -> else REFUSED, and of all writes only those that its verdict names are made
      (``core.flow.admission``).

    When a check before ``admit`` fails, ``otherwise`` is looked at in its place. ``key`` holds by ``core.runs.holds``.

    Then: store ``events``, ``key``, ``run`` and ``steps`` (insert or replace), ``bodies``; make bodies of the pieces that the
    claims in ``keep`` have stored, each under its ``ItemRef.body``; delete the ``done`` items and free the slots that they
    held; ``drop`` deletes every other item of the run, claimed or not, and frees the slots that the run holds; ``put`` inserts
    or replaces items, unclaimed (``claim`` of the stored item is kept and counts on, so that an old owner stays fenced);
    ``touch`` sets the attempt number of an item without disturbing its claim (no such item: nothing happens).
    """

    now: int
    run: Run | None = None
    expected: int | None = None
    events: tuple[StoredEvent, ...] = ()
    key: RunKey | None = None
    waited: str | None = None
    """Name of an event that concerns nobody but those who wait for it."""
    steps: tuple[Step, ...] = ()
    done: tuple[ItemRef, ...] = ()
    put: tuple[Item, ...] = ()
    drop: bool = False
    touch: tuple[tuple[str, int], ...] = ()
    """(item key, attempt) of the run's items."""
    bodies: tuple[Body, ...] = ()
    keep: tuple[ItemRef, ...] = ()
    """Of ``done``: claims whose body has arrived whole (``Store.append_body``)."""
    waits: tuple[Wait, ...] = ()
    """Insert or replace; ``unwait`` and ``take`` delete, by run id and step id, before that."""
    unwait: tuple[tuple[str, str], ...] = ()
    take: tuple[tuple[str, str], ...] = ()
    """Waits that this commit ends, once and for all: they must be there."""
    cancellations: tuple[Cancellation, ...] = ()
    """To be stored."""
    more: tuple["Commit", ...] = ()
    """Commits that follow from this one: looked at only once this one has passed, each with its own checks."""
    otherwise: "Commit | None" = None
    """The outcome is that of the refused one all the same."""
    emit: tuple[SystemEvent, ...] = ()
    """Events of the platform's own (protocol 5.7), for the engine to turn into commits of ``more``; stores ignore them."""
    admit: tuple["Admission", ...] = ()
    """What has to let this commit pass: limits that are decided when an event comes in."""
    keys: tuple[RunKey, ...] = ()
    """Stored after ``key``, whatever is stored."""
    links: tuple[tuple[str, str], ...] = ()
    """(event's internal id, run id): the event belongs to the run too, as its own ``event_ids`` do."""
    observed: tuple[Observed, ...] = ()
    """What paced buckets learn (``flow.gates.observe``), before anything is claimed."""
    needs: str | None = None
    """A run whose bodies the results in ``steps`` name."""


class RateLimited(msgspec.Struct, frozen=True):
    """Passes while ``limit`` in each period have not passed in ``bucket``; ``instead``: what is written where it does not.

    ``once``: it stands for the function's idempotency.
    """

    bucket: str
    limit: int
    period_ms: int
    instead: Commit | None = None
    once: bool = False


class Single(msgspec.Struct, frozen=True):
    """Takes the bucket for ``run_id``. While another run has it: that one is cancelled, or this one refused."""

    bucket: str
    run_id: str
    cancels: bool
    instead: Commit | None = None


class Release(msgspec.Struct, frozen=True):
    """Always passes. The run gives the bucket back, if it still has it; steps that wait there for the run get ``memo``."""

    bucket: str
    run_id: str
    memo: bytes | None = None


class Joining(msgspec.Struct, frozen=True):
    """An event that goes into a run with others. ``run`` is the header for when it is the first; ``size``: bytes."""

    run: Run
    event_id: str
    key: RunKey
    ts: int
    size: int
    parent: str | None = None


class Debounced(msgspec.Struct, frozen=True):
    """Always passes. The event takes the place of the one that waits in the bucket, and the run waits on."""

    bucket: str
    join: Joining
    period_ms: int
    timeout_ms: int | None = None


class Batched(msgspec.Struct, frozen=True):
    """Always passes. The event joins those that wait in the bucket; the run begins when they are ``max_size``."""

    bucket: str
    join: Joining
    max_size: int
    timeout_ms: int


Admission = RateLimited | Single | Release | Debounced | Batched
