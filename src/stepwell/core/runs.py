"""How a run begins."""

from msgspec.structs import replace

from stepwell.core.flow.starts import NO_RULES, StartRules
from stepwell.core.inputs import Env
from stepwell.core.invokes import INVOKED, parent_of
from stepwell.core.model import Item, Run, RunKey, RunView, StoredEvent, WorkKind
from stepwell.core.outputs import Commit
from stepwell.core.timeouts import start_timer
from stepwell.core.waits import cancels
from stepwell.wire.constants import DISCOVERY
from stepwell.wire.function_config import Cancel

KEY_LIFETIME_MS = 24 * 3600 * 1000
"""How long the same event id starts no second run of a function (protocol 5.9)."""


def start(
    env: Env,
    *,
    run_id: str,
    app_id: str,
    function_id: str,
    event: StoredEvent,
    attempts: int,
    rules: StartRules = NO_RULES,
    cancel: tuple[Cancel, ...] = (),
) -> tuple[RunView, Commit]:
    """A run of ``function_id`` for ``event``: its view, and the commit that creates it with its first call.

    A commit that turns out DUPLICATE means that this event has had its run already.
    """
    run = Run(
        run_id=run_id,
        function_id=function_id,
        app_id=app_id,
        version=1,
        event_ids=(event.internal_id,),
        limits=rules.limits,
        paces=rules.paces,
        max_attempts=attempts,
        trigger=event.name,
        parent=parent_of(event.body) if event.name == INVOKED else None,
        discovering=True,
        queued_at=env.now,
        cancels=len(cancel),
        priority_ms=max(0, rules.priority_ms),
        start_ms=rules.start_ms,
        finish_ms=rules.finish_ms,
    )
    due_at = start_time(env, event)
    item = Item(
        run_id=run_id,
        key=DISCOVERY,
        kind=WorkKind.CALL,
        due_at=due_at if due_at > env.now else due_at - rules.priority_ms,
        limits=rules.limits,
        paces=rules.throttle,
        holds=rules.holds,
    )
    key = RunKey(function_id, event.event_id, env.now + KEY_LIFETIME_MS)
    commit = Commit(
        now=env.now,
        run=replace(run),
        expected=None,
        key=key,
        put=(item, *start_timer(run, due_at)),
        waits=cancels(run_id, cancel, event.body, env.now),
    )
    return RunView(run=run, events=[event.body]), commit


def start_time(env: Env, event: StoredEvent) -> int:
    """When the first call is due: at once, or at the event's own time when that lies in the future (protocol 5.2)."""
    return max(env.now, event.ts)
