"""Signals: waiting for one as a step, and sending one (protocol 1.5, 3.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from stepwell.sdk import memos, values
from stepwell.sdk.config import Config
from stepwell.sdk.invoking import Timeout, timeout_text
from stepwell.sdk.platform import Platform
from stepwell.wire.ops import Opcode

if TYPE_CHECKING:
    from stepwell.sdk.machine import Machine, StepCall

OnConflict = Literal["fail", "replace"]


class Signal(msgspec.Struct, frozen=True):
    """A signal that came: its name, and the JSON that was sent with it."""

    signal: str
    data: Any = None


def signal_call(machine: Machine, step_id: str, signal: str, timeout: Timeout, on_conflict: OnConflict) -> StepCall:
    """The call of a step that waits for ``signal``. Raises ``ValueError``."""
    if not signal or not isinstance(signal, str):  # pyright: ignore[reportUnnecessaryIsInstance] - users may err
        raise ValueError(f"step {step_id!r} has to say which signal it waits for: its name")
    if on_conflict not in ("fail", "replace"):
        raise ValueError(f"on_conflict of step {step_id!r} is 'fail' or 'replace', not {on_conflict!r}")
    call = machine.make(step_id, Opcode.WAIT_FOR_SIGNAL)
    call.name = signal
    call.opts = msgspec.json.encode({"signal": signal, "timeout": timeout_text(timeout), "conflict": on_conflict})
    return call


def came(memo: bytes) -> Signal | None:
    """The signal that came, or None. Raises ``StepError`` when the platform refused to wait."""
    found = memos.waited_for(memo)
    return None if found is None else msgspec.json.decode(found, type=Signal)


def encode_signal(signal: str, data: Any) -> bytes:
    """The request that sends a signal. Raises ``ValueError``, ``ValueNotSerializable``."""
    if not signal or not isinstance(signal, str):  # pyright: ignore[reportUnnecessaryIsInstance] - users may err
        raise ValueError("a signal has a name: send_signal('order/1/approved', {...})")
    return values.encode({"signal": signal, "data": data}, f"the data of the signal {signal!r} has")


async def send(config: Config, body: bytes) -> str | None:
    """Send one; the id of the run that was waiting. Raises ``PlatformError``."""
    return await Platform(config).signal(body)
