"""Locks and reads what a transaction's commits are checked against, once for all of them."""

from collections.abc import Iterable, Sequence

from stepwell.core.flow.admission import START, Gathering, State
from stepwell.core.invokes import resume
from stepwell.core.model import RunKey
from stepwell.core.outputs import Commit
from stepwell.core.waits import SINGLETON
from stepwell.server.store.codec import decode_admission, decode_run, run_of
from stepwell.server.store.ledger import ItemKey
from stepwell.server.store.plan import Known, everything
from stepwell.server.store.postgres.connect import Conn
from stepwell.server.store.postgres.locks import Kind, lock, names_of, run_in
from stepwell.server.store.postgres.queries import SQL, columns
from stepwell.server.store.postgres.session import Session
from stepwell.server.store.wait_plan import WaitPlan


async def look_up(session: Session, given: Sequence[Commit]) -> Known:
    """What the plan has to know; nobody else changes it before this transaction ends."""
    commits = [one for commit in given for one in everything(commit)]
    states = await _admissions(session.conn, commits)
    names = {name for commit in commits for name in names_of(commit)}
    names.update(f"run:{run_id}" for state in states.values() for run_id in _runs_in(state))
    await lock(session.conn, Kind.STATE, names)
    known = Known(await _waits(session.conn, commits), admissions=states)
    await _runs_and_keys(session.conn, commits, known)
    await _claims(session, commits, states.values())
    seen = [one.pace for commit in commits for one in commit.observed]
    if seen or session.ledger.holds or any(held.buckets for _, held in session.ledger.everything()):
        await session.lock_flow()
        await session.know_buckets(seen)
    return known


async def _admissions(conn: Conn, commits: Iterable[Commit]) -> dict[str, State]:
    buckets = sorted({admission.bucket for commit in commits for admission in commit.admit})
    if not buckets:
        return {}
    await lock(conn, Kind.ADMISSION, buckets)
    return {bucket: decode_admission(state) for bucket, state in await conn.fetch(SQL.admissions, buckets)}


def _runs_in(state: State) -> set[str]:
    """The runs that a verdict on the bucket may write to."""
    found = {parent.partition(".")[0] for parent in state.parents} if isinstance(state, Gathering) else set[str]()
    run_id = run_in(state)
    return found if run_id is None else {*found, run_id}


async def _waits(conn: Conn, commits: Sequence[Commit]) -> WaitPlan:
    plan = WaitPlan()
    taken = [where for commit in commits for where in commit.take]
    if taken:
        rows = await conn.fetch(SQL.stored_waits, *columns(taken))
        plan.stored.update((run_id, step_id) for run_id, step_id in rows)
    signals = [wait.signal for commit in commits for wait in commit.waits if wait.signal is not None]
    if signals:
        rows = await conn.fetch(SQL.signal_holders, signals)
        plan.holders.update({signal: (run_id, step_id) for signal, run_id, step_id in rows})
    names = list({commit.waited for commit in commits if commit.waited is not None})
    if names:
        plan.names.update(name for (name,) in await conn.fetch(SQL.waited, names))
    return plan


async def _runs_and_keys(conn: Conn, commits: Sequence[Commit], known: Known) -> None:
    needed = {commit.needs for commit in commits if commit.needs is not None}
    run_ids = list(needed.union(commit.run.run_id for commit in commits if commit.run is not None))
    if run_ids:
        known.versions.update(dict(await conn.fetch(SQL.versions, run_ids)))
    keys = list({(commit.key.function_id, commit.key.key) for commit in commits if commit.key is not None})
    if keys:
        for found in await conn.fetch(SQL.keys, *columns(keys)):
            key = RunKey(*found)
            known.keys[key.function_id, key.key] = key
    held = list({key.run_id for key in known.keys.values() if key.run_id is not None})
    if held:
        known.holders.update({run_id: decode_run(data) for run_id, data in await conn.fetch(SQL.headers, held)})


async def _claims(session: Session, commits: Sequence[Commit], states: Iterable[State]) -> None:
    """Lock the items that the commits end, replace or touch; all of a run that drops its own."""
    drops = {run_of(commit) for commit in commits if commit.drop}
    await session.lock_runs(sorted(drops))
    places = {place for commit in commits for place in _places(commit)}
    places.update(place for state in states for place in _places_of(state))
    await session.lock_items(sorted(place for place in places if place[0] not in drops))


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
