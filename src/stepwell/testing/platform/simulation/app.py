"""The app: does what a call asks for, as a function of an SDK would. It remembers what it was told, to find contradictions."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from stepwell.testing.platform.simulation.script import Do, Function, Stage
from stepwell.testing.platform.simulation.stores import SharedStore
from stepwell.wire.calls import Answer, AnswerKind, CallRequest
from stepwell.wire.errors import ErrorInfo
from stepwell.wire.ops import Op

Tell = Callable[[str, Sequence[Op], int], Awaitable[str | None]]
"""Tells any process of steps that were run within a call: run id, ops, generation. None: nobody answered."""
_DURATION = "{}ms"


class App:
    """``send`` sends an event by name and id; ``problem`` is told of what must not be.

    ``repeats``: whether calls may have come twice.
    """

    def __init__(
        self,
        functions: Sequence[Function],
        store: SharedStore,
        tell: Tell,
        send: Callable[[str, str], Awaitable[bool]],
        problem: Callable[[str], None],
        repeats: Callable[[], bool],
    ) -> None:
        self._functions = {function.id: function for function in functions}
        self._store = store
        self._tell = tell
        self._send = send
        self._problem = problem
        self._repeats = repeats
        self._seen: dict[str, list[tuple[str, bytes]]] = {}
        self._made = 0
        self.healthy = False
        """From now on nothing fails."""

    async def call(self, request: CallRequest) -> Answer:
        """One call, from its arrival to the answer."""
        memos = self._memos(request)
        function = self._functions[request.function_id]
        self._check_wanted(request)
        if not request.is_discovery:
            does = {do.name: do for stage in function.stages for do in stage.does}
            asked = does.get(request.step_id)
            return _ops([await self._step(asked, request)]) if asked else _error("NoSuchStep", no_retry=True)
        for stage in function.stages:
            left = [do for do in stage.does if do.name not in memos]
            if stage.told and not request.disable_immediate:
                left = await self._tell_each(left, request)
            if left and (not stage.race or len(left) == len(stage.does)):
                return _ops(await self._report(stage, left, request))
        return _error("Raised") if function.raises else _returned(request.run_id)

    def _memos(self, request: CallRequest) -> dict[str, bytes]:
        """What the call carries, held against what earlier calls of the run carried."""
        carried = [(step_id, request.steps[step_id]) for step_id in request.stack[: request.current]]
        before = self._seen.setdefault(request.run_id, [])
        for old, new in zip(before, carried, strict=False):
            if old != new:
                self._problem(f"run {request.run_id}: the app was told {old}, and now {new}")
        if len(carried) > len(before):
            self._seen[request.run_id] = carried
        return dict(carried)

    def _check_wanted(self, request: CallRequest) -> None:
        """Who holds the claim must not ask for a step that has its result."""
        run_id, step_id = request.run_id, request.step_id
        held = self._store.holds_claim(run_id, step_id, request.generation)
        if (
            not request.is_discovery
            and held
            and not self._repeats()
            and self._store.result(run_id, step_id) is not None
        ):
            self._problem(f"run {run_id}: the app was asked to run step {step_id}, which has its result")

    async def _tell_each(self, left: list[Do], request: CallRequest) -> list[Do]:
        """Run the steps and report each at once; those that nobody wanted to know of."""
        for place, do in enumerate(left):
            told = await self._tell(request.run_id, [await self._step(do, request)], request.generation)
            if told != "ok":
                return left[place:]
        return []

    async def _report(self, stage: Stage, left: list[Do], request: CallRequest) -> list[Op]:
        alone = len(stage.does) == 1 and left[0].kind in ("run", "send") and not request.disable_immediate
        if alone or (stage.told and len(left) == 1 and not request.disable_immediate):
            return [await self._step(left[0], request)]
        return [_op(do, stage.race, request.run_id) for do in left]

    async def _step(self, do: Do, request: CallRequest) -> Op:
        """Run a step's code. Each execution has a result of its own."""
        await asyncio.sleep(do.ms / 1000)
        self._made += 1
        if request.attempt < do.fails and not self.healthy:
            return Op(op="StepError", id=do.name, error=msgspec.Raw(b'{"name":"E","message":"m"}'))
        sent = do.kind != "send" or await self._send(do.target, f"{request.run_id}.{do.name}")
        if not sent:
            return Op(op="StepError", id=do.name, error=msgspec.Raw(b'{"name":"E","message":"not sent"}'))
        return Op(op="StepRun", id=do.name, data=msgspec.Raw(b"%d" % self._made))


def _op(do: Do, race: bool, run_id: str) -> Op:
    opts: dict[str, Any] = {"parallelMode": "race"} if race else {}
    match do.kind:
        case "sleep":
            return Op(op="Sleep", id=do.name, name=_DURATION.format(do.ms), opts=_raw(opts))
        case "event":
            opts["timeout"] = _DURATION.format(do.ms + 1_000)
            return Op(op="WaitForEvent", id=do.name, name=do.target, opts=_raw(opts))
        case "signal":
            opts |= {"signal": do.target, "timeout": _DURATION.format(do.ms + 1_000), "conflict": "replace"}
            return Op(op="WaitForSignal", id=do.name, opts=_raw(opts))
        case "invoke":
            opts |= {"function_id": do.target, "payload": {"data": {"n": 1}}}
            if do.ms < 2_000:  # else as long as the child takes
                opts["timeout"] = _DURATION.format(60_000)
            return Op(op="InvokeFunction", id=do.name, opts=_raw(opts))
        case "fetch" | "once":
            opts |= {"url": f"http://up/{run_id}/{do.name}", "method": "POST"}
            opts["stepwell"] = {"policy": {"at_most_once": do.kind == "once"}}
            return Op(op="Gateway", id=do.name, opts=_raw(opts))
        case _:
            return Op(op="StepPlanned", id=do.name, opts=_raw(opts))


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def _ops(ops: list[Op]) -> Answer:
    return Answer(kind=AnswerKind.OPS, ops=ops, req_version=2)


def _error(name: str, *, no_retry: bool | None = None) -> Answer:
    return Answer(kind=AnswerKind.ERROR, error=ErrorInfo(name=name, message="m"), no_retry=no_retry)


def _returned(run_id: str) -> Answer:
    return Answer(kind=AnswerKind.RETURNED, data=msgspec.json.encode(run_id), req_version=2)
