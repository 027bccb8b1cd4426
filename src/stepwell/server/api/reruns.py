"""``POST /v1/runs/{id}/rerun``: a run made anew, from its start or from a step, whose input may be edited (protocol 2)."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stepwell.core.reruns import CannotRerun
from stepwell.server.api.auth import require_bearer
from stepwell.server.api.body import parse, read_body
from stepwell.server.api.facade import EngineFacade
from stepwell.server.api.problems import Problem, wrapped
from stepwell.server.api.queries import ulid_param
from stepwell.server.api.runs import unknown_run
from stepwell.server.settings import Settings
from stepwell.wire.constants import MAX_STEP_OUTPUT


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    """The request's body, which may be missing. ``input``: the arguments of the step, in place of the code's own."""

    from_step: str | None = None
    input: list[object] | None = None


class Reruns:
    """Begins runs anew."""

    def __init__(self, engine: EngineFacade, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings

    def route(self) -> Route:
        """Where it is mounted."""
        return Route("/v1/runs/{run_id:str}/rerun", self.post, methods=["POST"])

    async def post(self, request: Request) -> Response:
        """The new run's id. The old run stays as it is."""
        require_bearer(self._settings, request.scope)
        run_id = ulid_param(request, "run_id")
        wanted = parse_wanted(await read_body(request.scope, request.receive, MAX_STEP_OUTPUT))
        try:
            made = await self._engine.rerun(run_id, wanted.from_step, wanted.input)
        except CannotRerun as problem:
            raise Problem(409, str(problem), code="cannot_rerun") from None
        if made is None:
            raise unknown_run(run_id)
        return wrapped({"run_id": made, "original_run_id": run_id}, 201)


def parse_wanted(body: bytes) -> Wanted:
    """Read the body. Raises :class:`Problem` 400."""
    way_out = '; send {"from_step": "id", "input": [...]}, or nothing'
    return parse(body, Wanted, "The re-run is", way_out) if body.strip() else Wanted()
