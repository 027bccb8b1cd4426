"""What an event starts: runs of the functions that listen; and what follows from a run's own transitions."""

import logging
from collections.abc import Callable, Sequence

import msgspec
from msgspec.structs import replace

from stepwell.core.cron import Cron, Tick, tick_event
from stepwell.core.flow.admission import Gathered
from stepwell.core.flow.entrance import Entrance, entrance, entrance_of_gathered
from stepwell.core.gathering import gather
from stepwell.core.inputs import Env, Ready
from stepwell.core.invokes import INVOKED, failure, outcome, resume, target_of, unknown
from stepwell.core.model import Item, Run, RunKey, RunView, StoredEvent
from stepwell.core.outputs import Commit, SystemEvent
from stepwell.core.pauses import sentence, skip
from stepwell.core.propagation import PassedOn
from stepwell.core.reruns import CannotRerun, rerun
from stepwell.core.runs import KEY_LIFETIME_MS, start, waiting_steps
from stepwell.core.systemevents import NAMES, at_end
from stepwell.server.runtime.registry import Match, Registry
from stepwell.server.runtime.waiting import Waiting

logger = logging.getLogger("stepwell.engine")

_TICK = ":tick:"
"""Stands before function ids in keys: a tick whose run a limit stops is gone all the same, for every process."""


class Starter:
    """Makes runs. ``new_id`` gives ULIDs; ``paused``: whether a function starts no runs for now."""

    def __init__(
        self, registry: Registry, waiting: Waiting, new_id: Callable[[], str], paused: Callable[[str], bool]
    ) -> None:
        self._registry = registry
        self._paused = paused
        self._waiting = waiting
        self._new_id = new_id
        self.propagation = PassedOn()

    def runs_for(self, env: Env, event: StoredEvent) -> list[tuple[RunView | None, Commit]]:
        """A run for each function that the event starts; no view where the store finds out which run it goes into."""
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
        if self._paused(match.config.id):
            raise CannotRerun(sentence(match.config.id))
        made = self._begin(env, self._new_id(), event, match, entrance_of_gathered(match.config, event.body))
        return rerun(old, made, from_step, args)

    def tick(self, env: Env, cron: Cron, tick: Tick) -> tuple[RunView | None, Commit] | None:
        """The run of a cron's tick, and its event with it; None when the function is gone or paused. DUPLICATE when it was
        started."""
        if self._paused(cron.function_id):
            return None
        event = self._stored(env, tick_event(cron, tick))
        match = self._registry.find(cron.function_id, event)
        if match is None:
            return None
        view, commit = self._start(env, event, match)
        more = self._waiting.commit(event).more
        if not commit.admit:
            return view, replace(commit, events=(event,), more=more)
        once = RunKey(_TICK + cron.function_id, event.event_id, env.now + KEY_LIFETIME_MS)
        return None, Commit(now=env.now, key=once, events=(event,), more=(*more, commit))

    def with_consequences(self, view: RunView, commit: Commit, env: Env) -> Commit:
        """The commit of a run's transition with what has to happen together with it: children, parents, system events."""
        run = commit.run
        ended = run is not None and run.status.ended
        if commit.waits:
            self._waiting.note(commit.waits)
        if not commit.emit and not ended:
            return commit
        more = [follow for event in commit.emit for follow in self._send(env, event, view.run)]
        if run is not None and ended:
            more += [resume(parent, outcome(run), env.now) for parent in waiting_steps(run)]
            if self._registry.listens(NAMES) or self._waiting.awaits(NAMES):
                more += [follow for event in at_end(run, view.events) for follow in self._send(env, event, run)]
        return replace(commit, more=(*commit.more, *more))

    def _send(self, env: Env, sent: SystemEvent, sender: Run) -> list[Commit]:
        """Store a system event, hand it out and start what listens to it; nothing is stored where nobody does.

        One that can not be read, as it is nested too deeply, starts nothing: the run that it comes from must go on.
        """
        event = replace(self._stored(env, sent), trace=self.propagation.event(sent, sender))
        try:
            return self._sent(env, sent, event)
        except ValueError as problem:
            logger.error("%s of run %s starts nothing: %s", sent.name, sender.run_id, problem)
            if sent.correlation is None:
                return []
            message = f"function {sent.function_id} could not be invoked: {problem}"
            return [resume(sent.correlation, failure("InvalidInvoke", message), env.now)]

    def _sent(self, env: Env, sent: SystemEvent, event: StoredEvent) -> list[Commit]:
        if sent.function_id is None:
            matches = self._registry.matches(event)
        else:
            target = self._registry.find(sent.function_id, event)
            if target is None and sent.correlation is not None:
                return [resume(sent.correlation, unknown(sent.function_id), env.now)]
            matches = [target] if target is not None else []
        if not matches and not self._waiting.awaits([event.name]):
            return []
        kept = self._waiting.commit(event, needed=bool(matches))
        return [kept, *(self._start(env, event, match)[1] for match in matches)]

    def begin(self, env: Env, run: Run, gathered: Gathered, events: Sequence[StoredEvent], item: Item) -> Ready | None:
        """How a run begins that has waited for more events; None while its function is not known."""
        match = self._registry.find(run.function_id, events[0])
        if match is None:
            return None
        enter = entrance_of_gathered(match.config, events[0].body)
        _, commit = self._begin(env, run.run_id, events[0], match, enter)
        bodies = [event.body for event in events]
        return Ready(item, commit, gathered.events, bodies, gathered.parents)

    def archived(self, run: Run) -> bool:
        """Whether the run's app is known, and has no such function any more."""
        return self._registry.archived(run.app_id, run.function_id)

    def _start(self, env: Env, event: StoredEvent, match: Match) -> tuple[RunView | None, Commit]:
        if self._paused(match.config.id):
            return None, skip(env, run_id=self._new_id(), app_id=match.app_id, function_id=match.config.id, event=event)
        enter = entrance(match.config, event.body, event.received_at)
        if enter.batch is None and enter.debounce is None:
            return self._begin(env, self._new_id(), event, match, enter)
        return None, gather(
            env, run_id=self._new_id(), app_id=match.app_id, function_id=match.config.id, event=event, enter=enter
        )

    def _begin(
        self, env: Env, run_id: str, event: StoredEvent, match: Match, enter: Entrance
    ) -> tuple[RunView, Commit]:
        view, commit = start(
            env,
            run_id=run_id,
            app_id=match.app_id,
            function_id=match.config.id,
            event=event,
            rules=match.rules,
            attempts=match.config.max_attempts,
            cancel=match.config.cancel,
            enter=enter,
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
