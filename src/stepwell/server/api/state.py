"""A run's state for its app, which was told to ask for it because no call can carry it (protocol 1.4)."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stepwell.core.model import RunView
from stepwell.core.reruns import edited_inputs
from stepwell.server.api.auth import require_bearer
from stepwell.server.api.facade import EngineFacade
from stepwell.server.api.problems import JSON, Problem
from stepwell.server.api.queries import ulid_param
from stepwell.server.settings import Settings
from stepwell.wire.codec import edited


class State:
    """The steps and the events of a call, exactly as it would have carried them."""

    def __init__(self, engine: EngineFacade, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings

    def routes(self) -> list[Route]:
        """Where each is mounted."""
        run = "/v0/runs/{run_id:str}"
        return [Route(f"{run}/actions", self.actions), Route(f"{run}/batch", self.batch)]

    async def actions(self, request: Request) -> Response:
        """The ``steps`` object of a call: of the results those that its stack names, not what has come since.

        410 when the run is not known.
        """
        view, sent = await self._view(request)
        memos = {step_id: view.memos.get(step_id, b"null") for step_id in view.stack[:sent]}
        memos |= {step_id: edited(args) for step_id, args in edited_inputs(view).items()}
        parts = (b'"%s":%s' % (step_id.encode(), memo) for step_id, memo in memos.items())
        return Response(b"{" + b",".join(parts) + b"}", media_type=JSON)

    async def batch(self, request: Request) -> Response:
        """The events of a call, likewise."""
        view, _ = await self._view(request)
        return Response(b"[" + b",".join(view.events) + b"]", media_type=JSON)

    async def _view(self, request: Request) -> tuple[RunView, int]:
        require_bearer(self._settings, request.scope)
        run_id = ulid_param(request, "run_id")
        found = await self._engine.called_with(run_id)
        if found is None:
            raise Problem(410, f"The state of run {run_id} is gone.", code="state_gone")
        return found
