"""Stand-ins for the steps of a tested function: their callables are not run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stepwell.sdk.drivers.bodies import run_body
from stepwell.sdk.drivers.pool import Pool
from stepwell.sdk.machine import StepCall
from stepwell.sdk.signals import Signal
from stepwell.wire.calls import Answer, CallRequest
from stepwell.wire.ops import Op, Opcode

if TYPE_CHECKING:
    from stepwell.server.caller.base import Caller


_REPLACED = frozenset(
    {Opcode.STEP_PLANNED.value, Opcode.INVOKE.value, Opcode.WAIT_FOR_EVENT.value, Opcode.WAIT_FOR_SIGNAL.value}
)


class UnknownStep(AssertionError):
    """A stand-in was given for a step that the function never came to."""


@dataclass(frozen=True, slots=True)
class Each:
    """See :func:`each`."""

    results: tuple[Any, ...]


def each(*results: Any) -> Each:
    """One result for each attempt of a step, exceptions to be raised among them; the last is given again and again."""
    if not results:
        raise ValueError("each() needs a result at least")
    return Each(results)


class Overriding:
    """A caller that answers for the steps that have stand-ins, and asks ``inner`` for everything else.

    It has every step planned first, so that each is asked for on its own.
    """

    def __init__(self, inner: Caller, overrides: Mapping[str, Any]) -> None:
        self._inner = inner
        self._overrides = overrides
        self._calls: dict[str, StepCall] = {}
        self._pool = Pool()
        self.met: dict[str, str] = {}
        """The steps that the function came to: opcode by name."""

    async def call(self, request: CallRequest) -> Answer:
        """See :meth:`Caller.call`."""
        request.disable_immediate = True
        known = self._calls.get(request.step_id)
        if known is not None:
            return await run_body(known, self._pool, request.attempt, request.max_attempts)
        answer = await self._inner.call(request)
        answer.ops = [self._meet(op) for op in answer.ops]
        return answer

    def ended(self, run_id: str) -> None:
        """See :meth:`Caller.ended`."""
        self._inner.ended(run_id)

    async def close(self) -> None:
        """See :meth:`Caller.close`."""
        self._pool.close()
        await self._inner.close()

    def check(self) -> None:
        """Raises ``UnknownStep`` for a stand-in that was not used."""
        for name in self._overrides:
            op = self.met.get(name)
            if op == Opcode.STEP_PLANNED:
                continue
            if op is not None:
                raise UnknownStep(
                    f"steps={{{name!r}: ...}} stands in for a step.run, and that step is a {op} op: script it with http="
                )
            met = ", ".join(map(repr, self.met)) or "none"
            raise UnknownStep(
                f"steps= has {name!r}, and the function never came to a step of that id (it came to: {met})"
            )

    def _meet(self, op: Op) -> Op:
        """The op as the engine gets it: one that has a stand-in becomes a planned step, which is asked for next."""
        index = (op.userland.index if op.userland else None) or 0
        user_id = op.display_name or op.id
        label = f"{user_id}:{index}" if index else user_id
        name = label if label in self._overrides else user_id
        self.met.setdefault(label, op.op)
        if op.op not in _REPLACED or name not in self._overrides:
            return op
        self.met[name] = Opcode.STEP_PLANNED
        result = _as_signal(op) if op.op == Opcode.WAIT_FOR_SIGNAL else _as_is
        self._calls.setdefault(op.id, _stand_in(user_id, index, self._overrides[name], result))
        return Op(op=Opcode.STEP_PLANNED, id=op.id, display_name=op.display_name, userland=op.userland)


def _as_is(result: Any) -> Any:
    return result


def _as_signal(op: Op) -> Callable[[Any], Any]:
    """What stands in for a signal is its data; None is a time-out."""

    def made(result: Any) -> Any:
        return result if result is None or isinstance(result, Signal) else Signal(op.name or "", result)

    return made


def _stand_in(user_id: str, index: int, given: Any, made: Callable[[Any], Any]) -> StepCall:
    call = StepCall(user_id, index, 0, Opcode.STEP_RUN)
    results = list(given.results) if isinstance(given, Each) else [given]

    def body() -> Any:
        result: Any = results.pop(0) if len(results) > 1 else results[0]
        if not isinstance(result, BaseException) and callable(result):
            result = result()  # an exception's class makes the exception
        if isinstance(result, BaseException):
            raise result
        return made(result)

    call.body = body
    call.context = copy_context()
    return call
