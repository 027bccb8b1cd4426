"""Failed calls and failed steps: who tries again, and when it is over (protocol 5.4)."""

import msgspec
from msgspec.structs import replace

from stepwell.core.draft import Draft
from stepwell.core.groups import completed
from stepwell.core.model import Attempt, Item, RunStatus, Step, StepStatus
from stepwell.core.retries import call_delay
from stepwell.wire.errors import ErrorInfo, parse_error


def attempted(step: Step, number: int, at: int, now: int) -> Step:
    """The step with its last attempt, which began ``at`` (ms) and went well. The only one of a step is not written down."""
    if not step.attempts:
        return replace(step, started_at=at)
    last = Attempt(number=number, started_at=at, ended_at=now)
    return replace(step, attempts=(*step.attempts, last))


def step_failed(
    draft: Draft, item: Item, step: Step, error: msgspec.Raw | None, final: bool, retry_after: str | None, at: int
) -> None:
    """A step's attempt failed, which began ``at`` (ms). Its call is repeated while attempts are left."""
    info = parse_error(error)
    number = item.attempt
    over = final or number + 1 >= draft.run.max_attempts
    delay = None if over else call_delay(number, retry_after, draft.env)
    attempt = Attempt(number=number, started_at=at, ended_at=draft.env.now, error=_short(info), delay_ms=delay)
    first = at if step.started_at is None else step.started_at
    step = replace(step, started_at=first, attempt=number + 1, attempts=(*step.attempts, attempt))
    if delay is None:
        memo = b'{"error":' + (bytes(error) if error else msgspec.json.encode(info)) + b"}"
        completed(draft, draft.end_step(step, memo, StepStatus.FAILED))
        return
    draft.save(replace(step, status=StepStatus.RETRYING, due_at=draft.env.now + delay))
    _again(draft, item, delay)


def call_failed(
    draft: Draft, item: Item, error: ErrorInfo, no_retry: bool | None, retry_after: str | None, started_at: int
) -> None:
    """A call failed as a whole: it is repeated while attempts are left, else the run fails with the error."""
    if no_retry is True or item.attempt + 1 >= draft.run.max_attempts:
        draft.finish(RunStatus.FAILED, msgspec.json.encode(error))
        return
    delay = call_delay(item.attempt, retry_after, draft.env)
    step = None if item.is_discovery else draft.step(item.key)
    if step is not None:
        record = Attempt(
            number=item.attempt, started_at=started_at, ended_at=draft.env.now, error=_short(error), delay_ms=delay
        )
        due = draft.env.now + delay
        attempts = (*step.attempts, record)
        draft.save(replace(step, status=StepStatus.RETRYING, attempt=item.attempt + 1, due_at=due, attempts=attempts))
    draft.header(error=_short(error), retry_at=draft.env.now + delay)
    _again(draft, item, delay)


def _again(draft: Draft, item: Item, delay: int) -> None:
    """The next attempt. One of a run's first call does not pass its throttle again."""
    due = draft.env.now + delay
    draft.put(replace(item, attempt=item.attempt + 1, due_at=due, paces=(), holds=(), claim=0, rescues=0))
    if item.is_discovery:
        draft.header(discovering=True, poked=False)


def _short(error: ErrorInfo) -> str:
    return f"{error.name}: {error.message}"[:500]
