"""The policy of durable requests, rule by rule."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.core.backoff import full_jitter
from stepwell.core.fetches import FetchEnd, FetchRetry, after, narrowed, prepare, streamable
from stepwell.wire.fetch import FetchBroken, FetchOutcome, FetchPolicy, FetchRequest, FetchResponse
from stepwell.wire.fetch_headers import find

NOW = 1_700_000_000_000
IN_TEN = "Tue, 14 Nov 2023 22:13:30 GMT"
LONG_AGO = "Tue, 14 Nov 2000 22:13:30 GMT"
DAY = 24 * 3600 * 1000


def answer(status: int = 503, **headers: str) -> FetchResponse:
    pairs = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return FetchResponse(status=status, url="http://h/", headers=pairs)


def lost(kind: str = "read", **more: Any) -> FetchBroken:
    return FetchBroken(kind=kind, message="GET http://h: lost.", **more)


def decide(
    outcome: FetchOutcome, policy: FetchPolicy | None = None, attempt: int = 0, **more: Any
) -> FetchEnd | FetchRetry:
    options: dict[str, Any] = {"max_attempts": 5, "first_started_ms": NOW, "now": NOW, "jitter": 0.0, **more}
    return after(policy or FetchPolicy(), attempt, outcome=outcome, **options)


def delay(outcome: FetchOutcome, policy: FetchPolicy | None = None, attempt: int = 0, **more: Any) -> int:
    verdict = decide(outcome, policy, attempt, **more)
    assert isinstance(verdict, FetchRetry)
    return verdict.delay_ms


@pytest.mark.parametrize("status", range(200, 600))
def test_which_statuses_are_retried(status: int) -> None:
    again = {408, 425, 429, 500, 502, 503, 504}
    assert isinstance(decide(answer(status)), FetchRetry) == (status in again)
    assert isinstance(decide(answer(status), FetchPolicy(retry_on=(404,))), FetchRetry) == (status == 404)
    assert isinstance(decide(answer(status), FetchPolicy(retry_on=())), FetchEnd)


@pytest.mark.parametrize("kind", ["dns", "connect", "tls", "write", "read", "timeout", "protocol"])
def test_transport_errors_are_retried(kind: str) -> None:
    verdict = decide(lost(kind))
    assert verdict == FetchRetry(500, "GET http://h: lost.")
    assert decide(lost(kind, final=True)) == FetchEnd(lost(kind, final=True))


@pytest.mark.parametrize("outcome", [answer(), lost()])
def test_attempts_are_exhausted(outcome: FetchOutcome) -> None:
    assert isinstance(decide(outcome, attempt=3), FetchRetry)
    assert decide(outcome, attempt=4) == FetchEnd(outcome)
    assert decide(outcome, FetchPolicy(attempts=1)) == FetchEnd(outcome)
    assert isinstance(decide(outcome, FetchPolicy(attempts=9), attempt=7), FetchRetry)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        ({"Retry_After": "7"}, 7000),
        ({"Retry_After": "1.5"}, 1500),
        ({"Retry_After": "0"}, 0),
        ({"Retry_After": IN_TEN}, 10_000),
        ({"Retry_After": LONG_AGO}, 0),
        ({"Retry_After": "999999999"}, DAY),
        ({"Retry_After": "soon"}, 500),
        ({"Retry_After": "-5"}, 500),
        ({"Retry_After": ""}, 500),
        ({"retry_after_ms": "1234", "retry_after": "7"}, 1234),
        ({"retry_after_ms": "x", "retry_after": "7"}, 7000),
        ({"x_ratelimit_reset": "1700000020"}, 20_000),
        ({"x_ratelimit_reset": "1700000020000"}, 20_000),
        ({"x_ratelimit_reset": "30"}, 30_000),
        ({"x_ratelimit_reset": "1600000000"}, 0),
        ({"x_ratelimit_reset": "never"}, 500),
        ({"x_ratelimit_reset_requests": "6m0s"}, 360_000),
        ({"x_ratelimit_reset_tokens": "20ms"}, 20),
        ({"x_ratelimit_reset_requests": "1s", "x_ratelimit_reset_tokens": "1h2m3.5s"}, 3_723_500),
        (
            {
                "x_ratelimit_reset_requests": "9s",
                "x_ratelimit_remaining_requests": "10",
                "x_ratelimit_reset_tokens": "3s",
                "x_ratelimit_remaining_tokens": "0",
            },
            3000,
        ),
        ({"Retry_After": "2", "x_ratelimit_reset": "30"}, 2000),
    ],
)
def test_the_server_chooses_the_delay(status: int, headers: dict[str, str], wanted: int) -> None:
    assert delay(answer(status, **headers)) == wanted


def test_other_statuses_do_not_choose() -> None:
    assert delay(answer(500, retry_after="7")) == 500


def test_the_flat_interval_replaces_only_our_own_delay() -> None:
    assert delay(lost(), flat_ms=10) == 10
    assert delay(answer(), flat_ms=10) == 10
    assert delay(answer(retry_after="7"), flat_ms=10) == 7000


@given(st.integers(0, 100), st.floats(0, 1, exclude_max=True))
def test_backoff_stays_in_bounds_and_doubles(attempt: int, jitter: float) -> None:
    found = full_jitter(attempt, 500, 60_000, jitter)
    assert 500 <= found <= min(60_000, 500 * 2 ** min(attempt + 1, 40))
    assert full_jitter(attempt + 1, 500, 60_000, jitter) >= found


def test_backoff_reaches_its_ceiling() -> None:
    assert (delay(answer(), jitter=0.0), delay(answer(), attempt=3, jitter=0.5)) == (500, 4250)
    assert delay(answer(), attempt=20, max_attempts=99, jitter=0.999999) == 59_999
    assert full_jitter(0, 500, 60_000, 0.999999) == 999
    assert full_jitter(20, 500, 60_000, 0.999999) == 59_999
    assert full_jitter(3, 0, 0, 0.5) == 0
    assert full_jitter(3, 1000, 1000, 0.5) == 1000


def test_no_retry_starts_after_the_deadline() -> None:
    policy = FetchPolicy(deadline_ms=10_000)
    assert isinstance(decide(answer(retry_after="9"), policy), FetchRetry)
    outcome = answer(retry_after="10")
    assert decide(outcome, policy) == FetchEnd(outcome)
    assert decide(lost(), policy, first_started_ms=NOW - 9_600) == FetchEnd(lost())


def test_at_most_once_ends_where_a_byte_was_sent() -> None:
    policy = FetchPolicy(at_most_once=True)
    assert decide(answer(503), policy) == FetchEnd(answer(503))
    assert decide(lost(sent=True), policy) == FetchEnd(lost(sent=True))
    assert isinstance(decide(lost("connect"), policy), FetchRetry)


def test_an_attempt_gets_what_is_left_of_the_deadline() -> None:
    request = FetchRequest(url="http://h/", policy=FetchPolicy(deadline_ms=1000))
    assert narrowed(request, NOW, NOW + 400).policy.deadline_ms == 600
    assert narrowed(request, NOW, NOW + 9999).policy.deadline_ms == 1
    free = FetchRequest(url="http://h/")
    assert narrowed(free, NOW, NOW + 5).policy is free.policy


def key_of(
    method: str = "POST", header: str = "idempotency-key", run: str = "run", step: str = "step", **more: Any
) -> str | None:
    request = FetchRequest(url="http://h/", method=method, rich=True, **more)
    return find(prepare(request, run, step).headers, header)


def test_idempotency_keys_are_stable_for_a_step_and_differ_between_them() -> None:
    first = key_of()
    assert first is not None
    assert first.startswith("stepwell-")
    assert first == key_of()
    assert first != key_of(run="other")
    assert first != key_of(step="other")


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"])
def test_idempotent_methods_need_no_key(method: str) -> None:
    assert key_of(method) is None
    assert key_of(method, policy=FetchPolicy(idempotency_key="mine")) == "mine"


@pytest.mark.parametrize("method", ["POST", "PATCH", "PURGE"])
def test_keys_are_the_users_to_choose(method: str) -> None:
    assert key_of(method, policy=FetchPolicy(idempotency_key="")) is None
    assert key_of(method, policy=FetchPolicy(idempotency_key="mine")) == "mine"
    assert key_of(method, headers=(("IDEMPOTENCY-KEY", "theirs"),)) == "theirs"
    assert key_of(method, "x-key", policy=FetchPolicy(idempotency_header="X-Key")) is not None


def test_preparing_twice_changes_nothing() -> None:
    for rich in (True, False):
        once = prepare(FetchRequest(url="http://h/", method="POST", rich=rich), "r", "s")
        assert prepare(once, "r", "s") == once


def test_other_sdks_get_the_headers_of_a_plain_fetch() -> None:
    sent = prepare(FetchRequest(url="http://h/"), "r", "s").headers
    assert find(sent, "accept") == "*/*"
    assert (find(sent, "accept-encoding") or "").startswith("gzip, deflate")
    own = FetchRequest(url="http://h/", headers=(("ACCEPT", "a/b"), ("Accept-Encoding", "identity")))
    assert prepare(own, "r", "s") == own


@pytest.mark.parametrize(
    ("request_", "head", "shown"),
    [
        (FetchRequest(url="u"), answer(200), True),
        (FetchRequest(url="u"), answer(404), True),
        (FetchRequest(url="u"), answer(503), False),
        (FetchRequest(url="u", policy=FetchPolicy(retry_on=(404,))), answer(404), False),
        (FetchRequest(url="u", policy=FetchPolicy(retry_on=(404,))), answer(503), True),
        (FetchRequest(url="u", policy=FetchPolicy(poll=True)), answer(200), False),
        (FetchRequest(url="u", policy=FetchPolicy(callback=True)), answer(200), False),
        (FetchRequest(url="u"), answer(200, content_encoding="gzip"), False),
        (FetchRequest(url="u", rich=True), answer(200, content_encoding="gzip"), True),
    ],
)
def test_only_what_will_be_the_record_is_shown_while_it_arrives(
    request_: FetchRequest, head: FetchResponse, shown: bool
) -> None:
    assert streamable(request_, head) is shown
