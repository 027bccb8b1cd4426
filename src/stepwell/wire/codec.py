"""Calls as HTTP bodies, and back (protocol section 2). Answers are in :mod:`stepwell.wire.answers`."""

from collections.abc import Mapping, MutableMapping
from typing import Any, Final

import msgspec

from stepwell.wire.calls import CallRequest
from stepwell.wire.constants import DEFAULT_RETRIES, DISCOVERY, UNKNOWN_VERSION
from stepwell.wire.jsons import decode_as
from stepwell.wire.signing import canonical_bytes

Cache = MutableMapping[bytes, bytes]

_NULL: Final = msgspec.Raw(b"null")


class BadCall(ValueError):
    """A call request that can not be understood."""


def render_call(request: CallRequest, *, canonical: bool = False, cache: Cache | None = None) -> bytes:
    """The JSON body of a call: only ``stack[:current]`` and the steps named there.

    Memos and events are put in as they are. ``canonical`` makes it the RFC 8785 form, which signatures need; ``cache``
    then remembers the canonical form of memos and events, and is best kept as long as the run.
    """
    stack = list(request.stack[: request.current])
    events = [] if request.use_api else list(request.events)
    memos = [] if request.use_api else _memos(request, stack)
    first = request.events[0] if request.events else b"null"
    if canonical:
        memos.sort(key=lambda pair: pair[0])
        memos = [(key, _canonical(memo, cache)) for key, memo in memos]
        first = _canonical(first, cache)
        events = [first, *(_canonical(event, cache) for event in events[1:])] if events else []
    return b"".join(
        (
            b'{"ctx":',
            msgspec.json.encode(_context(request, stack), order="sorted"),
            b',"defers":{},"event":',
            first,
            b',"events":[',
            b",".join(events),
            b'],"steps":',
            msgspec.json.encode({key: msgspec.Raw(memo) for key, memo in memos}),
            b',"use_api":',
            b"true" if request.use_api else b"false",
            b',"version":',
            str(request.req_version).encode(),
            b"}",
        )
    )


def _memos(request: CallRequest, stack: list[str]) -> list[tuple[str, bytes]]:
    """What is on record, and edited inputs of steps that are not (protocol section 2)."""
    memos = [(key, request.steps[key]) for key in stack if key in request.steps]
    if not request.inputs:
        return memos
    known = {key for key, _ in memos}
    return memos + [(key, edited(args)) for key, args in request.inputs.items() if key not in known]


def edited(args: bytes) -> bytes:
    """How a call says what to run an unfinished step with."""
    return b'{"input":' + args + b"}"


def _canonical(raw: bytes, cache: Cache | None) -> bytes:
    if cache is None:
        return canonical_bytes(raw)
    found = cache.get(raw)
    if found is None:
        found = cache[raw] = canonical_bytes(raw)
    return found


def _context(request: CallRequest, stack: list[str]) -> dict[str, Any]:
    """``fn_id`` and ``qi_id`` are left out together where there is none: they invite checkpointing (protocol 3.7)."""
    context: dict[str, Any] = {
        "run_id": request.run_id,
        "env": "",
        "step_id": request.step_id,
        "attempt": request.attempt,
        "max_attempts": request.max_attempts,
        "disable_immediate_execution": request.disable_immediate,
        "use_api": request.use_api,
        "stack": {"stack": stack, "current": len(stack)},
    }
    if request.fn_uuid and request.qi_id:
        context |= {"fn_id": request.fn_uuid, "qi_id": request.qi_id, "job_id": request.qi_id}
    if request.request_id:
        context["request_id"] = request.request_id
    if request.generation > 0:
        context["generation_id"] = request.generation
    if request.rescued:
        context["rescued"] = True
    return context


class _Stack(msgspec.Struct):
    stack: list[str] | None = None
    current: int | None = None


class _Context(msgspec.Struct):
    run_id: str
    attempt: int | None = None
    max_attempts: int | None = None
    disable_immediate_execution: bool | None = None
    use_api: bool | None = None
    stack: _Stack | None = None
    request_id: str | None = None
    generation_id: int | None = None
    rescued: bool | None = None
    fn_id: str | None = None
    qi_id: str | None = None


class _Call(msgspec.Struct):
    ctx: _Context
    event: msgspec.Raw = _NULL
    events: list[msgspec.Raw] | None = None
    steps: dict[str, msgspec.Raw] | None = None
    version: int | None = None
    use_api: bool | None = None


def parse_call(body: bytes, fn_id: str, step_id: str = DISCOVERY) -> CallRequest:
    """The call in a request body; ``fn_id`` and ``step_id`` come from the URL's query. Raises BadCall.

    Unknown keys are ignored, absent and null ones get the protocol's defaults. With ``use_api`` set, events and steps
    have to be asked for.
    """
    try:
        call = decode_as(body, _Call)
    except ValueError as problem:
        raise BadCall(f"the call request can not be read: {problem}") from None
    ctx = call.ctx
    steps = {key: bytes(memo) for key, memo in (call.steps or {}).items()}
    inputs = parse_inputs(steps)
    stack, current = _stack(ctx.stack, {key: memo for key, memo in steps.items() if key not in inputs})
    inputs = {key: args for key, args in inputs.items() if key not in stack[:current]}
    return CallRequest(
        function_id=fn_id,
        run_id=ctx.run_id,
        events=[bytes(event) for event in call.events or [call.event]],
        steps={key: memo for key, memo in steps.items() if key not in inputs},
        inputs=inputs,
        stack=stack,
        current=current,
        step_id=step_id or DISCOVERY,
        attempt=ctx.attempt or 0,
        max_attempts=DEFAULT_RETRIES + 1 if ctx.max_attempts is None else ctx.max_attempts,
        disable_immediate=bool(ctx.disable_immediate_execution),
        use_api=bool(ctx.use_api or call.use_api),
        req_version=UNKNOWN_VERSION if call.version is None else call.version,
        request_id=ctx.request_id or "",
        generation=ctx.generation_id or 0,
        rescued=bool(ctx.rescued),
        fn_uuid=ctx.fn_id or "",
        qi_id=ctx.qi_id or "",
    )


def parse_inputs(steps: Mapping[str, bytes]) -> dict[str, bytes]:
    """The edited inputs among memos: objects whose only member is an array ``input``."""
    found: dict[str, bytes] = {}
    for key, memo in steps.items():
        if b'"input"' in memo[:16]:
            members = _members(memo)
            args = bytes(members.get("input", b"")) if len(members) == 1 else b""
            if args.startswith(b"["):
                found[key] = args
    return found


def _members(memo: bytes) -> dict[str, msgspec.Raw]:
    try:
        return msgspec.json.decode(memo, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError:
        return {}


def _stack(given: _Stack | None, steps: dict[str, bytes]) -> tuple[list[str], int]:
    """A server that sends no stack at all is taken to send the steps in their order."""
    if given is None or given.stack is None:
        return list(steps), len(steps)
    count = len(given.stack)
    return given.stack, count if given.current is None else max(0, min(given.current, count))
