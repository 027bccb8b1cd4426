"""Events, read (protocol 1.6)."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stepwell.core.unstarted import sentence
from stepwell.server.api.auth import require_bearer
from stepwell.server.api.facade import EngineFacade
from stepwell.server.api.problems import Problem, wrapped
from stepwell.server.api.queries import integer_query, time_query, ulid_param, ulid_query
from stepwell.server.api.render import render_event, render_run
from stepwell.server.settings import Settings
from stepwell.server.store.base import EventQuery, RunQuery
from stepwell.wire.ids import ulid_millis

MAX_EVENTS = 51
"""How many events one answer may have."""
_RUNS_OF_EVENT = 1000


class Events:
    """The read side of events."""

    def __init__(self, engine: EngineFacade, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings

    def routes(self) -> list[Route]:
        """Where each is mounted."""
        return [
            Route("/v1/events", self.list),
            Route("/v1/events/{event_id:str}", self.show),
            Route("/v1/events/{event_id:str}/runs", self.runs),
        ]

    async def list(self, request: Request) -> Response:
        """Newest first, by ``name``, ``limit``, ``cursor`` (an internal id), ``received_after``, ``received_before``."""
        require_bearer(self._settings, request.scope)
        query = EventQuery(
            limit=integer_query(request, "limit", 20, 1, MAX_EVENTS),
            before=await self._place(ulid_query(request, "cursor")),
            name=request.query_params.get("name") or None,
            after=time_query(request, "received_after"),
            until=time_query(request, "received_before"),
        )
        found = await self._engine.list_events(query)
        cursor = found[-1].internal_id if len(found) == query.limit else None
        return wrapped([render_event(event) for event in found], cursor=cursor)

    async def show(self, request: Request) -> Response:
        """One event by its internal id."""
        require_bearer(self._settings, request.scope)
        event_id = ulid_param(request, "event_id")
        found = await self._engine.event(event_id)
        if found is None:
            raise _unknown(event_id)
        return wrapped(render_event(found))

    async def runs(self, request: Request) -> Response:
        """The runs that an event started, newest first; skipped ones too. What it did not start and why is beside them."""
        require_bearer(self._settings, request.scope)
        event_id = ulid_param(request, "event_id")
        found = await self._engine.runs(RunQuery(limit=_RUNS_OF_EVENT, event_id=event_id))
        if not found and await self._engine.event(event_id) is None:
            raise _unknown(event_id)
        missed = [
            {"function": one.function_id, "reason": one.reason, "message": sentence(one.reason), "run_id": one.run_id}
            for one in await self._engine.unstarted(event_id)
        ]
        return wrapped([render_run(run) for run in found], not_started=missed)

    async def _place(self, cursor: str | None) -> tuple[int, str] | None:
        """Where the last page ended. An event that is gone by now was received when its id says, as most are."""
        if cursor is None:
            return None
        event = await self._engine.event(cursor)
        return (ulid_millis(cursor) if event is None else event.received_at), cursor


def _unknown(event_id: str) -> Problem:
    return Problem(404, f"There is no event {event_id}.", code="event_unknown")
