"""``POST /v1/checkpoint/{run}/async``: steps reported while a call is in flight (protocol 1.8). A hot path."""

from dataclasses import dataclass

import msgspec
from starlette.types import Receive, Scope

from stepwell.server.api.auth import require_bearer
from stepwell.server.api.body import read_body
from stepwell.server.api.facade import EngineFacade
from stepwell.server.api.problems import Problem
from stepwell.server.settings import Settings
from stepwell.wire.answers import parse_ops
from stepwell.wire.constants import MAX_REQUEST_BYTES, MAX_STEP_OUTPUT
from stepwell.wire.ids import is_ulid
from stepwell.wire.ops import Op, Opcode, opcode

_ALLOWED = frozenset({Opcode.STEP, Opcode.STEP_RUN, Opcode.STEP_PLANNED, Opcode.DEFER_ADD, Opcode.DEFER_ABORT})


class _Wire(msgspec.Struct):
    """The request's body; unknown keys are ignored."""

    steps: msgspec.Raw = msgspec.Raw(b"[]")
    generation_id: int | None = None
    run_id: str | None = None


_DECODER = msgspec.json.Decoder(_Wire)


@dataclass(slots=True, frozen=True)
class Report:
    """What a checkpoint reports. ``generation`` 0: not fenced."""

    steps: list[Op]
    generation: int


class Checkpoint:
    """Records reported steps at once, so that a process that dies does not run them again."""

    def __init__(self, engine: EngineFacade, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, run_id: str) -> None:
        """Take one report, or raise :class:`Problem` 400, 401, 404, 409 or 413."""
        require_bearer(self._settings, scope)
        if not is_ulid(run_id):
            raise Problem(400, f"{run_id!r} is not a run id.")
        report = parse_report(await read_body(scope, receive, MAX_REQUEST_BYTES), run_id)
        said = await self._engine.checkpoint(run_id, report.steps, report.generation)
        if said == "unknown":
            raise Problem(404, f"There is no run {run_id}.", code="run_unknown")
        if said == "stale":
            raise Problem(409, f"Another call of run {run_id} has taken over.", code="stale")


def parse_report(body: bytes, run_id: str) -> Report:
    """Read a report. Raises :class:`Problem` 400 when it is malformed, 413 when a step is too large."""
    try:
        wire = _DECODER.decode(body)
        steps = parse_ops(wire.steps)
    except (ValueError, msgspec.DecodeError) as error:
        raise Problem(400, f"The checkpoint is not understood: {error}.") from None
    if wire.run_id and wire.run_id != run_id:
        raise Problem(400, "The run id in the body is not the one in the path.")
    for op in steps:
        _check(op)
    return Report(steps, wire.generation_id or 0)


def _check(op: Op) -> None:
    if opcode(op.op) not in _ALLOWED:
        raise Problem(400, f"A checkpoint can not carry the op {op.op!r}; report it in the answer of the call.")
    if not op.id:
        raise Problem(400, f"An op {op.op} of the checkpoint has no step id.")
    if op.data is not None and len(bytes(op.data)) > MAX_STEP_OUTPUT:
        raise Problem(413, f"The output of step {op.name or op.id} is larger than {MAX_STEP_OUTPUT >> 20} MiB.")
