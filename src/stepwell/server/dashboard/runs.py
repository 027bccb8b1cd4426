"""The list of runs: what the filters in the URL mean, and which runs they let through."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from stepwell.core.cel.parser import MAX_TEXT
from stepwell.core.model import RunStatus
from stepwell.core.reruns import CannotRerun
from stepwell.core.runfilters import RunFilter
from stepwell.server.api.facade import EngineFacade
from stepwell.server.api.problems import Problem
from stepwell.server.api.search import Found, read_filter, search
from stepwell.server.dashboard.pages import address, page, redirect
from stepwell.server.store.base import RunQuery
from stepwell.wire.ids import is_ulid, ulid

PAGE = 50
"""Runs on a page."""
TICK = "run-"
"""What the names of ticked boxes begin with; a run's id follows."""
SPANS = {"15m": 900, "1h": 3_600, "24h": 86_400, "7d": 604_800}
"""Seconds that the filter by time can mean."""


@dataclass(frozen=True, slots=True)
class Filters:
    """What the URL asks for. An unknown value of a choice counts as none."""

    status: str = ""
    app: str = ""
    function: str = ""
    q: str = ""
    where: str = ""
    """An expression over ``run`` and ``event``."""
    since: str = ""
    cursor: str = ""

    def url(self, **changed: str) -> str:
        """The query string with some of it changed; empty for no filter."""
        pairs = {name: getattr(self, name) for name in self.__slots__} | changed
        text = urlencode({name: value for name, value in pairs.items() if value})
        return f"?{text}" if text else ""

    @property
    def some(self) -> bool:
        """Whether any run may be left out."""
        return any(getattr(self, name) for name in self.__slots__)


class RunsPage:
    """``GET /``."""

    def __init__(self, engine: EngineFacade, now: Callable[[], int]) -> None:
        self._engine = engine
        self._now = now

    async def get(self, request: Request) -> Response:
        """The runs; who looks for an id gets to what has it."""
        filters = read(request)
        if is_ulid(filters.q.upper()):
            there = await self._by_id(filters.q.upper())
            if there:
                return redirect(there)
        now = self._now()
        only = [each for each in request.query_params.get("only", "").split(",") if is_ulid(each)][:PAGE]
        problem = ""
        try:
            where = read_filter(filters.where)
            found = await (self._only(only) if only else _found(self._engine, filters, where, self._now))
        except Problem as wrong:
            found, problem = Found([]), wrong.message
        functions = sorted(function.id for function in self._engine.functions())
        apps = sorted(app.app_id for app in self._engine.apps())
        values = {
            "filters": filters,
            "found": found,
            "problem": problem,
            "now": now,
            "functions": functions,
            "apps": apps,
            "statuses": [status.value for status in RunStatus],
            "spans": SPANS,
            "first": not (found.runs or filters.some or only),
            "address": address(request),
        }
        return page(request, "runs", values, 400 if problem else 200)

    async def many(self, _request: Request, form: Mapping[str, str]) -> Response:
        """Cancel the ticked runs, or run them again; what can not be is left as it is. Back to the list."""
        ticked = [name.removeprefix(TICK) for name in form if name.startswith(TICK)]
        for run_id in filter(is_ulid, ticked):
            if form.get("action") == "cancel":
                await self._engine.cancel(run_id)
            else:
                with suppress(CannotRerun):
                    await self._engine.rerun(run_id, None, None)
        back = form.get("back", "")
        return redirect("../" + (back if back.isascii() and back.isprintable() and back[:1] == "?" else ""))

    async def _only(self, run_ids: list[str]) -> Found:
        views = [await self._engine.view(run_id) for run_id in run_ids]
        return Found([view.run for view in views if view is not None])

    async def _by_id(self, text: str) -> str | None:
        if await self._engine.view(text) is not None:
            return f"runs/{text}"
        return f"events/{text}" if await self._engine.event(text) is not None else None


def read(request: Request) -> Filters:
    """The filters of a request's URL."""
    given = request.query_params
    status, since, cursor = given.get("status", ""), given.get("since", ""), given.get("cursor", "")
    return Filters(
        status=status if status in set(RunStatus) else "",
        app=given.get("app", "")[:200],
        function=given.get("function", "")[:200],
        q=given.get("q", "").strip()[:200],
        where=given.get("where", "").strip()[:MAX_TEXT],
        since=since if since in SPANS else "",
        cursor=cursor if is_ulid(cursor) else "",
    )


async def _found(engine: EngineFacade, filters: Filters, where: RunFilter | None, now: Callable[[], int]) -> Found:
    """The newest runs that pass. A text is looked for in the id, function, app, trigger, result and error of each."""
    query = RunQuery(
        limit=PAGE,
        before=filters.cursor or None,
        after=ulid(max(0, now() - SPANS[filters.since] * 1000), bytes(10)) if filters.since else None,
        status=filters.status or None,
        app_id=filters.app or None,
        function_id=filters.function or None,
    )
    return await search(engine, query, now, filters.q, where)
