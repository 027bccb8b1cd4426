"""The verbs that write, as plain functions of the writer's thread: one transaction each."""

import json
import sqlite3
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from stepwell.core.flow.gates import WAKE_MS, Shut, gate_opens, has_room, shut_by
from stepwell.core.flow.holding import Behind, Holding, holdings
from stepwell.core.model import Item, ItemRef, Pause
from stepwell.core.outputs import Commit
from stepwell.server.store.base import AppRecord, ClaimRequest, Prune, Pruned, Transacted, WorkerRecord
from stepwell.server.store.codec import encode, stored_item
from stepwell.server.store.ledger import Draft, Held, ItemKey
from stepwell.server.store.plan import Plan
from stepwell.server.store.sqlite.arriving import begin, settle, sweep
from stepwell.server.store.sqlite.bodyfiles import BodyFiles
from stepwell.server.store.sqlite.ledger import read_ledger
from stepwell.server.store.sqlite.pick import pick
from stepwell.server.store.sqlite.plan import look_up
from stepwell.server.store.sqlite.prune import prune
from stepwell.server.store.sqlite.queries import SQL
from stepwell.server.store.sqlite.write import write


class Writer:
    """The writing connection and the ledger that goes with it. Used by one thread."""

    def __init__(self, conn: sqlite3.Connection, files: BodyFiles) -> None:
        self._conn = conn
        self._files = files
        with self._transaction():
            conn.execute(SQL.forget_leases)
            conn.execute(SQL.forget_leader)
        self._ledger = read_ledger(conn)
        for claim in self._ledger.arriving:
            files.recall(claim.body)
        files.settle((), tuple(self._ledger.stale))

    @contextmanager
    def _transaction(self) -> Generator[None]:
        self._conn.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._conn.execute("COMMIT")
        except BaseException:
            if self._conn.in_transaction:
                self._conn.execute("ROLLBACK")
            raise

    @contextmanager
    def _draft(self) -> Generator[Draft]:
        """A transaction whose effect on the ledger becomes true with its commit."""
        draft = Draft(self._ledger)
        with self._transaction():
            yield draft
            if draft.closed:
                settle(self._conn, draft, self._files)
        self._ledger.merge(draft)
        if draft.closed or draft.stale:
            self._files.settle([claim.body for claim in draft.closed], tuple(draft.stale))
        if draft.swept:
            self._files.forget(draft.swept)

    def transact(self, commits: Sequence[Commit], claim: ClaimRequest | None) -> Transacted:
        """See :meth:`Store.transact`."""
        with self._draft() as draft:
            plan = Plan(draft, look_up(self._conn, commits))
            outcomes = [plan.admit(commit) for commit in commits]
            claimed = pick(self._conn, plan, claim) if claim else []
            if claim:
                draft.forget_idle(claim.now)
            write(self._conn, plan, claim.owner if claim else "")
            now = claim.now if claim else max((commit.now for commit in commits), default=None)
            next_due = None if now is None else self._next_due(draft, now)
        return Transacted(outcomes, claimed, next_due)

    def _next_due(self, draft: Draft, now: int) -> int | None:
        row = self._conn.execute(SQL.next_due, (now,)).fetchone()
        due: int | None = row[0] if row else None
        if not self._ledger.timed and not draft.gates and draft.expiry is None:
            return due
        times = [] if due is None else [due]
        if draft.expiry is not None and draft.expiry > now:
            times.append(draft.expiry)
        for gate in draft.timed_gates():
            opens = gate_opens(gate, draft.flow, now)
            if opens > now and has_room(gate, draft.used):
                times.append(max(opens, now + WAKE_MS))
        return min(times, default=None)

    def waits(self, run_id: str, now: int) -> dict[str, Shut]:
        """See :meth:`Store.waits`."""
        items = [stored_item(*row) for row in self._conn.execute(SQL.due_of_run, (run_id, now))]
        found = ((item.key, self._shut(item, now)) for item in items)
        return {key: shut for key, shut in found if shut is not None}

    def held(self, groups: Sequence[Behind], now: int, limit: int) -> list[Holding]:
        """See :meth:`Store.held`."""
        return holdings(groups, lambda item: self._shut(item, now), limit)

    def _shut(self, item: Item, now: int) -> Shut | None:
        ledger = self._ledger
        return shut_by(item, ledger.used.__getitem__, ledger.flows.get, now, ledger.holds.get(item.run_id, ()))

    def heartbeat(self, owner: str, expires_at: int) -> None:
        """See :meth:`Store.heartbeat`."""
        with self._transaction():
            self._conn.execute(SQL.put_lease, (owner, expires_at))

    def rescue(self, now: int) -> int:
        """See :meth:`Store.rescue`."""
        with self._draft() as draft:
            self._conn.execute(SQL.end_leases, (now,))
            alive = {owner for (owner,) in self._conn.execute(SQL.leases)}
            lost = [(where, held) for where, held in self._ledger.everything() if held.owner not in alive]
            self._free(draft, lost, rescues=1)
            sweep(self._conn, draft, self._files, self._ledger.stale)
        return len(lost)

    def release(self, refs: Sequence[ItemRef]) -> None:
        """See :meth:`Store.release`."""
        held: dict[ItemKey, Held] = {}
        for ref in refs:
            claim = self._ledger.owned_by(ref)
            if claim is not None:
                held[ref.run_id, ref.key] = claim
        if held:
            with self._draft() as draft:
                self._free(draft, list(held.items()), rescues=0)

    def prune(self, asked: Prune) -> Pruned:
        """See :meth:`Store.prune`."""
        with self._draft() as draft:
            sweep(self._conn, draft, self._files, self._ledger.stale, asked.limit)
            return prune(self._conn, draft, asked)

    def begin_body(self, claim: ItemRef) -> bool:
        """Note that the holder of ``claim`` stores a body: before its file is made. False once it is not held any longer."""
        if self._ledger.owned_by(claim) is None:
            return False
        if claim not in self._ledger.arriving:
            with self._draft() as draft:
                begin(self._conn, draft, claim)
        self._files.begin(claim.body)
        return True

    def _free(self, draft: Draft, items: list[tuple[ItemKey, Held]], rescues: int) -> None:
        for where, held in items:
            draft.free(where, held)
        if items:
            self._conn.execute(SQL.free_items, (rescues, json.dumps([held.seq for _, held in items])))

    def drop_cancellation(self, cancellation_id: str) -> bool:
        """See :meth:`Store.drop_cancellation`."""
        with self._transaction():
            return self._conn.execute(SQL.drop_cancellations, (json.dumps([cancellation_id]),)).rowcount > 0

    def beat(self, worker: WorkerRecord, forget: int) -> None:
        """See :meth:`Store.beat`."""
        with self._transaction():
            self._conn.execute(SQL.put_worker, (worker.worker_id, worker.beat_at, encode(worker)))
            self._conn.execute(SQL.forget_workers, (forget, worker.worker_id))

    def drop_worker(self, worker_id: str) -> None:
        """See :meth:`Store.drop_worker`."""
        with self._transaction():
            self._conn.execute(SQL.drop_worker, (worker_id,))

    def lead(self, owner: str, now: int, expires_at: int) -> bool:
        """See :meth:`Store.lead`."""
        with self._transaction():
            asked = {"owner": owner, "now": now, "expires_at": expires_at}
            return bool(self._conn.execute(SQL.lead, asked).fetchall())

    def resign(self, owner: str) -> None:
        """See :meth:`Store.resign`."""
        with self._transaction():
            self._conn.execute(SQL.resign, (owner,))

    def save_pause(self, pause: Pause) -> None:
        """See :meth:`Store.save_pause`."""
        with self._transaction():
            self._conn.execute(SQL.put_pause, (pause.function_id, pause.paused_at))

    def drop_pause(self, function_id: str) -> bool:
        """See :meth:`Store.drop_pause`."""
        with self._transaction():
            return self._conn.execute(SQL.drop_pause, (function_id,)).rowcount > 0

    def save_app(self, app: AppRecord) -> None:
        """See :meth:`Store.save_app`."""
        with self._transaction():
            self._conn.execute(SQL.put_app, (app.app_id, encode(app)))

    def close(self) -> None:
        """Forget what is deleted, fold the log into the file, and close it."""
        try:
            if self._ledger.stale:
                with self._draft() as draft:
                    sweep(self._conn, draft, self._files, self._ledger.stale)
            self._conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error:
            pass  # the log stays beside the file, and is read at the next opening
        finally:
            self._conn.close()
