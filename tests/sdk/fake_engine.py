"""A tiny engine for one run: calls the executor, applies the ops, completes steps in a chosen order, calls again."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from stepwell import Client, TriggerEvent
from stepwell.sdk.drivers.aio import Executor
from stepwell.sdk.drivers.settle import Patience
from stepwell.wire.calls import Answer, AnswerKind, CallRequest
from stepwell.wire.durations import parse_duration
from stepwell.wire.fetch import FetchResponse
from stepwell.wire.gateway import parse_gateway
from stepwell.wire.memos import memo
from stepwell.wire.ops import Op

QUICK = Patience(unknown=0.01, library=1.0, real=5.0, spinning=0.05, idle=0.3)
Choose = Callable[[list[str]], int]


def first(names: list[str]) -> int:
    return 0


def last(names: list[str]) -> int:
    return len(names) - 1


def serve(function: Any, **options: Any) -> tuple[Client, str]:
    client = Client("app", is_production=False)
    client.create_function(fn_id="f", trigger=TriggerEvent("go"), **options)(function)
    return client, "app-f"


def _echo(request: Any) -> FetchResponse:
    return FetchResponse(status=200, url=request.url, body=request.url.encode())


class Failed(Exception):
    """The run failed."""


class Engine:
    """``choose`` picks which of the pending steps (names, in order) ends next; timers end when nothing else is pending."""

    def __init__(
        self,
        function: Any,
        *,
        replay: bool = False,
        choose: Choose = first,
        max_attempts: int = 3,
        patience: Patience = QUICK,
        wait_for_group: bool = True,
        data: dict[str, Any] | None = None,
        upstream: Callable[[Any], FetchResponse] | None = None,
        **options: Any,
    ) -> None:
        client, self.function_id = serve(function)
        self.late: list[str] = []
        self.executor = Executor(
            client, always_replay=replay, patience=patience, on_late=self._on_late, give_up_s=0.5, **options
        )
        self.choose = choose
        self.max_attempts = max_attempts
        self.wait_for_group = wait_for_group
        self.event = msgspec.json.encode({"name": "go", "data": data or {}, "id": "e1", "ts": 1})
        self.steps: dict[str, bytes] = {}
        self.stack: list[str] = []
        self.pending: dict[str, Op] = {}
        self.answers: list[Answer] = []
        self.names: dict[str, str] = {}
        self.calls = 0
        self.upstream = upstream or _echo
        self._late = asyncio.Event()

    def _on_late(self, run_id: str) -> None:
        self.late.append(run_id)
        self._late.set()

    def request(self, step_id: str = "step", attempt: int = 0, **fields: Any) -> CallRequest:
        return CallRequest(
            function_id=self.function_id,
            run_id="run1",
            events=[self.event],
            steps=dict(self.steps),
            stack=list(self.stack),
            current=len(self.stack),
            step_id=step_id,
            attempt=attempt,
            max_attempts=self.max_attempts,
            **fields,
        )

    async def call(self, step_id: str = "step", attempt: int = 0, **fields: Any) -> Answer:
        self.calls += 1
        answer = await asyncio.wait_for(self.executor.execute(self.request(step_id, attempt, **fields)), 20)
        self.answers.append(answer)
        return answer

    def end(self, step_id: str, value: bytes) -> None:
        if step_id not in self.steps:
            self.steps[step_id] = value
            self.stack.append(step_id)
        self.pending.pop(step_id, None)

    async def run(self) -> Any:
        try:
            return await asyncio.wait_for(self._run(), 30)
        finally:
            await self.executor.close()

    async def _run(self) -> Any:
        attempt = 0
        while True:
            answer = await self.call(attempt=attempt, disable_immediate=bool(self.pending))
            attempt = 0
            if answer.kind is AnswerKind.RETURNED:
                return msgspec.json.decode(answer.data)
            if answer.kind is AnswerKind.ERROR:
                attempt = self._retry_run(answer)
                continue
            ended = len(self.stack)
            again = self._apply(answer)
            if again is not None:
                attempt = again
                continue
            if len(self.stack) == ended:
                await self._complete()

    def _retry_run(self, answer: Answer) -> int:
        made = sum(1 for each in self.answers if each.kind is AnswerKind.ERROR)
        assert answer.error is not None
        if answer.no_retry or made >= self.max_attempts:
            raise Failed(f"{answer.error.name}: {answer.error.message}")
        return made

    def _apply(self, answer: Answer) -> int | None:
        """The attempt of the call that must be repeated, if one must."""
        for op in answer.ops:
            self.names[op.id] = op.display_name or ""
            if op.op == "StepRun":
                self.end(op.id, b'{"data":' + bytes(op.data or b"null") + b"}")
            elif op.op == "StepFailed" or (op.op == "StepError" and answer.no_retry):
                self.end(op.id, b'{"error":' + bytes(op.error or b"null") + b"}")
            elif op.op == "StepError":
                return sum(1 for each in self.answers if any(o.id == op.id and o.op == "StepError" for o in each.ops))
            elif op.id not in self.steps:
                self.pending.setdefault(op.id, op)
        return None

    async def _complete(self) -> None:
        """End one pending step, or the whole group when its steps do not race."""
        if not self.pending:
            await asyncio.wait_for(self._late.wait(), 30)
            self._late.clear()
            return
        while self.pending:
            awake = [key for key, op in self.pending.items() if op.op != "Sleep"]
            if awake:
                key = awake[self.choose([self.pending[key].display_name or "" for key in awake]) % len(awake)]
            else:
                key = min(self.pending, key=lambda each: round(parse_duration(self.pending[each].name or "") / 1000))
            op = self.pending[key]
            await self._perform(key, op)
            if op.opts and b'"race"' in bytes(op.opts):
                return
            if not self.wait_for_group:
                return

    async def _perform(self, key: str, op: Op) -> None:
        if op.op == "Sleep":
            self.end(key, b"null")
        elif op.op == "Gateway":
            request = parse_gateway(bytes(op.opts or b"{}"))
            self.end(key, memo(self.upstream(request), request.rich))
        else:
            await self._target(key)

    async def _target(self, key: str) -> None:
        for attempt in range(self.max_attempts):
            answer = await self.call(key, attempt)
            if answer.kind is AnswerKind.ERROR:
                assert answer.error is not None
                raise Failed(f"{answer.error.name}: {answer.error.message}")
            (op,) = answer.ops
            assert op.id == key
            if op.op == "StepRun":
                return self.end(key, b'{"data":' + bytes(op.data or b"null") + b"}")
            if op.op == "StepFailed" or answer.no_retry:
                return self.end(key, b'{"error":' + bytes(op.error or b"null") + b"}")
        raise AssertionError("the SDK reports the last failure as StepFailed")
