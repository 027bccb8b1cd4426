"""Works on claimed items: calls apps, performs requests, lets timers fire; the outcome goes to the run as an input."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from stepwell.core.fetchsteps import attempt_of, late, lost
from stepwell.core.flow.admission import waiting_steps_of
from stepwell.core.inputs import Answered, Began, Cancelled, Fetched, Fired, Held, Input
from stepwell.core.model import Item, ItemRef, Run, WorkKind
from stepwell.core.outputs import Commit
from stepwell.core.propagation import PassedOn
from stepwell.core.reruns import edited_inputs
from stepwell.server.caller.base import Caller
from stepwell.server.clock import Clock
from stepwell.server.fetcher.base import Fetcher
from stepwell.server.fetcher.tee import Tee, TeeingFetcher
from stepwell.server.runtime.actors import Actor, Actors, Work, broken
from stepwell.server.runtime.cancelling import Cancelling
from stepwell.server.runtime.committer import Committer
from stepwell.server.runtime.deliveries import Deliveries
from stepwell.server.runtime.gatherings import Gatherings
from stepwell.server.runtime.loops import end
from stepwell.server.runtime.spill import AT_ONCE, Spill
from stepwell.server.store.base import Store, StoreError
from stepwell.server.streams import Streams
from stepwell.wire.calls import CallRequest
from stepwell.wire.constants import MAX_STATE_BYTES
from stepwell.wire.fetch import FetchOutcome, FetchRequest

logger = logging.getLogger("stepwell.engine")

_NO_WORK = frozenset({WorkKind.TIMER, WorkKind.RESUME, WorkKind.FAIL, WorkKind.CANCEL})
_HOLD_MS = 2_000
_RETRY_S = 1.0


class Routes(Protocol):
    """Which caller reaches an app, and under which address a function is called."""

    def route(self, app_id: str, function_id: str) -> tuple[Caller, str, str] | None:
        """The caller, the function's url and its UUID; None while the app is not connected."""
        ...


class Worker:
    """At most ``capacity`` items in flight at once in this process."""

    def __init__(
        self,
        store: Store,
        fetcher: Fetcher,
        routes: Routes,
        clock: Clock,
        new_id: Callable[[], str],
        deliveries: Deliveries,
        cancelling: Cancelling,
        capacity: int = 2_000,
    ) -> None:
        self._store = store
        self._storing = asyncio.Semaphore(AT_ONCE)
        self._fetcher = fetcher
        self._teeing = fetcher if isinstance(fetcher, TeeingFetcher) else None
        self._deliveries = deliveries
        self._cancelling = cancelling
        self._routes = routes
        self._clock = clock
        self._new_id = new_id
        self._capacity = capacity
        self._tasks: dict[asyncio.Task[None], Item] = {}
        self._cold = 0
        """Items whose runs are being loaded."""
        self.streams = Streams()
        self.actors: Actors
        self.committer: Committer
        self.gatherings: Gatherings
        self.propagation = PassedOn()
        self._works = {WorkKind.FETCH: self._fetch, WorkKind.START: self._start, WorkKind.CANCEL: self._cancel}

    def room(self) -> int:
        """How many more items can be taken."""
        return self._capacity - len(self._tasks) - len(self._deliveries) - self._cold

    def busy(self) -> int:
        """How many items are being worked on."""
        return self._capacity - self.room()

    def take(self, items: list[Item]) -> None:
        """Begin with items that were just claimed."""
        cold: list[Item] = []
        for item in items:
            actor = self.actors.peek(item.run_id)
            if item.kind is WorkKind.DELIVER:
                self._deliver(item)
            elif item.kind is WorkKind.CANCEL_RUNS:
                self._spawn(self._cancelling.work(item), item)
            elif actor is None or not actor.current:
                cold.append(item)
            else:
                self._begin(actor, item)
        if cold:
            self._cold += len(cold)
            self._spawn(self._warm(cold), cold[0])

    async def wait_idle(self, seconds: float) -> bool:
        """Wait until nothing is in flight; False when time ran out."""
        end = asyncio.get_running_loop().time() + seconds
        while self._tasks:
            left = end - asyncio.get_running_loop().time()
            if left <= 0:
                return False
            await asyncio.wait(self._tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        return True

    async def abort(self) -> None:
        """Stop everything in flight."""
        await end(list(self._tasks))

    def _deliver(self, item: Item) -> None:
        if self._deliveries.take(item):
            self._spawn(self._deliveries.run(), item)

    async def _warm(self, items: list[Item]) -> None:
        try:
            await self._take_cold(items)
        finally:
            full = self.room() <= 0
            self._cold -= len(items)
            if full:
                self.committer.wake()

    async def _take_cold(self, items: list[Item]) -> None:
        while True:
            try:
                actors = await self.actors.get(list(dict.fromkeys(item.run_id for item in items)))
                break
            except StoreError as problem:
                logger.error("%s", problem)
            except Exception:
                if len(items) > 1:  # one of them can not be read: it must not hold up the rest
                    for item in items:
                        self._spawn(self._take_cold([item]), item)
                    return
                logger.exception("could not load run %s", items[0].run_id, extra={"run_id": items[0].run_id})
            await asyncio.sleep(_RETRY_S)
        for item in items:
            actor = actors.get(item.run_id)
            if actor is None:
                self._discard(item)
            else:
                self._begin(actor, item)

    def _discard(self, item: Item) -> None:
        """The item's run has ended, or is gone."""
        ref = ItemRef(item.run_id, item.key, item.claim)
        self.committer.submit_until_stored(Commit(now=self._clock.now(), done=(ref,)))

    def _begin(self, actor: Actor, item: Item) -> None:
        step = actor.view.steps.get(item.key)
        if actor.view.run.status.ended or (step is not None and step.ended):
            self._discard(item)
            return
        gathering = item.kind is WorkKind.CANCEL and actor.view.run.gathering
        if item.kind in _NO_WORK and not gathering:
            self.actors.give(actor, Fired(item))
            return
        reason = None if gathering else self._cancelling.reason(actor.view)
        if reason is not None:
            waiting = waiting_steps_of(item) if item.kind is WorkKind.START else ()
            self.actors.give(actor, Cancelled(reason, waiting))
            return
        task = self._spawn(self._run(actor, item), item)
        actor.inflight[item.key] = Work(item, task)

    def _spawn(self, work: Coroutine[Any, Any, None], item: Item) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[task] = item
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        full = self.room() <= 0
        self._tasks.pop(task, None)
        if full:
            self.committer.wake()
        if not task.cancelled() and task.exception() is not None:
            logger.error("a work item failed in the platform", exc_info=task.exception())

    async def _run(self, actor: Actor, item: Item) -> None:
        try:
            given = await self._works.get(item.kind, self._call)(actor, item)
        except Exception as problem:
            named = {"run_id": item.run_id, "step_id": item.key}
            logger.exception("a work item of run %s failed in the platform", item.run_id, extra=named)
            given = broken(item, problem)
        recorded = self.streams.recording((item.run_id, item.key)) if item.kind is WorkKind.FETCH else None
        self.actors.give(actor, given, recorded)

    async def _start(self, actor: Actor, item: Item) -> Input:
        """The time of a run that waited for more events has come."""
        return await self.gatherings.ready(actor.view, item) or self._held(actor.view.run, item)

    async def _cancel(self, actor: Actor, item: Item) -> Input:
        """A run that waits for more events ends before it has begun."""
        return await self.gatherings.cancelled(item)

    def _held(self, run: Run, item: Item) -> Held:
        reason = f"the app {run.app_id!r} is not connected: start it, or sync it again"
        return Held(item, _HOLD_MS, reason, self._clock.now())

    async def _fetch(self, actor: Actor, item: Item) -> Input:
        started = self._clock.now()
        request = attempt_of(item, actor.view, started)
        outcome = lost(item, request) or late(item, started) or await self._perform(request, item, started)
        return Fetched(item, outcome, started)

    async def _perform(self, request: FetchRequest, item: Item, started: int) -> FetchOutcome:
        """One attempt, its body teed to whoever reads along, and stored while it arrives when it is large."""
        if self._teeing is None:
            return await self._fetcher.fetch(request, item.attempt)
        key = (item.run_id, item.key)
        claim = ItemRef(item.run_id, item.key, item.claim)
        tee = Tee(self.streams, key, request, started, lambda: Spill(self._store, claim, self._storing))
        try:
            outcome = await self._teeing.fetch_teed(request, item.attempt, tee)
        except BaseException:
            self.streams.drop(key)
            raise
        tee.end(outcome)
        return outcome

    async def _call(self, actor: Actor, item: Item) -> Input:
        view, run = actor.view, actor.view.run
        route = self._routes.route(run.app_id, run.function_id)
        if route is None:
            return self._held(run, item)
        caller, url, uuid = route
        sent = len(view.stack)
        if (work := actor.inflight.get(item.key)) is not None:
            work.sent = sent
        started = self._clock.now()
        request = CallRequest(
            function_id=run.function_id,
            run_id=run.run_id,
            events=view.events,
            steps=view.memos,
            inputs=edited_inputs(view),
            stack=view.stack,
            current=sent,
            step_id=item.key,
            attempt=item.attempt,
            max_attempts=run.max_attempts,
            # A step that has a work item must not be run by this call as well.
            disable_immediate=run.force_plan or run.pending > 0,
            use_api=view.call_bytes > MAX_STATE_BYTES,
            req_version=run.req_version,
            request_id=self._new_id(),
            generation=item.claim,
            rescued=item.rescues > 0,
            fn_uuid=uuid,
            qi_id=f"{item.run_id}/{item.key}/{item.claim}",
            url=url,
            trace=self.propagation.call(run, item),
        )
        if run.started_at is None and (run.start_ms is not None or run.finish_ms is not None):
            self.actors.give(actor, Began(started))
        answer = await caller.call(request)
        if answer.error is not None and answer.gone:
            return Held(item, _HOLD_MS, answer.error.message, started)
        return Answered(item, sent, answer, started)
