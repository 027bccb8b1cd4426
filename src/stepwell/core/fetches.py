"""The policy of durable requests: what is sent, and what an attempt's outcome leads to (durable-http, Policy)."""

import hashlib

import msgspec
from msgspec.structs import replace

from stepwell.core.backoff import full_jitter
from stepwell.wire.encodings import accepted
from stepwell.wire.fetch import RETRY_STATUSES, FetchBroken, FetchOutcome, FetchPolicy, FetchRequest, FetchResponse
from stepwell.wire.fetch_headers import find
from stepwell.wire.retry_after import parse_millis, parse_reset, parse_retry_after

_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""RFC 9110, 9.2.2."""
_SAYS_WHEN = frozenset({429, 503})
"""Statuses whose Retry-After and relatives are followed."""
_RESETS = ("", "-requests", "-tokens")


class FetchEnd(msgspec.Struct, frozen=True):
    """The request is done: this outcome is its recorded result."""

    outcome: FetchOutcome


class FetchRetry(msgspec.Struct, frozen=True):
    """Try again after ``delay_ms``. ``reason`` is for people: what went wrong, and who chose the delay."""

    delay_ms: int
    reason: str


def prepare(request: FetchRequest, run_id: str, step_id: str) -> FetchRequest:
    """The request as every attempt sends it: with its idempotency key, the same for each attempt, replay and re-send.

    Non-idempotent methods (POST, PATCH and unknown ones) get a generated key unless the user set one or turned it
    off; a key that the user chose goes with any method; a header of the user is never replaced. SDKs that take text
    only get the ``Accept`` and ``Accept-Encoding`` that a plain ``fetch`` would send.
    """
    added: list[tuple[str, str]] = []
    key = _idempotency_key(request, run_id, step_id)
    if key:
        added.append((request.policy.idempotency_header, key))
    if not request.rich:
        defaults = (("Accept", "*/*"), ("Accept-Encoding", accepted()))
        added += [pair for pair in defaults if find(request.headers, pair[0].lower()) is None]
    return replace(request, headers=request.headers + tuple(added)) if added else request


def streamable(request: FetchRequest, head: FetchResponse) -> bool:
    """Whether a body may be shown while it arrives: it will be the record as it is, if it arrives whole.

    Not those of a status that may be tried again, nor of a job that is polled; for SDKs that take decoded text only such
    that are sent as it.
    """
    policy = request.policy
    retried = RETRY_STATUSES if policy.retry_on is None else policy.retry_on
    if head.status in retried or policy.poll or policy.callback:
        return False
    return request.rich or find(head.headers, "content-encoding") is None


def narrowed(request: FetchRequest, first_started_ms: int, now: int) -> FetchRequest:
    """The request for one attempt: its deadline counted from ``now``, as the fetcher takes it (at least 1 ms)."""
    deadline = request.policy.deadline_ms
    if deadline is None:
        return replace(request, stay=True)
    left = max(1, first_started_ms + deadline - now)
    return replace(request, stay=True, policy=replace(request.policy, deadline_ms=left))


def after(
    policy: FetchPolicy,
    attempt: int,
    max_attempts: int,
    first_started_ms: int,
    outcome: FetchOutcome,
    now: int,
    jitter: float,
    flat_ms: int | None = None,
) -> FetchEnd | FetchRetry:
    """What follows from the outcome of the ``attempt``-th try (from 0).

    ``max_attempts`` is the function's and holds where the policy has none. ``flat_ms`` takes the place of the
    exponential delay, never of what the upstream asks for. A retry that would start after the deadline is not made:
    the outcome stands.
    """
    trouble = _trouble(policy, outcome)
    if trouble is None or attempt + 1 >= (policy.attempts or max_attempts):
        return FetchEnd(outcome)
    if policy.at_most_once and (isinstance(outcome, FetchResponse) or outcome.sent):
        return FetchEnd(outcome)
    asked = asked_delay(outcome, now)
    delay = asked if asked is not None else _own_delay(policy, attempt, jitter, flat_ms)
    if policy.deadline_ms is not None and now + delay >= first_started_ms + policy.deadline_ms:
        return FetchEnd(outcome)
    return FetchRetry(delay, f"{trouble}; the server asked for this delay" if asked is not None else trouble)


def _trouble(policy: FetchPolicy, outcome: FetchOutcome) -> str | None:
    """Why this outcome is worth another attempt; None when it is not."""
    if isinstance(outcome, FetchBroken):
        return None if outcome.final else outcome.message
    retried = RETRY_STATUSES if policy.retry_on is None else policy.retry_on
    return f"status {outcome.status}" if outcome.status in retried else None


def _own_delay(policy: FetchPolicy, attempt: int, jitter: float, flat_ms: int | None) -> int:
    if flat_ms is not None:
        return flat_ms
    return full_jitter(attempt, policy.min_delay_ms, policy.max_delay_ms, jitter)


def asked_delay(outcome: FetchOutcome, now: int) -> int | None:
    """The delay that the upstream asks for; None when it does not, or not intelligibly."""
    if isinstance(outcome, FetchBroken) or outcome.status not in _SAYS_WHEN:
        return None
    millis = find(outcome.headers, "retry-after-ms")
    if millis is not None and (delay := parse_millis(millis)) is not None:
        return delay
    text = find(outcome.headers, "retry-after")
    if text is not None and (delay := parse_retry_after(text, now)) is not None:
        return delay
    resets = [delay for name in _RESETS if (delay := _reset(outcome, name, now)) is not None]
    return max(resets, default=None)


def _reset(response: FetchResponse, name: str, now: int) -> int | None:
    """When one quota is full again; None where its ``remaining`` says that it was not the one used up."""
    remaining = find(response.headers, f"x-ratelimit-remaining{name}")
    text = find(response.headers, f"x-ratelimit-reset{name}")
    if text is None or (remaining is not None and remaining.strip().strip("0").isdigit()):
        return None
    return parse_reset(text, now)


def _idempotency_key(request: FetchRequest, run_id: str, step_id: str) -> str | None:
    policy = request.policy
    if policy.idempotency_key is None and request.method.upper() in _IDEMPOTENT:
        return None
    if find(request.headers, policy.idempotency_header.lower()) is not None:
        return None
    if policy.idempotency_key is not None:
        return policy.idempotency_key
    return "stepwell-" + hashlib.sha256(f"{run_id}\0{step_id}".encode()).hexdigest()[:40]
