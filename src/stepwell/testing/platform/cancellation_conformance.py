"""What every store must do about cancellations of many runs. Part of the suite in ``store_conformance``."""

from stepwell.core.model import Cancellation, Run, RunStatus
from stepwell.core.outputs import Commit
from stepwell.server.store.base import RunQuery, Store


def a_cancellation(number: int, condition: str | None = None) -> Cancellation:
    """One of the function ``fn``."""
    return Cancellation(
        cancellation_id=f"C{number}",
        created_at=number,
        app_id="app",
        function_id="fn",
        started_before=9,
        condition=condition,
    )


class CancellationConformance:
    """Kept until they are dropped; the runs that they may end are found."""

    async def test_cancellations_are_kept_until_they_are_dropped(self, store: Store) -> None:
        """The newest first; also over reopening."""
        one, two = a_cancellation(1, "event.data.x == 'secret'"), a_cancellation(2)
        await store.transact([Commit(now=1, cancellations=(one,), more=(Commit(now=1, cancellations=(two,)),))])
        await store.close()
        await store.open()
        assert await store.cancellations() == [two, one]
        assert await store.drop_cancellation("C2")
        assert not await store.drop_cancellation("C2")
        assert await store.cancellations() == [one]

    async def test_active_runs_of_a_function_are_listed(self, store: Store) -> None:
        """Those that have not ended, between two ids, newest first; one that ends is listed no more."""

        def run(number: int, status: RunStatus, function_id: str = "fn", version: int = 0) -> Run:
            return Run(run_id=f"R{number}", function_id=function_id, app_id="app", status=status, version=version)

        states = [RunStatus.QUEUED, RunStatus.COMPLETED, RunStatus.RUNNING, RunStatus.FAILED, RunStatus.QUEUED]
        await store.transact([Commit(now=1, run=run(number, status)) for number, status in enumerate(states)])
        await store.transact([Commit(now=1, run=run(7, RunStatus.RUNNING, "other"))])

        async def listed(**more: str | int) -> list[str]:
            query = RunQuery(function_id="fn", active=True, **more)  # pyright: ignore[reportArgumentType]
            return [found.run_id for found in await store.list_runs(query)]

        assert await listed() == ["R4", "R2", "R0"]
        assert await listed(before="R4") == ["R2", "R0"]
        assert await listed(after="R0", limit=1) == ["R4"]
        assert await listed(status="running") == ["R2"]
        await store.transact([Commit(now=1, run=run(2, RunStatus.CANCELLED, version=1), expected=0)])
        assert await listed() == ["R4", "R0"]
