"""How a run begins."""

from msgspec.structs import replace

from stepwell.core.flow.entrance import OPEN, Entrance
from stepwell.core.flow.starts import NO_RULES, StartRules
from stepwell.core.inputs import Env
from stepwell.core.invokes import INVOKED, failure, parent_of, resume
from stepwell.core.model import Item, Run, RunKey, RunStatus, RunView, StoredEvent, WorkKind
from stepwell.core.outputs import Admission, Commit, RateLimited, Single
from stepwell.core.timeouts import start_timer
from stepwell.core.unstarted import note
from stepwell.core.waits import cancels
from stepwell.wire.constants import DISCOVERY
from stepwell.wire.function_config import Cancel, SingletonMode

KEY_LIFETIME_MS = 24 * 3600 * 1000
"""How long after its end the same event id starts no second run of a function (protocol 5.9)."""


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
    enter: Entrance = OPEN,
) -> tuple[RunView, Commit]:
    """A run of ``function_id`` for ``event``: its view, and the commit that creates it with its first call.

    A commit that turns out DUPLICATE means that this event has had its run already; REFUSED, that ``enter`` stops it.
    """
    run = replace(
        header(env, run_id, app_id, function_id, event),
        limits=rules.limits,
        paces=rules.paces,
        max_attempts=attempts,
        parent=parent_step(event),
        discovering=True,
        cancels=len(cancel),
        priority_ms=max(0, rules.priority_ms),
        start_ms=rules.start_ms,
        finish_ms=rules.finish_ms,
        buckets=(enter.single[0],) if enter.single else (),
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
    commit = Commit(
        now=env.now,
        run=run,
        expected=None,
        key=run_key(env, function_id, event, run_id),
        put=(item, *start_timer(run, max(due_at, item.due_at))),
        waits=cancels(run_id, cancel, event.body, env.now),
        admit=(*rate_limit(enter, run, env), *singleton(enter, run, env)),
    )
    return RunView(run=run, events=[event.body]), commit


def header(env: Env, run_id: str, app_id: str, function_id: str, event: StoredEvent) -> Run:
    """What every new run has, however it begins."""
    return Run(
        run_id=run_id,
        function_id=function_id,
        app_id=app_id,
        version=1,
        event_ids=(event.internal_id,),
        trigger=event.name,
        queued_at=env.now,
        trace=event.trace,
    )


def holds(key: RunKey, run: Run | None, now: int) -> bool:
    """Whether a stored key still stops its event; ``run`` is the run that it names, as it is stored."""
    if run is None:
        return key.expires_at > now
    return run.ended_at is None or run.ended_at + KEY_LIFETIME_MS > now


def rate_limit(enter: Entrance, run: Run, env: Env) -> tuple[Admission, ...]:
    """What the rate limit asks for: none where there is none, else one."""
    if enter.rate is None:
        return ()
    bucket, rule = enter.rate
    told = _told(run, "InvokedFunctionRateLimited", "invoked function is rate limited", env)
    reason = "idempotency" if enter.once else "rate_limit"
    noted = tuple(note(event_id, run.function_id, reason, env.now) for event_id in run.event_ids)
    instead = Commit(now=env.now, keys=noted, more=told)
    return (RateLimited(bucket, rule.limit, rule.period_ms, instead, enter.once),)


def singleton(enter: Entrance, run: Run, env: Env) -> tuple[Admission, ...]:
    """What the singleton asks for, likewise."""
    if enter.single is None:
        return ()
    bucket, mode = enter.single
    instead = skipped(run, env) if mode is SingletonMode.SKIP else None
    return (Single(bucket, run.run_id, mode is SingletonMode.CANCEL, instead),)


def skipped(run: Run, env: Env) -> Commit:
    """The record of a run that another one of its singleton has stopped."""
    message = f"the invoked function is a singleton, and another run of it is active: the run {run.run_id} was skipped"
    return not_begun(run, env, "singleton", "InvokedFunctionSkipped", message)


def not_begun(run: Run, env: Env, why: str, name: str, message: str) -> Commit:
    """The record of a run that is skipped, ``why`` in a word; steps that wait for it get the error ``name``: ``message``."""
    ended = replace(
        run,
        status=RunStatus.SKIPPED,
        ended_at=env.now,
        discovering=False,
        gathering=False,
        buckets=(),
        cancels=0,
        skipped=why,
    )
    return Commit(now=env.now, run=ended, more=_told(run, name, message, env))


def _told(run: Run, name: str, message: str, env: Env) -> tuple[Commit, ...]:
    """Steps that wait for the run learn that it will not be."""
    return tuple(resume(parent, failure(name, message), env.now) for parent in waiting_steps(run))


def waiting_steps(run: Run) -> tuple[str, ...]:
    """The steps that wait for the run's outcome: ``run id.step id`` each."""
    return (run.parent, *run.parents) if run.parent is not None else run.parents


def parent_step(event: StoredEvent) -> str | None:
    """The step that waits for the run that the event starts."""
    return parent_of(event.body) if event.name == INVOKED else None


def run_key(env: Env, function_id: str, event: StoredEvent, run_id: str) -> RunKey:
    """What stops the event from starting the function again."""
    return RunKey(function_id, event.event_id, env.now + KEY_LIFETIME_MS, run_id)


def start_time(env: Env, event: StoredEvent) -> int:
    """When the first call is due: at once, or at the event's own time when that lies in the future (protocol 5.2)."""
    return max(env.now, event.ts)
