"""The verbs that write, each in one database transaction."""

from collections.abc import Sequence

from stepwell.core.flow.gates import WAKE_MS
from stepwell.core.model import Item, ItemRef, WorkKind
from stepwell.core.outputs import Commit
from stepwell.server.store.base import CANCELLATIONS, WORK, ClaimRequest, Data, Outcome, Transacted
from stepwell.server.store.plan import Plan
from stepwell.server.store.postgres.connect import Conn
from stepwell.server.store.postgres.look import Found, look_up
from stepwell.server.store.postgres.pick import pick
from stepwell.server.store.postgres.queries import SQL
from stepwell.server.store.postgres.session import FAR, Session
from stepwell.server.store.postgres.write import write

_NO_RUN = frozenset({WorkKind.DELIVER, WorkKind.CANCEL_RUNS})
"""Items that belong to no run."""


async def transact(conn: Conn, commits: Sequence[Commit], claim: ClaimRequest | None) -> Transacted:
    """See :meth:`Store.transact`. Begins the transaction."""
    session = Session(conn)
    now = claim.now if claim else max((commit.now for commit in commits), default=0)
    found = await look_up(session, commits, claim, now)
    plan = Plan(session.draft, found.known)
    outcomes = [plan.admit(commit) for commit in commits]
    session.observed.update(session.draft.flows)
    claimed = await pick(session, plan, claim, found) if claim else []
    claimed = await write(session, plan, claim.owner if claim else "", claimed, now)
    result = Transacted(outcomes, claimed, None, await _versions(conn, plan, found, claimed))
    if commits and _tells_of_others(session, plan, outcomes):
        await conn.execute(SQL.mark)
    if plan.cancellations:
        await conn.execute(SQL.notify, CANCELLATIONS)
    if claim or commits:
        full = claim is None or len(claimed) >= claim.limit
        left = await _look_on(session, result, now) if session.flow_locked else _left(plan, found, result, now)
        if left and not full:  # another transaction had it locked
            result.next_due = min(now + WAKE_MS, result.next_due or FAR)
        if left and full and (plan.puts or session.draft.dirty or claim is not None):
            await conn.execute(SQL.notify, WORK)
    return result


def _tells_of_others(session: Session, plan: Plan, outcomes: Sequence[Outcome]) -> bool:
    """Whether the answer is that something was stored before.

    It may be stored here, and not yet on the standby that its own transaction waits for. With a mark in the log this one
    waits for the standby as well, so that nothing is confirmed that a fail-over could lose.
    """
    wrote = plan.runs or plan.events or plan.puts or plan.deleted
    return session.repeats or not wrote or any(outcome is not Outcome.APPLIED for outcome in outcomes)


async def _versions(conn: Conn, plan: Plan, found: Found, claimed: Sequence[Item]) -> dict[str, int]:
    """As this transaction leaves them: somebody else may have moved a run on since this process saw it."""
    run_ids = {item.run_id for item in claimed if item.kind not in _NO_RUN}
    known = {run_id: version for run_id, version in found.versions.items() if run_id in run_ids}
    known |= {run_id: plan.known.versions[run_id] for run_id in run_ids if run_id in plan.known.versions}
    missing = sorted(run_ids - known.keys())
    return known | dict(await conn.fetch(SQL.versions, missing)) if missing else known


def _left(plan: Plan, found: Found, result: Transacted, now: int) -> bool:
    """Find ``next_due`` in what was read and in what the plan puts; whether there is more that may be claimed now."""
    open_puts = [put.item.due_at for put in plan.puts.values() if put.owner is None and put.gate is None]
    times = [found.next_due, found.expires, *(due for due in open_puts if due > now)]
    if found.opens is not None and found.opens < FAR:
        times.append(max(found.opens, now + WAKE_MS))
    result.next_due = min((time for time in times if time is not None), default=None)
    ready = sum(not plan.replaces((run_id, key)) for _, run_id, key, *_ in found.ready)
    return found.passed_over or ready > len(plan.claimed) or any(due <= now for due in open_puts)


async def _look_on(session: Session, result: Transacted, now: int) -> bool:
    """The same, where gates have been changed: they are read again."""
    ((due, opens, expires, left),) = await session.conn.fetch(SQL.next_due, now)
    times = [time for time in (due, expires) if time is not None]
    if opens is not None and opens < FAR:
        times.append(max(opens, now + WAKE_MS))
    result.next_due = min(times, default=None)
    return left


async def rescue(conn: Conn, now: int) -> int:
    """See :meth:`Store.rescue`. At most 2,000 items; those that others change at this moment are left to the next."""
    session = Session(conn)
    await conn.execute(SQL.end_leases, now)
    lost = session.take_rows(await conn.fetch(SQL.lock_lost_items))
    await session.free(lost, rescues=1)
    if lost:
        await conn.execute(SQL.notify, WORK)
    return len(lost)


async def release(conn: Conn, refs: Sequence[ItemRef]) -> None:
    """See :meth:`Store.release`."""
    session = Session(conn)
    found = await session.lock_items(sorted({(ref.run_id, ref.key) for ref in refs}))
    mine = [(where, held) for where, held in found if ItemRef(*where, held.claim) in refs]
    await session.free(mine, rescues=0)
    if mine:
        await conn.execute(SQL.notify, WORK)


async def append_body(conn: Conn, claim: ItemRef, start: int, data: Data, last: bool) -> bool:
    """See :meth:`Store.append_body`. Only the last piece is synced, and all before it."""
    if not await conn.fetch(SQL.hold_claim, claim.run_id, claim.key, claim.claim):
        return False
    if not last:
        await conn.execute("SET LOCAL synchronous_commit = off")
    if start == 0:
        await conn.execute(SQL.drop_pieces, [claim.body])
        await conn.execute(SQL.put_arriving, claim.body)
    await conn.execute(SQL.put_piece, claim.body, start, data)
    return True
