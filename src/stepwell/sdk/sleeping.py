"""Sleeping as a step (protocol 3.4)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from stepwell.wire.dates import rfc3339
from stepwell.wire.durations import format_duration, to_ms
from stepwell.wire.ops import Opcode

if TYPE_CHECKING:
    from stepwell.sdk.machine import Machine, StepCall


def sleep_call(machine: Machine, step_id: str, duration: int | timedelta | str) -> StepCall:
    """The call of a step that sleeps for a text, timedelta or milliseconds. Raises ``TypeError``, ``ValueError``."""
    return _call(machine, step_id, format_duration(_ms(duration)))


def sleep_until_call(machine: Machine, step_id: str, until: datetime) -> StepCall:
    """The call of a step that sleeps until a moment. Raises ``ValueError`` for one without a zone, ``TypeError``."""
    return _call(machine, step_id, _instant(until))


def _call(machine: Machine, step_id: str, text: str) -> StepCall:
    call = machine.make(step_id, Opcode.SLEEP)
    call.name = text
    return call


def _instant(moment: datetime) -> str:
    """The protocol's form of a moment."""
    if not isinstance(moment, datetime):  # pyright: ignore[reportUnnecessaryIsInstance] - users may err
        raise TypeError(f"sleep_until takes a datetime with its zone, such as datetime.now(UTC), not {moment!r:.60}")
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no zone: say which with tzinfo=, such as datetime.now(UTC)")
    return rfc3339(moment)


def _ms(duration: int | timedelta | str) -> int:
    """A bare number is whole milliseconds, as in the other SDKs of the protocol; a fraction looks like seconds: refused."""
    if isinstance(duration, float):
        raise TypeError(
            f"say the unit of a sleep: '{duration:g}s', timedelta(seconds={duration:g}), or whole milliseconds"
        )
    return to_ms(duration / 1000 if isinstance(duration, int) and not isinstance(duration, bool) else duration)
