"""What every store must say of work that is held back. Part of the suite in ``store_conformance``."""

from stepwell.core.flow.holding import Waiter
from stepwell.core.model import Item, Limit, Pace, Reason, Run, WorkKind
from stepwell.core.outputs import Commit
from stepwell.server.store.base import ClaimRequest, Store

_ONE, _OTHER = Limit("fn:f:", 1), Limit("fn:g:", 1)
_SLOW = Pace("host:h", 1, 60_000)


def _item(number: int, *limits: Limit, paces: tuple[Pace, ...] = ()) -> Item:
    return Item(run_id=f"R{number}", key="step", kind=WorkKind.CALL, due_at=number, limits=limits, paces=paces)


class HeldConformance:
    """By what holds it, the one with the most first."""

    async def test_what_is_held_back_is_counted_by_what_holds_it(self, store: Store) -> None:
        """Also where several limits, of which one has no room; claimed work and work that may pass is not."""
        runs = [Commit(now=1, run=Run(run_id=f"R{n}", function_id=f"fn{n}", app_id="app")) for n in range(9)]
        items = [_item(n, _ONE) for n in range(4)]
        items += [_item(4, _ONE, _OTHER), _item(5, _OTHER), _item(6, paces=(_SLOW,)), _item(7, paces=(_SLOW,))]
        late = Item(run_id="R8", key="step", kind=WorkKind.CALL, due_at=90, limits=(_ONE,))
        await store.transact([*runs, Commit(now=1, put=(*items, late))], ClaimRequest("me", 100, 10))
        found = await store.held(10, 2)
        said = [(one.shut.by.bucket, one.shut.reason, one.count, [each.run_id for each in one.items]) for one in found]
        assert said == [
            ("fn:f:", Reason.CONCURRENCY, 4, ["R1", "R2"]),
            ("host:h", Reason.RATE, 1, ["R7"]),
        ]
        assert found[0].items[0] == Waiter("R1", "step", "fn1", 1)
        assert found[1].shut.until is not None
        assert [one.items for one in await store.held(10, 0)] == [(), ()]

    async def test_nothing_is_held_back_where_there_is_nothing(self, store: Store) -> None:
        """An empty store."""
        assert await store.held(10, 5) == []
