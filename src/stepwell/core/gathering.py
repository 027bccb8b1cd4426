"""Runs that wait for more events before they begin: debounced and batched ones (protocol 5.10)."""

from msgspec.structs import replace

from stepwell.core.draft import Draft
from stepwell.core.flow.entrance import Entrance
from stepwell.core.inputs import Env, Ready
from stepwell.core.model import Item, ItemRef, Run, StoredEvent
from stepwell.core.outputs import Admission, Batched, Commit, Debounced, Joining, Release, Single
from stepwell.core.runs import header, parent_step, rate_limit, run_key, skipped


def gather(env: Env, *, run_id: str, app_id: str, function_id: str, event: StoredEvent, enter: Entrance) -> Commit:
    """The commit with which ``event`` joins the run that waits in its debounce or batch, or begins to wait in a new one."""
    bucket = next((found[0] for found in (enter.batch, enter.debounce) if found is not None), "")
    run = replace(header(env, run_id, app_id, function_id, event), gathering=True, buckets=(bucket,))
    key = run_key(env, function_id, event, run_id)
    join = Joining(run, event.internal_id, key, event.ts, len(event.body), parent_step(event))
    if enter.batch is not None:
        rule = enter.batch[1]
        return Commit(now=env.now, key=key, admit=(Batched(bucket, join, rule.max_size, rule.timeout_ms),))
    if enter.debounce is None:
        raise ValueError(f"function {function_id} neither debounces nor batches")
    calm = enter.debounce[1]
    admit = (
        *rate_limit(enter, replace(run, parent=join.parent), env),
        Debounced(bucket, join, calm.period_ms, calm.timeout_ms),
    )
    return Commit(now=env.now, key=key, admit=admit)


def begin(draft: Draft, given: Ready) -> None:
    """A run that waited for more events begins, as ``start`` says; unless its singleton stops it."""
    draft.done(given.item)
    if draft.ended:
        return
    started, before = given.started, draft.run
    if started.run is None:
        raise ValueError("what begins has a header")
    run = replace(started.run, version=before.version, event_ids=given.event_ids, parent=None, parents=given.parents)
    draft.take_over(run)
    for bucket in before.buckets:
        draft.admit(Release(bucket, run.run_id))
    for admission in started.admit:
        draft.admit(_anew(admission, run, draft.env, given.item))
    for item in started.put:
        draft.put(item)
    for wait in started.waits:
        draft.wait(wait)


def _anew(admission: Admission, run: Run, env: Env, item: Item) -> Admission:
    """For a run that is stored already: its header gives way to the skipped one."""
    if not isinstance(admission, Single):
        return admission
    ref = ItemRef(item.run_id, item.key, item.claim)
    record = skipped(replace(run, version=run.version + 1), env)
    return replace(admission, instead=admission.instead and replace(record, expected=run.version, done=(ref,)))
