"""An attempt of a durable request has ended: record the result, or plan the next attempt."""

import msgspec
from msgspec.structs import replace

from stepwell.core import callbacks, polling
from stepwell.core.draft import Draft
from stepwell.core.fetch_redirects import hop_to
from stepwell.core.fetches import FetchRetry, after, asked_delay, narrowed
from stepwell.core.flow.hosts import host_of, observed
from stepwell.core.groups import completed
from stepwell.core.inputs import CalledBack, Fetched
from stepwell.core.model import Attempt, Body, Item, RunView, Step, StepStatus, WorkKind
from stepwell.wire.ai import ai_error, ai_memo
from stepwell.wire.constants import INLINE_BODY_BYTES
from stepwell.wire.fetch import FetchBroken, FetchOutcome, FetchRequest, FetchResponse
from stepwell.wire.fetch_urls import place
from stepwell.wire.memos import error_memo, is_error, memo

_KEPT_ATTEMPTS = 25
"""Of the first and of the newest attempts of a step, each."""


def fetched(draft: Draft, given: Fetched) -> None:
    """Decide what the attempt's outcome means for its step."""
    item = given.item
    step = draft.step(item.key)
    if step is None or step.ended:
        return
    request = request_of(item)
    env = draft.env
    _observe(draft, given)
    if isinstance(given.outcome, FetchResponse) and given.outcome.onward:
        _hop(draft, step, given, hop_to(request, given.outcome))
        return
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
        _retry(draft, _attempted(step, given, env.now, verdict.delay_ms, verdict.reason), item, request, verdict)
        return
    if not request.policy.poll and not request.policy.callback:
        _end(draft, _attempted(step, given, env.now, None, None), item.attempt + 1, request, verdict.outcome, item)
        return
    asked = step.attempt + 1 - item.attempt
    sent_at = given.started_at if step.started_at is None else step.started_at
    until = polling.deadline(request, step.created_at, sent_at)
    poll = polling.next_poll(request, verdict.outcome, asked, until, env.now, env.jitter, env.flat_retry_ms)
    if isinstance(poll, polling.Poll):
        _look_again(draft, _attempted(step, given, env.now, poll.delay_ms, poll.reason), item, poll, until)
        return
    step = _attempted(step, given, env.now, None, None)
    if callbacks.waits(request, verdict.outcome):
        _await_callback(draft, step, item, until)
        return
    if step.callback is not None:
        step = replace(step, callback=replace(step.callback, void=True))
    _end(draft, step, item.attempt + 1, request, poll or verdict.outcome, item)


def _observe(draft: Draft, given: Fetched) -> None:
    """What the host's pace learns from the attempt; nothing from one that was only told of its deadline."""
    paced = next((pace for pace in given.item.paces if pace.slows or pace.breaker is not None), None)
    if paced is None or _expired(given.item, given.started_at):
        return
    seen = observed(paced, given.outcome, asked_delay(given.outcome, draft.env.now), given.started_at)
    if seen is not None:
        draft.observe(seen)


def _retry(draft: Draft, step: Step, item: Item, request: FetchRequest, verdict: FetchRetry) -> None:
    due = draft.env.now + verdict.delay_ms
    draft.save(replace(step, status=StepStatus.RETRYING, due_at=due))
    limits, paces = draft.env.hosts.admission(draft.run.limits, draft.run.paces, host_of(request.url))
    draft.put(replace(item, attempt=item.attempt + 1, due_at=due, claim=0, rescues=0, limits=limits, paces=paces))


def _hop(draft: Draft, step: Step, given: Fetched, following: FetchRequest | FetchBroken) -> None:
    """A redirect led to another host: the next request passes that one's limits, as if it had been asked first."""
    item, now = given.item, draft.env.now
    if isinstance(following, FetchBroken):
        _end(draft, _attempted(step, given, now, None, None), item.attempt + 1, request_of(item), following)
        return
    step = _attempted(step, given, now, 0, f"it redirects to {place(following.url)}")
    _again(draft, step, item, following, now, item.attempt)


def called_back(draft: Draft, given: CalledBack) -> None:
    """The upstream's own request is the step's result, also where it comes before the response to ours."""
    step = draft.step(given.step_id)
    if step is not None and not step.ended and step.callback is not None:
        _end(draft, step, 1, FetchRequest(url="", rich=step.callback.rich), given.response)


def _look_again(draft: Draft, step: Step, item: Item, poll: polling.Poll, until: int) -> None:
    """The job's end bounds each poll from here on: its waiting for limits, its retries, and the request itself."""
    policy = replace(poll.request.policy, deadline_ms=until - step.created_at)
    bounded = replace(poll.request, policy=policy)
    _again(draft, step, replace(item, expires_at=until), bounded, draft.env.now + poll.delay_ms, 0)


def _again(draft: Draft, step: Step, item: Item, request: FetchRequest, due: int, attempt: int) -> None:
    """The step goes on with another request, from ``attempt`` on."""
    draft.save(replace(step, status=StepStatus.WAITING, due_at=due))
    limits, paces = draft.env.hosts.admission(draft.run.limits, draft.run.paces, host_of(request.url))
    payload = msgspec.msgpack.encode(request)
    draft.put(
        replace(item, attempt=attempt, due_at=due, claim=0, rescues=0, limits=limits, paces=paces, payload=payload)
    )


def _await_callback(draft: Draft, step: Step, item: Item, until: int) -> None:
    """The request is done; a timer stands for the deadline. Waiting holds no slot."""
    draft.save(replace(step, status=StepStatus.WAITING, due_at=until))
    draft.put(Item(run_id=item.run_id, key=item.key, kind=WorkKind.TIMER, due_at=until))


def _end(
    draft: Draft, step: Step, tries: int, request: FetchRequest, outcome: FetchOutcome, item: Item | None = None
) -> None:
    record = _record(draft, step, tries, request, outcome, item)
    failed = isinstance(outcome, FetchBroken) or is_error(record)
    completed(draft, draft.end_step(step, record, StepStatus.FAILED if failed else StepStatus.COMPLETED))


def _record(
    draft: Draft, step: Step, tries: int, request: FetchRequest, outcome: FetchOutcome, item: Item | None
) -> bytes:
    """The memo, in the form that was asked for."""
    if isinstance(outcome, FetchBroken):
        return ai_error(outcome, tries) if request.ai else error_memo(outcome, tries, request.rich)
    if request.ai:
        return ai_memo(outcome)
    return memo(outcome, request.rich, _keep_body(draft, step, request.rich, outcome, item))


def _keep_body(draft: Draft, step: Step, rich: bool, response: FetchResponse, item: Item | None) -> str | None:
    """Large bodies live beside the state, for SDKs that know how to load them. ``item``: what the response came to."""
    if response.stored is not None and item is not None:
        return draft.keep_body(item)
    if not rich or len(response.body) <= INLINE_BODY_BYTES:
        return None
    ref = f"{step.run_id}.{step.step_id}"
    draft.body(Body(ref, step.run_id, response.body))
    return ref


def _attempted(step: Step, given: Fetched, now: int, delay: int | None, reason: str | None) -> Step:
    outcome = given.outcome
    broken = isinstance(outcome, FetchBroken)
    phases: dict[str, float | None] = msgspec.to_builtins(outcome.phases)
    record = Attempt(
        number=step.attempt,
        started_at=given.started_at,
        ended_at=now,
        status=None if broken else outcome.status,
        error=f"{outcome.kind}: {outcome.message}"[:500] if broken else None,
        delay_ms=delay,
        reason=reason,
        phases={name: value for name, value in phases.items() if value is not None} or None,
        size=None if broken or outcome.onward else outcome.stored if outcome.stored is not None else len(outcome.body),
        passed=given.item.passed,
        held_ms=given.started_at - max(given.item.due_at, step.created_at) if given.item.passed else None,
    )
    return replace(
        step,
        attempt=step.attempt + 1,
        attempts=_kept(step.attempts, record),
        started_at=step.started_at if step.started_at is not None else given.started_at,
    )


def _kept(earlier: tuple[Attempt, ...], newest: Attempt) -> tuple[Attempt, ...]:
    """The first and the newest attempts: a job that is polled for a day must not grow its step with each poll."""
    if len(earlier) >= 2 * _KEPT_ATTEMPTS:
        earlier = earlier[:_KEPT_ATTEMPTS] + earlier[1 - _KEPT_ATTEMPTS :]
    return (*earlier, newest)


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
