"""Apps and their functions (protocol 1.6; the list of apps is ours)."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stepwell.server.api.auth import require_bearer
from stepwell.server.api.facade import EngineFacade
from stepwell.server.api.problems import Problem, bare, wrapped
from stepwell.server.api.render import render_app
from stepwell.server.settings import Settings


class Apps:
    """The read side of apps."""

    def __init__(self, engine: EngineFacade, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings

    def routes(self) -> list[Route]:
        """Where each is mounted."""
        return [Route("/v1/apps", self.list), Route("/v1/apps/{app:str}/functions", self.functions)]

    async def list(self, request: Request) -> Response:
        """Every app, by name."""
        require_bearer(self._settings, request.scope)
        return wrapped([render_app(app) for app in self._engine.apps()])

    async def functions(self, request: Request) -> Response:
        """The functions of one app as they are registered (protocol 1.3): a bare array."""
        require_bearer(self._settings, request.scope)
        name = str(request.path_params["app"])
        for app in self._engine.apps():
            if app.app_id == name:
                return bare(msgspec.Raw(app.functions))
        raise Problem(404, f"There is no app {name[:80]!r}.", code="app_unknown")
