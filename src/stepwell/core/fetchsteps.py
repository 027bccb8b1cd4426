"""An attempt of a durable request has ended: record the result, or plan the next attempt."""

import msgspec
from msgspec.structs import replace

from stepwell.core.draft import Draft
from stepwell.core.fetches import FetchRetry, after, asked_delay, narrowed
from stepwell.core.flow.hosts import host_of, observed
from stepwell.core.groups import completed
from stepwell.core.inputs import Fetched
from stepwell.core.model import Attempt, Body, Item, RunView, Step, StepStatus
from stepwell.wire.constants import INLINE_BODY_BYTES
from stepwell.wire.fetch import FetchBroken, FetchOutcome, FetchRequest, FetchResponse
from stepwell.wire.memos import error_memo, is_error, memo


def fetched(draft: Draft, given: Fetched) -> None:
    """Decide what the attempt's outcome means for its step."""
    item = given.item
    step = draft.step(item.key)
    if step is None or step.ended:
        return
    request = request_of(item)
    env = draft.env
    paced = next((pace for pace in item.paces if pace.slows or pace.breaker is not None), None)
    if paced is not None and not _expired(item, given.started_at):
        seen = observed(paced, given.outcome, asked_delay(given.outcome, env.now), given.started_at)
        if seen is not None:
            draft.observe(seen)
    verdict = after(
        request.policy,
        item.attempt,
        draft.run.max_attempts,
        step.created_at,
        given.outcome,
        env.now,
        env.jitter,
        env.flat_retry_ms,
    )
    if isinstance(verdict, FetchRetry):
        step = _attempted(step, given, env.now, verdict.delay_ms, verdict.reason)
        due = env.now + verdict.delay_ms
        draft.save(replace(step, status=StepStatus.RETRYING, due_at=due))
        limits, paces = env.hosts.admission(draft.run.limits, draft.run.paces, host_of(request.url))
        again = replace(item, attempt=item.attempt + 1, due_at=due, claim=0, rescues=0, limits=limits, paces=paces)
        draft.put(again)
        return
    step = _attempted(step, given, env.now, None, None)
    _end(draft, step, item, request, verdict.outcome)


def _end(draft: Draft, step: Step, item: Item, request: FetchRequest, outcome: FetchOutcome) -> None:
    if isinstance(outcome, FetchBroken):
        record, status = error_memo(outcome, item.attempt + 1, request.rich), StepStatus.FAILED
    else:
        ref = _keep_body(draft, step, request, outcome)
        record = memo(outcome, request.rich, ref)
        status = StepStatus.FAILED if is_error(record) else StepStatus.COMPLETED
    completed(draft, draft.end_step(step, record, status))


def _keep_body(draft: Draft, step: Step, request: FetchRequest, response: FetchResponse) -> str | None:
    """Large bodies live beside the state, for SDKs that know how to load them."""
    if not request.rich or len(response.body) <= INLINE_BODY_BYTES:
        return None
    ref = f"{step.run_id}.{step.step_id}"
    draft.body(Body(ref, step.run_id, response.body))
    return ref


def _attempted(step: Step, given: Fetched, now: int, delay: int | None, reason: str | None) -> Step:
    outcome = given.outcome
    broken = isinstance(outcome, FetchBroken)
    phases: dict[str, float | None] = msgspec.to_builtins(outcome.phases)
    record = Attempt(
        number=given.item.attempt,
        started_at=given.started_at,
        ended_at=now,
        status=None if broken else outcome.status,
        error=f"{outcome.kind}: {outcome.message}"[:500] if broken else None,
        delay_ms=delay,
        reason=reason,
        phases={name: value for name, value in phases.items() if value is not None} or None,
    )
    return replace(
        step,
        attempt=given.item.attempt + 1,
        attempts=(*step.attempts, record),
        started_at=step.started_at if step.started_at is not None else given.started_at,
    )


def request_of(item: Item) -> FetchRequest:
    """The request that a fetch item carries."""
    return msgspec.msgpack.decode(item.payload or b"", type=FetchRequest)


def attempt_of(item: Item, view: RunView, now: int) -> FetchRequest:
    """The request as this attempt sends it: its deadline counted from now."""
    step = view.steps.get(item.key)
    return narrowed(request_of(item), step.created_at if step is not None else now, now)


def _expired(item: Item, now: int) -> bool:
    return item.expires_at is not None and item.expires_at <= now


def late(item: Item, now: int) -> FetchBroken | None:
    """The outcome of a request whose deadline passed while it waited to be sent."""
    if not _expired(item, now):
        return None
    return FetchBroken(kind="timeout", message="its deadline passed before it could be sent", final=True)


def lost(item: Item, request: FetchRequest) -> FetchBroken | None:
    """The outcome of an at-most-once request whose sender died: nobody can know, and it must not be sent again."""
    if not item.rescues or not request.policy.at_most_once:
        return None
    message = (
        "the platform stopped after it had begun to send the request and before it recorded an answer: the upstream may "
        "have acted on it, and at_most_once forbids to send it again"
    )
    return FetchBroken(kind="unknown", message=message, sent=True, final=True)
