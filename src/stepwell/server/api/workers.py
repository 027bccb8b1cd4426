"""The processes of the platform (ours; no part of the protocol)."""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stepwell.server.api.auth import require_bearer
from stepwell.server.api.facade import EngineFacade
from stepwell.server.api.problems import wrapped
from stepwell.server.api.render import instant
from stepwell.server.runtime.presence import GONE_MS
from stepwell.server.settings import Settings
from stepwell.server.store.base import WorkerRecord


class Workers:
    """Who works on this database."""

    def __init__(self, engine: EngineFacade, settings: Settings, now: Callable[[], int]) -> None:
        self._engine = engine
        self._settings = settings
        self._now = now

    def routes(self) -> list[Route]:
        """Where it is mounted."""
        return [Route("/v1/workers", self.list)]

    async def list(self, request: Request) -> Response:
        """Every process, the one that was started first before the others."""
        require_bearer(self._settings, request.scope)
        found = sorted(await self._engine.workers(), key=lambda worker: (worker.started_at, worker.worker_id))
        return wrapped([render_worker(worker, self._now()) for worker in found])


def render_worker(worker: WorkerRecord, now: int) -> dict[str, object]:
    """A process as JSON. ``status``: Active, Stopping, or Gone when there was no beat for a while."""
    alive = "Stopping" if worker.stopping else "Active"
    return {
        "id": worker.worker_id,
        "status": "Gone" if is_gone(worker, now) else alive,
        "host": worker.host,
        "pid": worker.pid,
        "version": worker.version,
        "started_at": instant(worker.started_at),
        "last_beat_at": instant(worker.beat_at),
        "leads": worker.leads and not is_gone(worker, now),
        "apps": worker.apps,
        "items": worker.items,
    }


def is_gone(worker: WorkerRecord, now: int) -> bool:
    """Whether a process is gone without having said so."""
    return worker.beat_at < now - GONE_MS
