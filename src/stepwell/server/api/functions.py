"""Functions of all apps, and whether they start runs: pause and resume. The paths are ours."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stepwell.server.api.auth import require_bearer
from stepwell.server.api.body import parse, read_body
from stepwell.server.api.facade import EngineFacade
from stepwell.server.api.problems import Problem, wrapped
from stepwell.server.api.render import Json, instant
from stepwell.server.settings import Settings

_MAX_BODY = 64 * 1024
_SKIPPED = "Events that come now start no run of it: each is recorded as a skipped run. Its schedule does not fire."
_GO_ON = "Runs that were there already go on."
_CANCELLED = "Runs that were there already are cancelled."


class _Wanted(msgspec.Struct):
    """The request's body, which may be missing; unknown keys are ignored."""

    cancel_running: bool = False


class _Named(msgspec.Struct):
    id: str
    name: str = ""


class Functions:
    """Lists, pauses and resumes functions."""

    def __init__(self, engine: EngineFacade, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings

    def routes(self) -> list[Route]:
        """Where each is mounted."""
        one = "/v1/functions/{function_id:str}"
        return [
            Route("/v1/functions", self.list, methods=["GET"]),
            Route(f"{one}/pause", self.pause, methods=["POST"]),
            Route(f"{one}/resume", self.resume, methods=["POST"]),
        ]

    async def list(self, request: Request) -> Response:
        """Every function, by app and id, and since when it is paused."""
        require_bearer(self._settings, request.scope)
        found: list[Json] = []
        for app in self._engine.apps():
            for each in sorted(msgspec.json.decode(app.functions, type=list[_Named]), key=lambda one: one.id):
                state = self._state(each.id)
                found.append({"id": each.id, "app": app.app_id, "name": each.name or each.id, **state})
        return wrapped(found)

    async def pause(self, request: Request) -> Response:
        """Paused when this answers. 404 for a function that is not known."""
        require_bearer(self._settings, request.scope)
        function_id = str(request.path_params["function_id"])
        wanted = _wanted(await read_body(request.scope, request.receive, _MAX_BODY))
        try:
            made = await self._engine.pausing.pause(function_id, cancel_running=wanted.cancel_running)
        except LookupError:
            raise unknown_function(function_id) from None
        said: Json = {"id": function_id, **self._state(function_id)}
        said["message"] = f"{_SKIPPED} {_GO_ON if made is None else _CANCELLED}"
        return wrapped(said if made is None else {**said, "cancellation_id": made.cancellation_id})

    async def resume(self, request: Request) -> Response:
        """Not paused when this answers, whether it was or not. 404 for a function that is neither known nor paused."""
        require_bearer(self._settings, request.scope)
        function_id = str(request.path_params["function_id"])
        resumed = await self._engine.pausing.resume(function_id)
        if not resumed and not any(function.id == function_id for function in self._engine.functions()):
            raise unknown_function(function_id)
        message = "Events start runs of it again." if resumed else "It was not paused."
        return wrapped({"id": function_id, **self._state(function_id), "message": message})

    def _state(self, function_id: str) -> Json:
        since = self._engine.pausing.since(function_id)
        return {"paused": since is not None, "paused_at": instant(since)}


def unknown_function(function_id: str) -> Problem:
    """404."""
    return Problem(404, f"There is no function {function_id[:80]!r}.", code="function_unknown")


def _wanted(body: bytes) -> _Wanted:
    way_out = '; send {"cancel_running": true}, or nothing'
    return parse(body, _Wanted, "The pause is", way_out) if body.strip() else _Wanted()
