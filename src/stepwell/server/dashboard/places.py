"""Functions, apps and limits."""

from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from stepwell.core.cron import crons_of, next_runs
from stepwell.core.flow.holding import Holding
from stepwell.server.api.facade import EngineFacade
from stepwell.server.api.waits import render_wait
from stepwell.server.dashboard.limits import key_of, limits_of
from stepwell.server.dashboard.pages import address, page
from stepwell.wire.function_config import FunctionConfig
from stepwell.wire.masks import mask_url

_NEXT = 3
_GROUPS, _SHOWN = 50, 20
"""Limits on the page, and who waits of each."""


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
        """Every app, and how its last sync went; every URL that is to be one, and is not."""
        found = [
            (app, mask_url(app.url), len(msgspec.json.decode(app.functions, type=list[msgspec.Raw])))
            for app in self._engine.apps()
        ]
        strangers = [(mask_url(one.url), one.error) for one in self._engine.strangers()]
        values = {"apps": found, "strangers": strangers, "now": self._now(), "address": address(request)}
        return page(request, "apps", values)

    async def start(self, request: Request) -> Response:
        """How to connect an app, with the address at which this page was reached."""
        return page(request, "start", {"address": address(request)})

    async def limits(self, request: Request) -> Response:
        """Who waits for which limit, for whom or what, until when."""
        found = await self._engine.held(_SHOWN)
        shown = sorted(found[:_GROUPS], key=lambda one: one.shut.by.bucket)  # each in its place while numbers change
        groups = [(one, render_wait(one.shut), await self._key(one)) for one in shown]
        return page(request, "limits", {"groups": groups, "more": len(found) - _GROUPS, "now": self._now()})

    async def _key(self, holding: Holding) -> str | None:
        """The key's value, where the limit has one, as the first of those who wait have it."""
        first = holding.items[0] if holding.items else None
        found = next((one for one in self._engine.functions() if first and one.id == first.function_id), None)
        view = await self._engine.view(first.run_id) if first and found else None
        if found is None or view is None or not view.events:
            return None
        return key_of(found, view.events[0], holding.shut.by.bucket)


def _ticks(function: FunctionConfig, now: int) -> list[int]:
    """The next moments at which its schedules start it."""
    found = [tick.fires_at for cron in crons_of(function) for tick in next_runs(cron, now, _NEXT)]
    return found[: _NEXT * 2]
