"""What an event starts: runs of the functions that listen; and what follows from a run's own transitions."""

from collections.abc import Callable, Sequence

import msgspec
from msgspec.structs import replace

from stepwell.core.cron import Cron, Tick, tick_event
from stepwell.core.inputs import Env
from stepwell.core.invokes import INVOKED, outcome, resume, target_of, unknown
from stepwell.core.model import RunView, StoredEvent
from stepwell.core.outputs import Commit, SystemEvent
from stepwell.core.reruns import CannotRerun, rerun
from stepwell.core.runs import start
from stepwell.core.systemevents import NAMES, at_end
from stepwell.server.runtime.registry import Match, Registry
from stepwell.server.runtime.waiting import Waiting


class Starter:
    """Makes runs. ``new_id`` gives ULIDs."""

    def __init__(self, registry: Registry, waiting: Waiting, new_id: Callable[[], str]) -> None:
        self._registry = registry
        self._waiting = waiting
        self._new_id = new_id

    def runs_for(self, env: Env, event: StoredEvent) -> list[tuple[RunView, Commit]]:
        """A run for each function that the event starts."""
        if event.name == INVOKED:
            target = self._registry.find(target_of(event.body) or "", event)
            return [self._start(env, event, target)] if target is not None else []
        return [self._start(env, event, match) for match in self._registry.matches(event)]

    def again(
        self, env: Env, old: RunView, event: StoredEvent, from_step: str | None, args: Sequence[object] | None
    ) -> tuple[RunView, Commit]:
        """The run made anew for its event (``core.reruns``). Raises CannotRerun."""
        match = self._registry.find(old.run.function_id, event)
        if match is None:
            raise CannotRerun(f"The function {old.run.function_id} is not registered: start its app, or sync it.")
        return rerun(old, self._start(env, event, match), from_step, args)

    def tick(self, env: Env, cron: Cron, tick: Tick) -> tuple[RunView, Commit] | None:
        """The run of a cron's tick, and its event with it; None when the function is gone. DUPLICATE when it was started."""
        event = self._stored(env, tick_event(cron, tick))
        match = self._registry.find(cron.function_id, event)
        if match is None:
            return None
        view, commit = self._start(env, event, match)
        return view, replace(commit, events=(event,), more=self._waiting.commit(event).more)

    def with_consequences(self, view: RunView, commit: Commit, env: Env) -> Commit:
        """The commit of a run's transition with what has to happen together with it: children, parents, system events."""
        run = commit.run
        ended = run is not None and run.status.ended
        if commit.waits:
            self._waiting.note(commit.waits)
        if not commit.emit and not ended:
            return commit
        more = [follow for event in commit.emit for follow in self._send(env, event)]
        if run is not None and ended:
            if run.parent is not None:
                more.append(resume(run.parent, outcome(run), env.now))
            if self._registry.listens(NAMES) or self._waiting.awaits(NAMES):
                more += [follow for event in at_end(run, view.events) for follow in self._send(env, event)]
        return replace(commit, more=(*commit.more, *more))

    def _send(self, env: Env, sent: SystemEvent) -> list[Commit]:
        """Store a system event, hand it out and start what listens to it; nothing is stored where nobody does."""
        event = self._stored(env, sent)
        if sent.function_id is None:
            matches = self._registry.matches(event)
        else:
            target = self._registry.find(sent.function_id, event)
            if target is None and sent.correlation is not None:
                return [resume(sent.correlation, unknown(sent.function_id), env.now)]
            matches = [target] if target is not None else []
        if not matches and not self._waiting.awaits([event.name]):
            return []
        return [self._waiting.commit(event), *(self._start(env, event, match)[1] for match in matches)]

    def _start(self, env: Env, event: StoredEvent, match: Match) -> tuple[RunView, Commit]:
        view, commit = start(
            env,
            run_id=self._new_id(),
            app_id=match.app_id,
            function_id=match.config.id,
            event=event,
            rules=match.rules,
            attempts=match.config.max_attempts,
            cancel=match.config.cancel,
        )
        if commit.waits:
            self._waiting.note(commit.waits)
        return view, commit

    def _stored(self, env: Env, sent: SystemEvent) -> StoredEvent:
        internal_id = self._new_id()
        event_id = sent.event_id or internal_id
        body: dict[str, object] = {
            "data": msgspec.Raw(sent.data),
            "id": event_id,
            "name": sent.name,
            "ts": env.now,
            "user": {},
        }
        return StoredEvent(
            internal_id=internal_id,
            event_id=event_id,
            name=sent.name,
            received_at=env.now,
            body=msgspec.json.encode(body),
            ts=env.now,
        )
