"""Events that come in, and schedules whose time has come: stored together with the runs that they start."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from stepwell.core.cron import Cron, Tick
from stepwell.core.inputs import Env
from stepwell.core.model import RunView, StoredEvent
from stepwell.core.outputs import Commit
from stepwell.core.unstarted import Unstarted, not_started, notes
from stepwell.server.changes import Changes
from stepwell.server.runtime.actors import Actors
from stepwell.server.runtime.committer import Committer, Unstorable
from stepwell.server.runtime.recent import Recent
from stepwell.server.runtime.starter import Starter
from stepwell.server.runtime.waiting import Waiting
from stepwell.server.store.base import Outcome, StoreError
from stepwell.server.telemetry.observers import Observers
from stepwell.wire.events import BadEvents, IncomingEvent, finish


class Arrivals:
    """What begins runs from outside. ``env`` gives time and chance; ``recent`` remembers what an event has started."""

    def __init__(
        self,
        env: Callable[[], Env],
        starter: Starter,
        waiting: Waiting,
        committer: Committer,
        actors: Actors,
        recent: Recent,
        changes: Changes,
        observers: Observers,
    ) -> None:
        self._env = env
        self._starter = starter
        self._waiting = waiting
        self._committer = committer
        self._actors = actors
        self._recent = recent
        self._changes = changes
        self._observers = observers

    async def ingest(self, events: Sequence[IncomingEvent], ids: Sequence[str]) -> list[str]:
        """Store the events and the runs that they start, in one transaction; the internal ids. Raises BadEvents, StoreError."""
        env = self._env()
        commits: list[Commit] = []
        begun: list[tuple[int, StoredEvent, RunView | None]] = []
        received: list[StoredEvent] = []
        missed: list[tuple[StoredEvent, Unstarted]] = []
        for event, internal_id in zip(events, ids, strict=True):
            stored = _stored(event, internal_id, env.now)
            commits.append(self._waiting.commit(stored))
            for view, commit in self._starter.runs_for(env, stored):
                begun.append((len(commits), stored, view))
                commits.append(commit)
            received.append(stored)

        def applied(outcomes: list[Outcome]) -> None:
            missed.extend(_missed(commits, begun, outcomes))
            self._observers.received(received, missed)
            told: set[str] = set()
            for event, one in missed:
                if one.run_id is not None:
                    self._changes.note(one.run_id)
                    told.add(event.internal_id)
            known = [(event, view) for index, event, view in begun if outcomes[index] is Outcome.APPLIED]
            started = [view for _, view in known if view is not None]
            told |= {event.internal_id for event, view in known if view is not None}
            for event in received:  # of others a run tells
                if event.internal_id not in told:
                    self._changes.note(event.internal_id)
            for view in started:
                self._actors.adopt(view)
            if len(started) == len(begun):  # else the store knows what each came to: nothing, a run that was there
                self._recent.note(ids, started)

        if commits:
            try:
                await self._committer.write(commits, applied)
            except Unstorable as problem:
                raise BadEvents(f"an event {problem}") from problem
        keys = tuple(key for event, one in missed for key in notes(event, [one], env.now))
        if keys:
            with suppress(StoreError):  # the events are stored; only why one of them started nothing is not
                await self._committer.write([Commit(now=env.now, keys=keys)])
        return list(ids)

    async def tick(self, due: Sequence[tuple[Cron, Tick]]) -> None:
        """Start the runs of these ticks, unless another process has, or this one before. Raises StoreError."""
        env = self._env()
        begun = [run for cron, tick in due if (run := self._starter.tick(env, cron, tick)) is not None]

        def applied(outcomes: list[Outcome]) -> None:
            for (view, _), outcome in zip(begun, outcomes, strict=True):
                if outcome is Outcome.APPLIED and view is not None:
                    self._actors.adopt(view)

        if begun:
            await self._committer.write([commit for _, commit in begun], applied)


def _missed(
    commits: Sequence[Commit], begun: Sequence[tuple[int, StoredEvent, RunView | None]], outcomes: Sequence[Outcome]
) -> Iterator[tuple[StoredEvent, Unstarted]]:
    """What was to begin, and did not."""
    for index, event, _ in begun:
        said = outcomes[index]
        found = not_started(commits[index], duplicate=said is Outcome.DUPLICATE, refused=said is Outcome.REFUSED)
        if found is not None:
            yield event, found


def _stored(event: IncomingEvent, internal_id: str, now: int) -> StoredEvent:
    return StoredEvent(
        internal_id=internal_id,
        event_id=event.id or internal_id,
        name=event.name,
        received_at=now,
        body=finish(event, internal_id),
        ts=event.ts,
        trace=event.trace,
    )
