"""Helpers: the TypeScript app as a process, and a hand-made caller that plays the platform's part of the protocol."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

APP = Path(__file__).parent.parent.parent / "examples" / "typescript"


@asynccontextmanager
async def typescript_app(*, platform: str, sample_api: str) -> AsyncIterator[str]:
    """Start the example app on a free port; gives its serve URL, kills the process at the end."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    env = kept | {"INNGEST_DEV": platform, "SAMPLE_API": sample_api, "PORT": "0"}
    command = ["node", "--import", "tsx", "src/app.ts"]
    process = await asyncio.create_subprocess_exec(*command, cwd=APP, env=env, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        line = (await asyncio.wait_for(process.stdout.readline(), 30)).decode()
        assert line.startswith("listening on "), f"the app did not start; it said {line!r}"
        yield line.removeprefix("listening on ").strip()
    finally:
        process.kill()
        await process.wait()


@dataclass
class Calls:
    """Calls one function again and again with the steps that it has so far, as a platform does."""

    url: str
    function_id: str
    event: str  # the SDK refuses an event that is none of its triggers
    data: dict[str, Any]
    steps: dict[str, Any] = field(default_factory=dict[str, Any])
    stack: list[str] = field(default_factory=list[str])
    requests: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def body(self, step_id: str) -> dict[str, Any]:
        """A call request without ``ctx.fn_id``, so that the SDK reports each step instead of checkpointing."""
        event = {
            "id": "01JQDAE4RQF8MBCR55T5AK4KXS",
            "name": self.event,
            "data": self.data,
            "user": {},
            "ts": 1_750_000_000_000,
        }
        stack = {"stack": self.stack, "current": len(self.stack)}
        ctx = {"run_id": "01JQDAE4RQF8MBCR55T5AK4KXT", "env": "", "step_id": step_id, "attempt": 0, "max_attempts": 1}
        ctx |= {"disable_immediate_execution": False, "use_api": False, "stack": stack}
        return {"event": event, "events": [event], "steps": self.steps, "version": -1, "use_api": False, "ctx": ctx}

    async def call(self, http: httpx2.AsyncClient, step_id: str = "step") -> httpx2.Response:
        """One call request: a discovery, or one that targets a planned step."""
        query = {"fnId": self.function_id, "stepId": step_id}
        headers = {"x-request-id": str(uuid.uuid4()), "x-inngest-server-kind": "dev"}
        return await http.post(self.url, params=query, json=self.body(step_id), headers=headers)

    def save(self, step_id: str, memo: Any) -> None:
        """Record a step's result, and its place in the order of completion."""
        self.steps[step_id] = memo
        self.stack.append(step_id)

    async def act(self, http: httpx2.AsyncClient, op: dict[str, Any]) -> None:
        """Do what an op asks for."""
        if op["op"] == "StepRun":
            self.save(op["id"], {"data": op["data"]})
        elif op["op"] == "StepPlanned":
            for planned in (await self.call(http, op["id"])).json():
                await self.act(http, planned)
        elif op["op"] == "Gateway":
            self.save(op["id"], {"data": await self.fetch(http, op["opts"])})
        else:
            raise AssertionError(f"unexpected op {op}")

    async def fetch(self, http: httpx2.AsyncClient, opts: dict[str, Any]) -> dict[str, Any]:
        """Perform the request of a Gateway op and shape its result as the protocol has it."""
        self.requests.append(opts)
        answer = await http.request(opts["method"], opts["url"], headers=opts.get("headers"), content=opts.get("body"))
        headers = {name: value for name, value in answer.headers.items() if name != "content-length"}
        return {"url": opts["url"], "headers": headers, "body": answer.text, "status_code": answer.status_code}

    async def result(self, http: httpx2.AsyncClient) -> Any:
        """Go on until the function has returned; gives its result."""
        for _ in range(50):
            answer = await self.call(http)
            if answer.status_code == 200:
                return answer.json()
            assert answer.status_code == 206, answer.text
            for op in answer.json():
                await self.act(http, op)
        raise AssertionError(f"{self.function_id} did not end after 50 calls")
