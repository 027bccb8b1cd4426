"""``GET /health`` and ``GET /dev``: is it well, and what is here."""

import asyncio

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from stepwell.server.api.counting import HEALTH_TIMEOUT_S, Counting
from stepwell.server.api.facade import EngineFacade
from stepwell.server.api.problems import Problem, bare
from stepwell.server.settings import Settings
from stepwell.server.store.base import AppRecord, RunQuery
from stepwell.wire.constants import VERSION


class Health:
    """The two endpoints that anybody may ask."""

    def __init__(self, engine: EngineFacade, settings: Settings, counting: Counting) -> None:
        self._engine = engine
        self._counting = counting
        self._settings = settings

    async def health(self, request: Request) -> Response:
        """200 when the store answers, else 503. On a dev platform with figures as in ``/metrics``, unless they take long."""
        shape: dict[str, object] = {"status": 200, "message": "OK", "product": "stepwell", "version": VERSION}
        shape["kind"] = self._settings.kind
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT_S):
                await self._engine.runs(RunQuery(limit=1))
        except TimeoutError:
            raise Problem(503, "The store does not answer.", code="store", headers={"Retry-After": "1"}) from None
        return bare(shape | await self._figures() if self._settings.dev else shape)

    async def _figures(self) -> dict[str, object]:
        try:
            counts = (await self._counting.figures()).counts
        except TimeoutError:
            return {}
        return {"runs": counts.runs, "queued": counts.queued, "in_flight": counts.claimed}

    async def dev(self, request: Request) -> Response:
        """What is registered; 404 in production."""
        if not self._settings.dev:
            raise Problem(404, "This is not a development platform.")
        functions = [{"id": function.id, "name": function.name} for function in self._engine.functions()]
        apps = [_app(app) for app in self._engine.apps()]
        shape = {"product": "stepwell", "version": VERSION, "kind": "dev", "functions": functions, "handlers": apps}
        return bare(shape)


def _app(app: AppRecord) -> dict[str, object]:
    return {
        "app": app.app_id,
        "url": app.url,
        "sdk": app.sdk,
        "functions": len(msgspec.json.decode(app.functions, type=list[msgspec.Raw])),
        "synced_at": app.synced_at,
        "error": app.error,
    }
