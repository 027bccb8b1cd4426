"""The pure part of the transports."""

from typing import Any

import httpx
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

import stepwell
from stepwell.transports import _codec, _policy
from stepwell.wire.fetch import FetchPolicy
from stepwell.wire.fetch_policy import check_policy
from stepwell.wire.gateway import parse_gateway, render_gateway

KINDS = ["dns", "connect", "tls", "write", "read", "timeout", "protocol", "too_large", "guard", "redirect", "invalid"]
KINDS += ["aborted", "unknown", "one of tomorrow"]
PHASES = st.dictionaries(
    st.sampled_from(["connect", "read", "write", "pool"]), st.none() | st.floats(-1, 1e4) | st.integers(0, 9)
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_class_in_both_libraries(kind: str) -> None:
    name = _policy.error_name(kind)
    assert issubclass(getattr(httpx, name), httpx.RequestError)
    assert issubclass(getattr(httpx2, name), httpx2.RequestError)


@given(PHASES)
def test_any_timeouts_make_a_policy_that_the_platform_takes(phases: dict[str, Any]) -> None:
    made = _policy.with_timeouts(FetchPolicy(), phases)
    check_policy(made)
    for name in ("connect", "read", "write", "pool"):
        found = getattr(made.timeouts, name)
        if name not in phases:
            assert found is None
        elif phases[name] is None:
            assert found == 7200
        else:
            assert found == max(0.001, phases[name])


def test_no_timeouts_leave_the_platforms() -> None:
    policy = _policy.base_policy(3, "5m", at_most_once=True)
    assert _policy.with_timeouts(policy, None) is policy
    assert (policy.attempts, policy.deadline_ms, policy.at_most_once) == (3, 300_000, True)
    assert not policy.follow_redirects


def test_a_bad_policy_is_refused_when_the_transport_is_made() -> None:
    from stepwell.transports.httpx2 import AsyncDurableTransport

    with pytest.raises(ValueError, match="attempts"):
        AsyncDurableTransport(retry=0)


@given(st.lists(st.binary(max_size=40)), st.integers(0, 200))
def test_a_body_is_read_whole_or_refused(parts: list[bytes], limit: int) -> None:
    whole = b"".join(parts)
    if len(whole) <= limit:
        assert _codec.read(iter(parts), limit) == whole
    else:
        with pytest.raises(stepwell.StepUsageError, match=f"within {limit} bytes"):
            _codec.read(iter(parts), limit)


@pytest.mark.parametrize("lib", [httpx, httpx2])
@given(method=st.sampled_from(["GET", "POST", "DELETE"]), body=st.binary(max_size=100), key=st.text("abc", max_size=5))
def test_a_request_comes_through_the_wire_as_the_client_made_it(lib: Any, method: str, body: bytes, key: str) -> None:
    request = lib.Request(
        method,
        "http://api.test:81/v1/x?key=secret",
        headers=[("X-A", "1"), ("X-A", "2"), ("Idempotency-Key", key)],
        content=body,
        extensions={"timeout": {"read": 600.0}},
    )
    out = _codec.Outgoing(request, _policy.base_policy(None, None, at_most_once=False))
    assert out.step_id == f"{method} api.test:81/v1/x"
    sent = parse_gateway(render_gateway(out.body()))
    assert (sent.url, sent.method, sent.body or b"", sent.rich) == (str(request.url), method, body, True)
    assert sent.headers == (("X-A", "1"), ("X-A", "2"), ("Idempotency-Key", key))
    assert sent.policy.timeouts.read == 600
