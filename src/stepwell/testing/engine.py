"""An engine for one run of a test: in memory, on a virtual clock, on the loop of the function."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from stepwell.core.callbacks import owner, parse_token
from stepwell.core.inputs import Env
from stepwell.core.outputs import Commit
from stepwell.sdk import values
from stepwell.sdk.functions import Function
from stepwell.sdk.triggers import TriggerCron
from stepwell.server.fetcher.base import Fetcher
from stepwell.server.runtime.engine import Engine
from stepwell.server.store.base import ClaimRequest, Transacted
from stepwell.server.store.memory import MemoryStore
from stepwell.testing.clock import FakeClock
from stepwell.testing.http import ScriptedHttp
from stepwell.testing.messages import SentRequest, sent
from stepwell.wire.calls import Answer, CallRequest
from stepwell.wire.constants import IN_PROCESS_URL
from stepwell.wire.events import INVOKED, IncomingEvent, invoking_event, parse_events
from stepwell.wire.fetch import FetchBroken, FetchOutcome, FetchRequest, FetchResponse
from stepwell.wire.functions import Registration, parse_registration


class SkippingStore(MemoryStore):
    """When nothing is under way and nothing is due, the clock jumps to when something will be."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock

    async def transact(self, commits: Sequence[Commit], claim: ClaimRequest | None = None) -> Transacted:
        """See :meth:`Store.transact`."""
        result = await super().transact(commits, claim)
        if claim is None or result.claimed or result.next_due is None or (await self.counts()).claimed:
            return result
        self._clock.jump(result.next_due)
        later = await super().transact((), replace(claim, now=self._clock.now()))
        return Transacted(result.outcomes, later.claimed, later.next_due)


class TestEngine(Engine):
    """The engine, with the same jitter every time."""

    __test__ = False

    def _env(self) -> Env:
        return dataclasses.replace(super()._env(), jitter=0.5)

    async def call_back(self, url: str, response: FetchResponse) -> None:
        """Take the call-back that an upstream makes to the URL."""
        parsed = parse_token(url.rpartition("/")[2])
        view = None if parsed is None else await self.view(parsed[0])
        if view is not None and parsed is not None:
            step = owner(view.steps.values(), parsed[1])
            if step is not None:
                await self.called_back(parsed[0], step.step_id, response)


class Tap:
    """A fetcher that notes what is sent. What goes wrong in the test's own HTTP ends the test: see ``trouble``."""

    def __init__(self, inner: Fetcher) -> None:
        self._inner = inner
        self.on_call_back: Callable[[str, FetchResponse], Awaitable[None]] | None = None
        self.requests: list[SentRequest] = []
        self.trouble: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def fetch(self, request: FetchRequest, attempt: int = 0) -> FetchOutcome:
        """See :meth:`Fetcher.fetch`."""
        self.requests.append(sent(request, attempt))
        try:
            outcome = await self._inner.fetch(request, attempt)
            if isinstance(self._inner, ScriptedHttp):
                await self._call_back(self._inner.take_call_backs())
            return outcome
        except Exception as problem:  # noqa: BLE001 - the test shall see it, whatever it is
            if not self.trouble.done():
                self.trouble.set_exception(problem)
            return FetchBroken(kind="aborted", message="the test's HTTP failed", final=True)

    async def _call_back(self, made: list[tuple[str, FetchResponse]]) -> None:
        """Before the response is recorded: no time passes between the two."""
        for url, response in made:
            if self.on_call_back is not None:
                await self.on_call_back(url, response)

    async def close(self) -> None:
        """See :meth:`Fetcher.close`."""
        await self._inner.close()


class NoCaller:
    """Reaches no app: the function lives in the test."""

    async def call(self, request: CallRequest) -> Answer:
        """Is never asked."""
        raise AssertionError(f"{request.function_id} lives in the test and is not called over HTTP")

    def ended(self, run_id: str) -> None:
        """Nothing is kept."""

    async def close(self) -> None:
        """Nothing to let go of."""


def registration(function: Function, event_name: str) -> Registration:
    """One function as its app registers it. One that is invoked or has a cron is started by ``event_name`` too."""
    url = f"{IN_PROCESS_URL}{function.client.app_id}"
    config = function.config(url)
    if not function.triggers or any(isinstance(trigger, TriggerCron) for trigger in function.triggers):
        others = [trigger for trigger in config["triggers"] if trigger.get("event") != event_name]
        config["triggers"] = [*others, {"event": event_name}]
    body = {
        "appName": function.client.app_id,
        "url": url,
        "sdk": "stepwell-py",
        "framework": "testing",
        "v": "0.1",
        "functions": [config],
    }
    return parse_registration(msgspec.json.encode(body))


def incoming(event: dict[str, Any], function_id: str, now: int) -> IncomingEvent:
    """The event as the platform takes it; it may have a name of the platform's own. Raises BadEvents.

    An invocation is one of ``function_id``.
    """
    body = values.encode({**event, "name": "own"}, "the event has")
    if event["name"] == INVOKED:
        return invoking_event(body, function_id, now)
    (found,) = parse_events(body, "application/json", now)
    whole = msgspec.json.decode(found.body, type=dict[str, Any])
    return found._replace(name=event["name"], body=msgspec.json.encode({**whole, "name": event["name"]}))
