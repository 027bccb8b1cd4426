"""What a run is told from outside: that it is cancelled, begun anew, looked for, called back, that steps of it have ended."""

import asyncio
from collections.abc import Callable, Sequence

from stepwell.core.inputs import Cancelled, Checkpointed, Env, Input
from stepwell.core.model import RunView
from stepwell.core.reruns import CannotRerun
from stepwell.server.runtime.actors import Actors
from stepwell.server.runtime.committer import ANSWER_S, Committer, Unstorable, slow
from stepwell.server.runtime.gatherings import Gatherings
from stepwell.server.runtime.peers import has_call
from stepwell.server.runtime.starter import Starter
from stepwell.server.store.base import Outcome, Store
from stepwell.wire.constants import DISCOVERY
from stepwell.wire.ops import Op


class Telling:
    """Gives inputs to the actors of runs, and waits until they are recorded. ``env`` gives time and chance."""

    def __init__(
        self,
        store: Store,
        env: Callable[[], Env],
        starter: Starter,
        gatherings: Gatherings,
        actors: Actors,
        committer: Committer,
    ) -> None:
        self._store = store
        self._env = env
        self._starter = starter
        self._gatherings = gatherings
        self._actors = actors
        self._committer = committer

    async def tell(self, run_id: str, given: Input) -> bool:
        """Whether the input was recorded; False when the run is unknown, or it came too late. Raises StoreError."""
        actor = (await self._actors.get([run_id])).get(run_id)
        if actor is None:
            return False
        recorded: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._actors.give(actor, given, recorded)
        try:
            async with asyncio.timeout(ANSWER_S):
                return await recorded
        except TimeoutError:
            raise slow() from None

    async def cancel(self, run_id: str) -> bool:
        """End the run now; False when it is unknown or has ended."""
        actor = (await self._actors.get([run_id])).get(run_id)
        gathering = actor is not None and actor.view.run.gathering
        steps = await self._gatherings.waiting_steps(run_id) if gathering else ()
        return await self.tell(run_id, Cancelled("cancelled through the API", steps))

    async def checkpoint(self, run_id: str, ops: Sequence[Op], generation: int) -> str:
        """Record steps of a call in flight: "ok", "stale" (another call has taken over) or "unknown"."""
        actor = (await self._actors.get([run_id])).get(run_id)
        if actor is None:
            return "unknown"
        work = actor.inflight.get(DISCOVERY)
        if (
            generation
            and (work is None or work.item.claim != generation)
            and not await has_call(self._store, run_id, generation)
        ):
            return "stale"
        return "ok" if await self.tell(run_id, Checkpointed(ops)) else "stale"

    async def rerun(self, old: RunView, from_step: str | None, args: Sequence[object] | None) -> str:
        """Begin the run anew (``core.reruns``): the new run's id. Raises CannotRerun, StoreError."""
        run = old.run
        event = await self._store.get_event(run.event_ids[0]) if run.event_ids else None
        if event is None:
            raise CannotRerun(f"The event that started run {run.run_id} is gone.")
        view, commit = self._starter.again(self._env(), old, event, from_step, args)

        def applied(outcomes: list[Outcome]) -> None:
            if outcomes[0] is Outcome.APPLIED:
                self._actors.adopt(view)

        try:
            outcomes = await self._committer.write([commit], applied)
        except Unstorable as problem:
            raise CannotRerun(f"The run {problem}") from problem
        if outcomes[0] is Outcome.CONFLICT:
            raise CannotRerun(f"The run {run.run_id} is gone: it was older than runs are kept.")
        return view.run.run_id
