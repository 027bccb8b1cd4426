"""Which items a transaction claims: those due, oldest first, that their limits admit.

The same four places as everywhere: what the transaction itself puts, stored items that are ready, those behind gates that have
opened, and parked ones that expire. Rows that another transaction has locked are passed over: it claims or changes them.
"""

from collections import deque
from collections.abc import Iterable, Sequence

from stepwell.core.flow.gates import Gate
from stepwell.core.model import Item
from stepwell.server.store.base import ClaimRequest
from stepwell.server.store.codec import stored_item
from stepwell.server.store.ledger import gate_of, gate_text
from stepwell.server.store.picking import Candidate, Picker
from stepwell.server.store.plan import Plan
from stepwell.server.store.postgres.look import Found, Ready
from stepwell.server.store.postgres.queries import SQL
from stepwell.server.store.postgres.session import Session

_PAGE = 64
_START = (-(2**62), -(2**62))


class _Source:
    """Candidates of one kind, oldest first; read in pages, no further than needed. ``gate``: those behind it, while it is
    open."""

    def __init__(
        self, walk: "_Walk", sql: str, value: str | int, gate: Gate | None = None, ready: Iterable[Candidate] = ()
    ) -> None:
        self._walk = walk
        self._sql = sql
        self._value = value
        self._gate = gate
        self._page = deque(ready)
        self._last = _START
        self._more = bool(sql)
        """Whether there may be more to read."""

    async def head(self) -> Candidate | None:
        """The oldest one left."""
        if self._gate is not None and not self._walk.picker.is_open(self._gate):
            return None
        while not self._page and self._more:
            await self._read()
        if self._page:
            return self._page[0]
        if self._gate is not None:
            self._walk.session.draft.gates.setdefault(self._gate, False)
        return None

    def pop(self) -> None:
        """It has been dealt with."""
        self._page.popleft()

    async def _read(self) -> None:
        walk = self._walk
        size = walk.left if self._gate is None else min(_PAGE, walk.left)
        await self.take(await walk.session.conn.fetch(self._sql, self._value, *self._last, size), size)

    async def take(self, rows: Sequence[Ready], size: int) -> None:
        """A page that was read for ``size`` rows."""
        walk = self._walk
        self._more = len(rows) == size
        for seq, run_id, key, due_at, claim, attempt, rescues, data, gate in rows:
            self._last = (due_at, seq)
            if not walk.plan.replaces((run_id, key)):
                item = stored_item(data, claim, walk.plan.attempt_of((run_id, key), attempt), rescues)
                behind = gate_of(gate) if self._gate is None and gate is not None else self._gate
                self._page.append(Candidate(due_at, seq, item, None, behind))
        await walk.session.know([found.item for found in self._page])


class _Walk:
    def __init__(self, session: Session, plan: Plan, request: ClaimRequest, found: Found) -> None:
        self.session = session
        self.plan = plan
        self._found = found
        self.picker = Picker(plan, request)
        self._request = request

    @property
    def left(self) -> int:
        """How many more are asked for."""
        return max(1, self._request.limit - len(self.picker.claimed))

    async def run(self) -> list[Item]:
        sources = await self._sources()
        while not self.picker.full:
            heads = [(found, source) for source in sources if (found := await source.head()) is not None]
            if not heads:
                break
            found, source = min(heads, key=lambda head: (head[0].due_at, head[0].seq))
            source.pop()
            self.picker.offer(found)
        return self.picker.claimed

    async def _sources(self) -> list[_Source]:
        now = self._request.now
        fresh = self.picker.fresh()
        await self.session.know([found.item for found in fresh])
        stored = _Source(self, SQL.ready_items, now)
        await stored.take(self._found.ready, self._request.limit)
        sources = [_Source(self, "", 0, ready=fresh), stored]
        if self._found.gated or self._changed:
            await self.session.lock_flow()
            sources += await self._parked()
        return sources

    @property
    def _changed(self) -> set[str]:
        """Buckets whose gates may have opened through this transaction."""
        return self.session.draft.dirty | self.session.observed

    async def _parked(self) -> list[_Source]:
        now = self._request.now
        rows = await self.session.conn.fetch(SQL.opening_gates, now, sorted(self._changed))
        gates = [gate_of(text) for (text,) in rows]
        await self.session.know_buckets(one for gate in gates for one in (*gate.limits, *gate.paces))
        self.session.looked.update(gates)
        opened = [gate for gate in gates if self.picker.is_open(gate)]
        return [
            _Source(self, SQL.expired_items, now),
            *(_Source(self, SQL.parked_items, gate_text(gate), gate) for gate in opened),
        ]


async def pick(session: Session, plan: Plan, request: ClaimRequest, found: Found) -> list[Item]:
    """Claim items in the plan; what is due and held back is parked in it."""
    return await _Walk(session, plan, request, found).run() if request.limit > 0 else []
