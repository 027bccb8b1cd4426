"""W3C Trace Context: the ``traceparent`` and ``tracestate`` headers (protocol section 2)."""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_STATE = re.compile(r"[\x20-\x7e]{1,512}")


class TraceContext(msgspec.Struct, frozen=True):
    """A place in a trace. Ids in hex; ``state`` is passed on as it came."""

    trace_id: str
    span_id: str
    sampled: bool = True
    state: str = ""

    @property
    def parent(self) -> str:
        """As a ``traceparent``."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"

    @property
    def text(self) -> str:
        """Both headers as one text, for :func:`read_context`."""
        return f"{self.parent} {self.state}".rstrip()

    @property
    def headers(self) -> dict[str, str]:
        """The headers that carry it."""
        return {TRACEPARENT: self.parent, TRACESTATE: self.state} if self.state else {TRACEPARENT: self.parent}


def parse_context(parent: str | None, state: str | None = None) -> TraceContext | None:
    """The context in the two headers; None where they carry none, or none that can be read."""
    found = _PARENT.fullmatch((parent or "").strip())
    if found is None or found[1] == "ff" or (found[1] == "00" and found[5]):
        return None
    if not int(found[2], 16) or not int(found[3], 16):
        return None
    stripped = (state or "").strip()
    kept = stripped if _STATE.fullmatch(stripped) else ""
    return TraceContext(found[2], found[3], bool(int(found[4], 16) & 1), kept)


def context_of(headers: Mapping[str, str]) -> TraceContext | None:
    """The context in headers, by lower-case name; None where they carry none."""
    return parse_context(headers.get(TRACEPARENT), headers.get(TRACESTATE))


def read_context(text: str) -> TraceContext | None:
    """The context in ``TraceContext.text``; None in an empty text."""
    parent, _, state = text.partition(" ")
    return parse_context(parent, state)
