"""Long jobs over HTTP: a 202 that says where its result will be is followed until there is one (RFC 9110, 15.3.3)."""

from dataclasses import dataclass

from msgspec.structs import replace

from stepwell.core.backoff import full_jitter
from stepwell.core.fetch_redirects import MAX_REDIRECTS, see_other
from stepwell.wire.fetch import FetchBroken, FetchOutcome, FetchRequest, FetchResponse
from stepwell.wire.fetch_headers import find
from stepwell.wire.fetch_urls import place
from stepwell.wire.retry_after import parse_retry_after

JOB_MS = 24 * 3600 * 1000
"""How long a job without a deadline of its own may take, from the first request on."""
LONGEST_DELAY_MS = 30_000
"""Where the upstream does not say when to look again."""
SHORTEST_DELAY_MS = 100
_PLACES = ("location", "operation-location", "azure-asyncoperation")
"""Headers that say where to look; ``Location`` first, whose status speaks for itself."""


@dataclass(slots=True, frozen=True)
class Poll:
    """Ask there after ``delay_ms``. ``reason`` is for people."""

    request: FetchRequest
    delay_ms: int
    reason: str


def next_poll(
    request: FetchRequest,
    outcome: FetchOutcome,
    asked: int,
    until: int,
    now: int,
    jitter: float,
    flat_ms: int | None = None,
) -> Poll | FetchBroken | None:
    """What follows from the outcome of a request with ``poll``; None where it is the result.

    ``asked`` counts the requests of the step so far, this one included, its own retries not. 202 leads to a GET of the
    place that it names, or of the same place again; 303 to a GET of its ``Location`` at once. Credentials stay at
    their origin. A poll that would not come before ``until`` (:func:`deadline`) is not made: that is an error of kind
    ``timeout``.
    """
    if not request.policy.poll or isinstance(outcome, FetchBroken) or outcome.status not in (202, 303):
        return None
    where = _where(outcome, asked)
    if where is None:
        return None
    following = see_other(request, outcome.url, where)
    if isinstance(following, FetchBroken):
        return following
    delay = _delay(request, outcome, asked, now, jitter, flat_ms)
    if now + delay >= until:
        message = f"{request.method} {place(request.url)}: the job was not done when its time was up."
        return FetchBroken(kind="timeout", message=message, sent=True, final=True)
    policy = replace(request.policy, at_most_once=False)
    return Poll(replace(following, policy=policy, history=()), delay, f"status {outcome.status}: the job goes on")


def deadline(request: FetchRequest, created_ms: int, sent_ms: int) -> int:
    """When a job has taken too long, ms. A deadline counts from when the step was made, 24 hours from the first request."""
    asked = request.policy.deadline_ms
    return sent_ms + JOB_MS if asked is None else created_ms + asked


def _where(response: FetchResponse, asked: int) -> str | None:
    if response.status == 303:
        return find(response.headers, "location")
    named = next((value for name in _PLACES if (value := find(response.headers, name))), None)
    if named is None and (asked > 1 or response.history):
        return response.url
    return named


def _delay(
    request: FetchRequest, response: FetchResponse, asked: int, now: int, jitter: float, flat_ms: int | None
) -> int:
    text = find(response.headers, "retry-after")
    said = None if text is None else parse_retry_after(text, now, SHORTEST_DELAY_MS)
    if said is not None:
        return said
    if response.status == 303 and asked <= MAX_REDIRECTS:
        return 0
    if flat_ms is not None:
        return flat_ms
    policy = request.policy
    low = max(SHORTEST_DELAY_MS, policy.min_delay_ms)
    return full_jitter(asked - 1, low, max(low, min(policy.max_delay_ms, LONGEST_DELAY_MS)), jitter)
