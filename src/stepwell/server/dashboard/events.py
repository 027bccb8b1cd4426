"""Events: what came in, and what each of them triggered; and one to send."""

from collections.abc import Callable, Mapping

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from stepwell.core.model import Run, StoredEvent
from stepwell.core.pauses import sentence
from stepwell.core.unstarted import sentence as why
from stepwell.server.api.facade import EngineFacade
from stepwell.server.api.functions import unknown_function
from stepwell.server.api.masks import mask_event
from stepwell.server.api.problems import Problem
from stepwell.server.api.queries import ulid_param
from stepwell.server.dashboard.bodies import of_json
from stepwell.server.dashboard.curl import of_event
from stepwell.server.dashboard.pages import address, page, redirect
from stepwell.server.store.base import EventQuery, RunQuery
from stepwell.wire.events import BadEvents, invoking_event, parse_events
from stepwell.wire.ids import is_ulid
from stepwell.wire.jsons import decode_as

PAGE = 30
"""Events on a page."""
_RUNS = 20


class EventsPages:
    """``/events`` and what is below it, and the form that invokes a function."""

    def __init__(self, engine: EngineFacade, now: Callable[[], int]) -> None:
        self._engine = engine
        self._now = now

    async def newest(self, request: Request) -> Response:
        """The newest events, each with its runs; ``name`` and ``cursor`` in the URL."""
        name = request.query_params.get("name", "").strip()[:300]
        before = _cursor(request.query_params.get("cursor", ""))
        found = await self._engine.list_events(EventQuery(limit=PAGE + 1, before=before, name=name or None))
        shown = found[:PAGE]
        older = f"{shown[-1].received_at}-{shown[-1].internal_id}" if len(found) > PAGE else ""
        listed = [(event, await self._runs(event.internal_id)) for event in shown]
        return page(request, "events", {"listed": listed, "name": name, "older": older, "now": self._now()})

    async def show(self, request: Request) -> Response:
        """One event."""
        event_id = ulid_param(request, "event_id")
        event = await self._engine.event(event_id)
        if event is None:
            raise Problem(404, f"There is no event {event_id}.")
        body = _masked(event)
        runs = await self._runs(event_id)
        missed = await self._engine.unstarted(event_id)
        values = {
            "event": event,
            "body": of_json(msgspec.json.encode(body)),
            "runs": [run for run in runs if run.skipped is None],
            "missed": [(one, why(one.reason)) for one in missed],
            "curl": of_event(address(request), event.name, body.get("data", {})),
            "now": self._now(),
        }
        return page(request, "event", values)

    async def form(self, request: Request) -> Response:
        """The form to send one: with the name of the URL and its last payload, or those of the event ``like``."""
        name, like = request.query_params.get("name", "")[:300], request.query_params.get("like", "")
        event = await self._engine.event(like) if is_ulid(like) else None
        if event is None and name:
            event = next(iter(await self._engine.list_events(EventQuery(limit=1, name=name))), None)
        data: object = _masked(event).get("data") if event is not None else None
        text = msgspec.json.format(msgspec.json.encode(data or {}), indent=2).decode()
        values = {"name": name or (event.name if event else ""), "data": text, "names": self._names(), "problem": ""}
        return page(request, "send", values)

    async def send(self, request: Request, form: Mapping[str, str]) -> Response:
        """Send it, and go to it; what is wrong with it is said beside what was written."""
        name, data = form.get("name", "").strip(), form.get("data", "")
        try:
            body = msgspec.json.encode([{"name": name, "data": _object(data)}])
            (event,) = parse_events(body, "application/json", self._now())
            (event_id,) = await self._engine.ingest([event], self._engine.new_ids(1))
        except BadEvents as problem:
            values = {"name": name, "data": data, "names": self._names(), "problem": str(problem)}
            return page(request, "send", values, 400)
        return redirect(f"{event_id}")

    async def invoke(self, _request: Request, form: Mapping[str, str]) -> Response:
        """Start a function, whatever it listens to."""
        function, data = form.get("function", ""), form.get("data", "") or "{}"
        if not any(each.id == function for each in self._engine.functions()):
            raise unknown_function(function)
        if self._engine.pausing.since(function) is not None:
            raise Problem(409, sentence(function))
        try:
            event = invoking_event(msgspec.json.encode({"data": _object(data)}), function, self._now())
            (event_id,) = await self._engine.ingest([event], self._engine.new_ids(1))
        except BadEvents as problem:
            raise Problem(400, str(problem)) from None
        return redirect(f"../events/{event_id}")

    async def _runs(self, event_id: str) -> list[Run]:
        return await self._engine.runs(RunQuery(event_id=event_id, limit=_RUNS))

    def _names(self) -> list[str]:
        """The events that functions listen to."""
        triggers = [trigger.event for function in self._engine.functions() for trigger in function.triggers]
        return sorted({name for name in triggers if name and "*" not in name})


def _masked(event: StoredEvent) -> dict[str, object]:
    return mask_event(msgspec.json.decode(event.body, type=dict[str, object]))


def _object(text: str) -> object:
    try:
        found = decode_as((text.strip() or "{}").encode(), object)
    except ValueError as problem:
        raise BadEvents(f"The data can not be read: {problem}.") from None
    if not isinstance(found, dict):
        raise BadEvents('The data has to be a JSON object, such as {"id": 7}.')
    return found  # pyright: ignore[reportUnknownVariableType]


def _cursor(text: str) -> tuple[int, str] | None:
    at, _, event_id = text.partition("-")
    return (int(at), event_id) if at.isascii() and at.isdecimal() and len(at) < 16 and is_ulid(event_id) else None
