"""Ops: what an SDK reports in a 206 answer or a checkpoint. Protocol section 3.3 and 3.4."""

from enum import StrEnum

import msgspec


class Opcode(StrEnum):
    """Every opcode of the protocol that the server knows."""

    STEP = "Step"
    STEP_RUN = "StepRun"
    STEP_ERROR = "StepError"
    STEP_FAILED = "StepFailed"
    STEP_PLANNED = "StepPlanned"
    SLEEP = "Sleep"
    WAIT_FOR_EVENT = "WaitForEvent"
    WAIT_FOR_SIGNAL = "WaitForSignal"
    INVOKE = "InvokeFunction"
    GATEWAY = "Gateway"
    AI_GATEWAY = "AIGateway"
    RUN_COMPLETE = "RunComplete"
    SYNC_RUN_COMPLETE = "SyncRunComplete"
    DISCOVERY = "DiscoveryRequest"
    DEFER_ADD = "DeferAdd"
    DEFER_ABORT = "DeferAbort"
    NONE = "None"


_BY_NAME = {code.value.lower(): code for code in Opcode}


def opcode(name: str) -> Opcode | None:
    """The opcode of that name, in any case (protocol 3.3), or None when there is none."""
    return _BY_NAME.get(name.lower())


class Userland(msgspec.Struct, frozen=True):
    """The step's id as the user wrote it, and the index of its repeat."""

    id: str = ""
    index: int | None = None


class Timing(msgspec.Struct, frozen=True):
    """When the app began with a step, by its own clock, and how long it took. Nanoseconds (protocol 0)."""

    a: int
    b: int


class Op(msgspec.Struct, kw_only=True, rename="camel", omit_defaults=True):
    """One op. ``id`` is the hashed step id; ``data``, ``error`` and ``opts`` pass untouched. Unknown keys are ignored.

    Read ops with :func:`stepwell.wire.answers.parse_ops`: msgspec writes an optional Raw member, and can not decode one.
    """

    op: str
    id: str = ""
    name: str | None = None
    display_name: str | None = None
    opts: msgspec.Raw | None = None
    data: msgspec.Raw | None = None
    error: msgspec.Raw | None = None
    userland: Userland | None = None
    timing: Timing | None = None
