"""Functions, apps and limits."""

from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from stepwell.core.cron import crons_of, next_runs
from stepwell.core.model import Run, RunStatus
from stepwell.server.api.facade import EngineFacade
from stepwell.server.api.waits import render_wait
from stepwell.server.dashboard.limits import limits_of
from stepwell.server.dashboard.pages import page
from stepwell.server.store.base import RunQuery
from stepwell.wire.function_config import FunctionConfig

_NEXT = 3
_ACTIVE = 200
"""Runs of each status that are asked what they wait for."""


class Places:
    """What is registered, and what holds work back."""

    def __init__(self, engine: EngineFacade, now: Callable[[], int]) -> None:
        self._engine = engine
        self._now = now

    async def functions(self, request: Request) -> Response:
        """Every function: whether it is paused, triggers, limits, the next runs of its schedules."""
        now = self._now()
        found = sorted(self._engine.functions(), key=lambda function: function.id)
        paused = {function.id: self._engine.pausing.since(function.id) for function in found}
        values = {
            "functions": found,
            "paused": paused,
            "scheduled": [function.id for function in found if crons_of(function)],
            "ticks": {one.id: _ticks(one, now) if paused[one.id] is None else [] for one in found},
            "limits": {function.id: limits_of(function) for function in found},
            "now": now,
        }
        return page(request, "functions", values)

    async def apps(self, request: Request) -> Response:
        """Every app, and how its last sync went."""
        found = [(app, len(msgspec.json.decode(app.functions, type=list[msgspec.Raw]))) for app in self._engine.apps()]
        return page(request, "apps", {"apps": found, "now": self._now(), "address": _address(request)})

    async def start(self, request: Request) -> Response:
        """How to connect an app, with the address at which this page was reached."""
        return page(request, "start", {"address": _address(request)})

    async def limits(self, request: Request) -> Response:
        """Who waits for which limit, until when: among the newest runs that have not ended."""
        held: list[tuple[Run, str, dict[str, object]]] = []
        for status in (RunStatus.RUNNING, RunStatus.QUEUED):
            for run in await self._engine.runs(RunQuery(status=status.value, limit=_ACTIVE)):
                waits = await self._engine.waits(run.run_id)
                held += [(run, key, render_wait(shut)) for key, shut in waits.items()]
        groups: dict[str, list[tuple[Run, str, dict[str, object]]]] = {}
        for each in held:
            groups.setdefault(str(each[2]["for"]), []).append(each)
        values = {"groups": sorted(groups.items(), key=lambda pair: -len(pair[1])), "looked_at": _ACTIVE}
        return page(request, "limits", values)


def _ticks(function: FunctionConfig, now: int) -> list[int]:
    """The next moments at which its schedules start it."""
    found = [tick.fires_at for cron in crons_of(function) for tick in next_runs(cron, now, _NEXT)]
    return found[: _NEXT * 2]


def _address(request: Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc}"
