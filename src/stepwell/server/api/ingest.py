"""``POST /e/{key}``: events in (protocol 1.2). A hot path, in plain ASGI."""

import os
from collections.abc import Callable

import msgspec
from starlette.types import Receive, Scope

from stepwell.server.api.auth import event_key_known
from stepwell.server.api.body import header, read_body
from stepwell.server.api.facade import EngineFacade
from stepwell.server.api.problems import Problem
from stepwell.server.api.strangers import from_elsewhere
from stepwell.server.settings import Settings
from stepwell.server.store.base import StoreError
from stepwell.wire.builtins import FETCH_EVENT
from stepwell.wire.constants import H_EVENT_SEED, MAX_REQUEST_BYTES
from stepwell.wire.events import BadEvents, event_ids, parse_events
from stepwell.wire.traces import TRACEPARENT, TRACESTATE, parse_context

Answer = tuple[int, bytes, dict[str, str]]
"""Status, JSON body, further headers."""


class Ingest:
    """Takes events in. A request is accepted whole or refused whole, so that it can be sent again without doubles."""

    def __init__(self, engine: EngineFacade, settings: Settings, now: Callable[[], int]) -> None:
        self._engine = engine
        self._settings = settings
        self._now = now

    async def __call__(self, scope: Scope, receive: Receive, key: str) -> Answer:
        """Answer one request."""
        if not event_key_known(self._settings, key):
            return 401, msgspec.json.encode({"status": 401, "message": "", "error": "Event key not found"}), {}
        try:
            ids = await self._accept(scope, await read_body(scope, receive, MAX_REQUEST_BYTES))
        except BadEvents as error:
            return _refused(400, str(error))
        except Problem as problem:
            return _refused(problem.status, problem.message)
        except StoreError as error:
            return _refused(503, str(error), {"Retry-After": "1"})
        return 200, msgspec.json.encode({"ids": ids, "status": 200}), {}

    async def _accept(self, scope: Scope, body: bytes) -> list[str]:
        now = self._now()
        events = parse_events(body, header(scope, "content-type"), now)
        if not events:
            return []
        if any(event.name == FETCH_EVENT for event in events) and from_elsewhere(self._settings, scope):
            raise BadEvents(f"The event {FETCH_EVENT!r} is for the command line: the page of a site can not send it.")
        trace = parse_context(header(scope, TRACEPARENT), header(scope, TRACESTATE))
        if trace is not None:
            events = [event._replace(trace=trace.text) for event in events]
        return await self._engine.ingest(events, self._ids(header(scope, H_EVENT_SEED), len(events), now))

    def _ids(self, seed: str | None, count: int, now: int) -> list[str]:
        if not seed:
            return self._engine.new_ids(count)
        return event_ids(seed, count, now, [os.urandom(10) for _ in range(count)])


def _refused(status: int, message: str, headers: dict[str, str] | None = None) -> Answer:
    return status, msgspec.json.encode({"ids": [], "status": status, "error": message}), headers or {}
