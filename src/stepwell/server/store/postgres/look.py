"""Locks and reads what a transaction is decided on: a statement for the locks, one for the rest, for all of its commits."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from stepwell.core.flow.admission import START, Gathering, State
from stepwell.core.invokes import resume
from stepwell.core.model import RunKey
from stepwell.core.outputs import Commit
from stepwell.core.waits import SINGLETON
from stepwell.server.store.base import ClaimRequest
from stepwell.server.store.codec import decode_admission, decode_run, run_of
from stepwell.server.store.ledger import ItemKey
from stepwell.server.store.plan import Known, everything
from stepwell.server.store.postgres.connect import Conn
from stepwell.server.store.postgres.locks import Kind, lock, lock_sql, names_of, run_in
from stepwell.server.store.postgres.queries import SQL, columns, texts
from stepwell.server.store.postgres.session import Session
from stepwell.server.store.wait_plan import WaitPlan

Ready = tuple[int, str, str, int, int, int, int, bytes, str | None]
"""Of an item: seq, run_id, key, due_at, claim, attempt, rescues, data, gate."""


@dataclass(slots=True)
class Found:
    """What is stored. ``known``: what commits are checked against; nobody else changes it before this transaction ends."""

    known: Known
    ready: list[Ready]
    """Items that are due and that nobody has, the oldest first, as many as are to be claimed: locked."""
    versions: dict[str, int]
    """Of their runs."""
    passed_over: bool
    """Whether there are more of them: behind those, or locked by others."""
    gated: bool
    """Whether a gate may open, or a parked item has expired."""
    next_due: int | None
    """When the next item is due that waits for its time; ``opens``: the next gate opens; ``expires``: a parked item does."""
    opens: int | None
    expires: int | None


async def look_up(session: Session, given: Sequence[Commit], claim: ClaimRequest | None, now: int) -> Found:
    """Begin the transaction, take its locks, and read. ``now``: what is due then is due."""
    commits = [one for commit in given for one in everything(commit)]
    states = await _begin(session.conn, commits)
    drops = sorted({run_of(commit) for commit in commits if commit.drop})
    limit = 0 if claim is None else max(0, claim.limit)
    asked = (*_asked(commits), *_items(commits, states.values(), set(drops)), drops, *_waits(commits))
    (row,) = await session.conn.fetch(SQL.look, *map(texts, asked), now, limit)
    session.take_rows(row["claims"])
    session.take_dropped(drops, row["dropped"], row["holds"])
    found = _found(row, states)
    seen = [one.pace for commit in commits for one in commit.observed]
    if seen or session.ledger.holds or any(held.buckets for _, held in session.ledger.everything()):
        await session.lock_flow()
        await session.know_buckets(seen)
    return found


async def _begin(conn: Conn, commits: Sequence[Commit]) -> dict[str, State]:
    """What the admission buckets hold, that commits ask to pass."""
    buckets = sorted({admission.bucket for commit in commits for admission in commit.admit})
    names = {name for commit in commits for name in names_of(commit)}
    if not buckets:
        await conn.execute(SQL.begin + lock_sql(Kind.STATE, names))
        return {}
    await conn.execute(SQL.begin + lock_sql(Kind.ADMISSION, buckets))
    states = {bucket: decode_admission(state) for bucket, state in await conn.fetch(SQL.admissions, buckets)}
    names.update(f"run:{run_id}" for state in states.values() for run_id in _runs_in(state))
    await lock(conn, Kind.STATE, names)
    return states


def _asked(commits: Sequence[Commit]) -> tuple[list[str], ...]:
    """Runs, and keys: of which function, and the key."""
    needed = {commit.needs for commit in commits if commit.needs is not None}
    runs = list(needed.union(commit.run.run_id for commit in commits if commit.run is not None))
    keys = {(commit.key.function_id, commit.key.key) for commit in commits if commit.key is not None}
    return runs, *columns(keys, 2)


def _items(commits: Sequence[Commit], states: Iterable[State], drops: set[str]) -> list[list[str]]:
    """The items that the commits end, replace or touch; without those of runs that drop all of theirs."""
    places = {place for commit in commits for place in _places(commit)}
    places.update(place for state in states for place in _places_of(state))
    return columns(sorted(place for place in places if place[0] not in drops), 2)


def _waits(commits: Sequence[Commit]) -> tuple[list[str], ...]:
    """Waits that are taken, signals that are waited for, names that something has to wait for."""
    taken = {where for commit in commits for where in commit.take}
    signals = list({wait.signal for commit in commits for wait in commit.waits if wait.signal is not None})
    names = list({commit.waited for commit in commits if commit.waited is not None})
    return *columns(taken, 2), signals, names


def _found(row: Any, states: dict[str, State]) -> Found:
    waits = WaitPlan(
        set(row["waits"]), {signal: (run, step) for signal, run, step in row["signals"]}, set(row["waited"])
    )
    known = Known(waits, versions=dict(row["versions"]), admissions=states)
    known.keys.update(((key[0], key[1]), RunKey(*key)) for key in row["keys"])
    known.holders.update((run_id, decode_run(data)) for run_id, data in row["holders"])
    return Found(
        known,
        ready=row["ready"],
        versions=dict(row["ready_versions"]),
        passed_over=row["due"] > len(row["ready"]),
        gated=row["gated"],
        next_due=row["next_due"],
        opens=row["opens"],
        expires=row["expires"],
    )


def _runs_in(state: State) -> set[str]:
    """The runs that a verdict on the bucket may write to."""
    found = {parent.partition(".")[0] for parent in state.parents} if isinstance(state, Gathering) else set[str]()
    run_id = run_in(state)
    return found if run_id is None else {*found, run_id}


def _places(commit: Commit) -> set[ItemKey]:
    found = {(record.run_id, record.key) for record in (*commit.done, *commit.put)}
    if commit.touch:
        run_id = run_of(commit)
        found.update((run_id, key) for key, _ in commit.touch)
    return found


def _places_of(state: State) -> set[ItemKey]:
    """The items that a verdict on the bucket may replace."""
    run_id = run_in(state)
    if run_id is None:
        return set()
    found = {(run_id, START), (run_id, SINGLETON)}
    if isinstance(state, Gathering):
        resumed = [resume(parent, b"null", 0) for parent in state.parents]
        found.update((item.run_id, item.key) for commit in resumed for item in commit.put)
    return found
