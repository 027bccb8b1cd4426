"""What the side panel says of a step, or of the run as a whole. Credentials are masked. Pure."""

from dataclasses import dataclass, replace
from typing import cast

import msgspec

from stepwell.core.model import Attempt, RunStatus, RunView, Step, StepStatus
from stepwell.core.requestcopies import RequestCopy, read_copy
from stepwell.server.api.masks import mask_event, mask_gateway
from stepwell.server.api.render import memo_value
from stepwell.server.dashboard import curl
from stepwell.server.dashboard.bodies import Shown, of_body, of_json, of_response, tree
from stepwell.server.dashboard.stacks import Stack, folded
from stepwell.wire.errors import ErrorInfo, parse_error
from stepwell.wire.fetch_headers import find
from stepwell.wire.masks import mask_url
from stepwell.wire.memos import BadMemo, parse_memo
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
class Asked:
    """What was sent, credentials masked. ``lost``: bytes of a body that is not kept."""

    method: str
    url: str
    headers: list[tuple[str, str]]
    body: Shown
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Panel:
    """``step``: None for the run as a whole. ``inputs``: what it was given, each with a heading."""

    step: Step | None
    inputs: list[tuple[str, Shown]]
    output: Shown | None = None
    error: ErrorInfo | None = None
    asked: Asked | None = None
    answer: Answer | None = None
    curl: str | None = None
    attempts: tuple[Attempt, ...] = ()
    data: str | None = None
    """Of the one event of a run: what its function is invoked with once more, or with something else."""

    @property
    def stack(self) -> Stack | None:
        """Where the error came from."""
        return folded(self.error.stack) if self.error is not None and self.error.stack else None


def of_run(view: RunView, address: str) -> Panel:
    """The run: its events, and what came of it."""
    run = view.run
    events = [_event(body) for body in view.events]
    inputs = [(str(event.get("name", "event")), Shown("json", _pretty(event), tree(event))) for event in events]
    command = curl.of_event(address, str(events[0].get("name", "")), events[0].get("data", {})) if events else None
    panel = Panel(None, inputs, curl=command, data=_invoking(events))
    if run.status is RunStatus.FAILED:
        return replace(panel, error=parse_error(run.output))
    error = ErrorInfo(name="The last call failed", message=run.error) if run.error else None
    return replace(panel, output=None if run.output is None else of_json(run.output), error=error)


def of_step(step: Step, stored: bytes | None = None, beside: bytes | None = None) -> Panel:
    """A step. ``stored``: the beginning of its response's body, ``beside``: its request's, where they are beside the state."""
    inputs = [] if step.input is None else [("Edited input", of_json(step.input))]
    copy = read_copy(step.info)
    command = None if copy is None else curl.of_request(copy, beside)
    panel = Panel(step, inputs, asked=copy and _asked(copy, beside), curl=command, attempts=step.attempts)
    if not step.ended:
        return panel
    name, value = memo_value(step)
    if name == "error" or step.status is StepStatus.FAILED:
        return replace(panel, error=parse_error(value))
    if opcode(step.op) is Opcode.GATEWAY:
        answer = _answer(value, stored)
        if answer is not None:
            return replace(panel, answer=answer)
    return replace(panel, output=of_json(bytes(value)))


def _asked(copy: RequestCopy, beside: bytes | None) -> Asked:
    body = copy.text.encode() if copy.text is not None else copy.data if copy.data is not None else beside
    url = mask_url(copy.url) + (f"?{copy.query}" if copy.query else "")
    shown = of_body(find(copy.headers, "content-type"), body or b"")
    return Asked(copy.method, url, list(copy.headers), shown, 0 if body is not None else copy.size)


def body_ref(step: Step) -> str | None:
    """Where the step's response body is kept, when that is beside the state."""
    if opcode(step.op) is not Opcode.GATEWAY or not step.ended or step.status is StepStatus.FAILED:
        return None
    try:
        return parse_memo(step.memo or b"null")[1]
    except BadMemo:
        return None


def _answer(masked: msgspec.Raw, stored: bytes | None) -> Answer | None:
    try:
        response, ref = parse_memo(b'{"data":' + bytes(mask_gateway(masked)) + b"}")
    except BadMemo:
        return None
    body = response.body if ref is None else stored or b""
    hops = [(hop.status, hop.url) for hop in response.history]
    return Answer(response.status, response.url, list(response.headers), hops, of_response(response, body), ref)


def _invoking(events: list[dict[str, object]]) -> str | None:
    """The data of the event, without what the platform put in; None for a batch."""
    if len(events) != 1:
        return None
    data = events[0].get("data")
    given = cast("dict[str, object]", data) if isinstance(data, dict) else {}
    return _pretty({name: value for name, value in given.items() if name != "_inngest"})


def _event(body: bytes) -> dict[str, object]:
    try:
        found: object = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return {"name": "event", "data": body.decode("utf-8", "replace")}
    return mask_event(cast("dict[str, object]", found)) if isinstance(found, dict) else {"name": "event", "data": found}


def _pretty(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
