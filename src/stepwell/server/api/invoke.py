"""``POST /invoke/{slug}``: one function, called by its id (protocol 1.2)."""

import os
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stepwell.core.pauses import sentence
from stepwell.server.api.auth import require_bearer
from stepwell.server.api.body import header, read_body
from stepwell.server.api.facade import EngineFacade
from stepwell.server.api.functions import unknown_function
from stepwell.server.api.problems import Problem, bare
from stepwell.server.settings import Settings
from stepwell.wire.constants import H_EVENT_SEED, MAX_REQUEST_BYTES
from stepwell.wire.events import BadEvents, event_ids, invoking_event


class Invoke:
    """Starts a run of a function, whatever it listens to."""

    def __init__(self, engine: EngineFacade, settings: Settings, now: Callable[[], int]) -> None:
        self._engine = engine
        self._settings = settings
        self._now = now

    def route(self) -> Route:
        """Where it is mounted."""
        return Route("/invoke/{slug:str}", self.post, methods=["POST"])

    async def post(self, request: Request) -> Response:
        """The internal id of the event that was made of the request's body, an event without a name."""
        require_bearer(self._settings, request.scope)
        slug = str(request.path_params["slug"])
        if not any(function.id == slug for function in self._engine.functions()):
            raise unknown_function(slug)
        if self._engine.pausing.since(slug) is not None:
            raise Problem(409, sentence(slug), code="function_paused")
        now = self._now()
        try:
            event = invoking_event(await read_body(request.scope, request.receive, MAX_REQUEST_BYTES), slug, now)
            seed = header(request.scope, H_EVENT_SEED)
            ids = event_ids(seed, 1, now, [os.urandom(10)], first=0) if seed else self._engine.new_ids(1)
            (event_id,) = await self._engine.ingest([event], ids)
        except BadEvents as error:
            raise Problem(400, str(error)) from None
        return bare({"id": event_id, "status": 200})
