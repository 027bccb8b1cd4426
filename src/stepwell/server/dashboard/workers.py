"""The processes of the platform."""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response

from stepwell.server.api.facade import EngineFacade
from stepwell.server.api.workers import is_gone
from stepwell.server.dashboard.pages import page


class WorkersPage:
    """``/workers``: those that are there before those that are gone, the one that was started first before the others."""

    def __init__(self, engine: EngineFacade, now: Callable[[], int]) -> None:
        self._engine = engine
        self._now = now

    async def get(self, request: Request) -> Response:
        """The page."""
        now = self._now()
        found = [(worker, is_gone(worker, now)) for worker in await self._engine.workers()]
        found.sort(key=lambda pair: (pair[1], pair[0].started_at, pair[0].worker_id))
        return page(request, "workers", {"workers": found, "now": now})
