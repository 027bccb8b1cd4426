"""Runs, read and cancelled (protocol 1.6)."""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stepwell.core.model import RunStatus, RunView
from stepwell.server.api.auth import require_bearer
from stepwell.server.api.facade import EngineFacade
from stepwell.server.api.problems import Problem, wrapped
from stepwell.server.api.queries import flag_query, integer_query, number_query, time_query, ulid_param, ulid_query
from stepwell.server.api.render import render_job, render_run, render_step
from stepwell.server.api.search import read_filter, search
from stepwell.server.api.waits import render_gathering, render_wait
from stepwell.server.settings import Settings
from stepwell.server.store.base import RunQuery
from stepwell.wire.constants import DISCOVERY
from stepwell.wire.ids import ulid

MAX_WAIT_S = 60.0
"""How long a reader may wait for a run to end in one request, seconds."""
_LEAST, _MOST = bytes(10), b"\xff" * 10
"""Between them lie the ids of one millisecond."""


class Runs:
    """The read side, and the cancelling, of runs."""

    def __init__(self, engine: EngineFacade, settings: Settings, now: Callable[[], int]) -> None:
        self._engine = engine
        self._settings = settings
        self._now = now

    def routes(self) -> list[Route]:
        """Where each is mounted."""
        run = "/{run_id:str}"
        return [
            Route("/v1/runs", self.list),
            Route(f"/v1/runs{run}", self.show, methods=["GET"]),
            Route(f"/v1/runs{run}", self.cancel, methods=["DELETE"]),
            Route(f"/v0/runs{run}", self.cancel_v0, methods=["DELETE"]),
            Route(f"/v1/runs{run}/steps", self.steps),
            Route(f"/v1/runs{run}/jobs", self.jobs),
        ]

    async def list(self, request: Request) -> Response:
        """Runs, newest first, by ``limit``, ``cursor`` (a run id), ``status``, ``app``, ``function`` (slug), ``event_id``,
        ``queued_after`` and ``queued_before``; and by ``text`` and ``where`` (an expression), which look at some thousand runs:
        ``looked_at`` says how many. With a cursor they go on."""
        require_bearer(self._settings, request.scope)
        limit = integer_query(request, "limit", 50, 1, 1000)
        until, after = time_query(request, "queued_before"), time_query(request, "queued_after")
        bounds = [bound for bound in (ulid_query(request, "cursor"), _bound(until, _LEAST)) if bound]
        query = RunQuery(
            limit=limit,
            before=min(bounds, default=None),
            after=_bound(after, _MOST),
            status=_status(request),
            app_id=request.query_params.get("app") or None,
            function_id=request.query_params.get("function") or None,
            event_id=ulid_query(request, "event_id"),
        )
        where = read_filter(request.query_params.get("where", ""))
        found = await search(self._engine, query, self._now, request.query_params.get("text", "")[:200], where)
        seen = {"looked_at": found.looked_at} if found.looked_at else {}
        return wrapped([render_run(run) for run in found.runs], cursor=found.older, **seen)

    async def show(self, request: Request) -> Response:
        """One run; ``wait`` (seconds) holds the answer back until it has ended."""
        return wrapped(render_run((await self._view(request)).run))

    async def steps(self, request: Request) -> Response:
        """Every step in the order of its creation; ``outputs=false`` leaves the results out; ``wait`` as for a run.

        What is held back by a limit says so under ``waiting``.
        """
        outputs = flag_query(request, "outputs", default=True)
        view = await self._view(request)
        ordered = sorted(view.steps.values(), key=lambda step: step.number)
        run, steps = render_run(view.run), [render_step(step, outputs=outputs) for step in ordered]
        if not view.run.status.ended:
            held = await self._engine.waits(view.run.run_id)
            shapes = {DISCOVERY: run, **{step.step_id: shape for step, shape in zip(ordered, steps, strict=True)}}
            for key in held.keys() & shapes.keys():
                shapes[key]["waiting"] = render_wait(held[key])
            if view.run.gathering:
                run["waiting"] = render_gathering(await self._engine.jobs(view.run.run_id))
        return wrapped(steps, run=run)

    async def jobs(self, request: Request) -> Response:
        """The work items of a run, in the order of their time."""
        require_bearer(self._settings, request.scope)
        run_id = ulid_param(request, "run_id")
        found = await self._engine.jobs(run_id)
        if not found and await self._engine.view(run_id) is None:
            raise unknown_run(run_id)
        return wrapped([render_job(item, place) for place, item in enumerate(found)])

    async def cancel(self, request: Request) -> Response:
        """End a run. Doing so twice is fine; a run that ended on its own is a 409."""
        require_bearer(self._settings, request.scope)
        run_id = ulid_param(request, "run_id")
        if not await self._engine.cancel(run_id):
            view = await self._engine.view(run_id)
            if view is None:
                raise unknown_run(run_id)
            if view.run.status is not RunStatus.CANCELLED:
                raise Problem(
                    409, f"Run {run_id} has already {view.run.status.value}; it can not be cancelled.", code="ended"
                )
        return Response(status_code=200)

    async def cancel_v0(self, request: Request) -> Response:
        """The same with the answer of the older endpoint."""
        await self.cancel(request)
        return Response(status_code=204)

    async def _view(self, request: Request) -> RunView:
        require_bearer(self._settings, request.scope)
        run_id = ulid_param(request, "run_id")
        wait = number_query(request, "wait", 0, 0, MAX_WAIT_S)
        view = await (self._engine.wait_run(run_id, wait) if wait else self._engine.view(run_id))
        if view is None:
            raise unknown_run(run_id)
        return view


def unknown_run(run_id: str) -> Problem:
    """The answer about a run that is not known."""
    return Problem(404, f"There is no run {run_id}.", code="run_unknown")


def _bound(millis: int | None, rest: bytes) -> str | None:
    """The first or the last run id of a millisecond."""
    return None if millis is None else ulid(millis, rest)


def _status(request: Request) -> str | None:
    text = request.query_params.get("status")
    if not text:
        return None
    try:
        return RunStatus({"scheduled": "queued"}.get(text.lower(), text.lower())).value
    except ValueError:
        known = ", ".join(status.value for status in RunStatus)
        raise Problem(400, f"status={text[:80]!r} is not one of {known}.") from None
