"""The trace context: what is read, what is not, and that it comes back as it went."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.wire.traces import TraceContext, parse_context, read_context

IDS = st.integers(min_value=1)
STATES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=512)
CONTEXTS = st.builds(
    TraceContext,
    IDS.map(lambda n: f"{n % 2**128 or 1:032x}"),
    IDS.map(lambda n: f"{n % 2**64 or 1:016x}"),
    st.booleans(),
    STATES,
)
GOOD = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@given(CONTEXTS)
def test_what_is_written_is_read(context: TraceContext) -> None:
    assert read_context(context.text) == context
    assert parse_context(context.headers["traceparent"], context.headers.get("tracestate")) == context


@pytest.mark.parametrize(
    "bad",
    [
        None,
        "",
        GOOD.upper(),
        GOOD + "-more",
        "ff" + GOOD[2:],
        GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32),
        GOOD.replace("00f067aa0ba902b7", "0" * 16),
        GOOD[:-1],
        GOOD + "\r\nx: y",
    ],
)
def test_what_is_no_context_is_none(bad: str | None) -> None:
    assert parse_context(bad) is None


def test_later_versions_are_read_and_odd_states_dropped() -> None:
    found = parse_context("01" + GOOD[2:] + "-more", "a=ü")
    assert found == TraceContext(GOOD[3:35], GOOD[36:52])
