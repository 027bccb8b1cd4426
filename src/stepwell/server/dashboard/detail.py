"""What the side panel says of a step, or of the run as a whole. Credentials are masked. Pure."""

from dataclasses import dataclass
from typing import cast

import msgspec

from stepwell.core.model import Attempt, RunStatus, RunView, Step, StepStatus
from stepwell.server.api.masks import mask_event, mask_gateway
from stepwell.server.api.render import memo_value
from stepwell.server.dashboard import curl
from stepwell.server.dashboard.bodies import Shown, of_json, of_response, tree
from stepwell.wire.errors import ErrorInfo, parse_error
from stepwell.wire.gateway import BadMemo, parse_memo
from stepwell.wire.ops import Opcode, opcode


@dataclass(frozen=True, slots=True)
class Answer:
    """What an upstream answered. ``ref``: where a body is that is kept beside the state."""

    status: int
    url: str
    headers: list[tuple[str, str]]
    hops: list[tuple[int, str]]
    body: Shown
    ref: str | None = None


@dataclass(frozen=True, slots=True)
class Panel:
    """``step``: None for the run as a whole. ``inputs``: what it was given, each with a heading."""

    step: Step | None
    inputs: list[tuple[str, Shown]]
    output: Shown | None = None
    error: ErrorInfo | None = None
    answer: Answer | None = None
    curl: str | None = None
    attempts: tuple[Attempt, ...] = ()


def of_run(view: RunView, address: str) -> Panel:
    """The run: its events, and what came of it."""
    run = view.run
    events = [_event(body) for body in view.events]
    inputs = [(str(event.get("name", "event")), Shown("json", _pretty(event), tree(event))) for event in events]
    command = curl.of_event(address, str(events[0].get("name", "")), events[0].get("data", {})) if events else None
    if run.status is RunStatus.FAILED:
        return Panel(None, inputs, error=parse_error(run.output), curl=command)
    error = ErrorInfo(name="The last call failed", message=run.error) if run.error else None
    return Panel(None, inputs, None if run.output is None else of_json(run.output), error, curl=command)


def of_step(step: Step, stored: bytes | None = None) -> Panel:
    """A step. ``stored``: the beginning of its response's body, where that is kept beside the state."""
    inputs = [] if step.input is None else [("Edited input", of_json(step.input))]
    command = curl.of_info(step.info)
    if not step.ended:
        return Panel(step, inputs, curl=command, attempts=step.attempts)
    name, value = memo_value(step)
    if name == "error" or step.status is StepStatus.FAILED:
        return Panel(step, inputs, error=parse_error(value), curl=command, attempts=step.attempts)
    if opcode(step.op) is Opcode.GATEWAY:
        answer = _answer(step, value, stored)
        if answer is not None:
            return Panel(step, inputs, answer=answer, curl=command, attempts=step.attempts)
    return Panel(step, inputs, of_json(bytes(value)), curl=command, attempts=step.attempts)


def body_ref(step: Step) -> str | None:
    """Where the step's response body is kept, when that is beside the state."""
    if opcode(step.op) is not Opcode.GATEWAY or not step.ended or step.status is StepStatus.FAILED:
        return None
    try:
        return parse_memo(step.memo or b"null")[1]
    except BadMemo:
        return None


def _answer(step: Step, masked: msgspec.Raw, stored: bytes | None) -> Answer | None:
    try:
        response, ref = parse_memo(b'{"data":' + bytes(mask_gateway(masked)) + b"}")
    except BadMemo:
        return None
    body = response.body if ref is None else stored or b""
    hops = [(hop.status, hop.url) for hop in response.history]
    return Answer(response.status, response.url, list(response.headers), hops, of_response(response, body), ref)


def _event(body: bytes) -> dict[str, object]:
    try:
        found: object = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return {"name": "event", "data": body.decode("utf-8", "replace")}
    return mask_event(cast("dict[str, object]", found)) if isinstance(found, dict) else {"name": "event", "data": found}


def _pretty(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
