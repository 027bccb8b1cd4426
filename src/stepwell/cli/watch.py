"""What is new on a platform: events, runs that begin, runs that end. Asks the API again and again, since a run may end in
any process of a platform."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import NamedTuple

from stepwell.cli.platform import Json, Platform

EVERY_S = 0.5
"""Between two looks."""
_PAGE = 51
_PAGES = 20
_KEPT = 20_000
_ACTIVE = ("queued", "running")
_MOST_ACTIVE = 1_000


class News(NamedTuple):
    """``kind``: ``event``, ``began`` or ``ended``; ``about``: the event or run as the API shows it."""

    kind: str
    about: Json


async def news(platform: Platform, every: float = EVERY_S) -> AsyncGenerator[News, None]:
    """Everything from now on, until whoever asks stops. Raises CliError when the platform does not answer.

    Of the runs that are active at the beginning it knows the newest 1,000 of each status.
    """
    events = _Newest(platform.events, "internal_id")
    runs = _Newest(platform.runs, "run_id")
    await events.look()
    await runs.look()
    active, _ = await _active(platform)
    while True:
        await asyncio.sleep(every)
        for event in await events.look():
            yield News("event", event)
        for run in await runs.look():
            active.add(str(run["run_id"]))
            yield News("began", run)
        if active:
            still, since = await _active(platform)
            for run_id in sorted(run_id for run_id in active - still if run_id > since):
                run = await platform.run(run_id)
                if run.get("ended_at"):
                    active.discard(run_id)
                    yield News("ended", run)


async def _active(platform: Platform) -> tuple[set[str], str]:
    """Runs that have not ended, and the id below which there may be more of them."""
    found: set[str] = set()
    since = ""
    for status in _ACTIVE:
        page = [str(run["run_id"]) for run in await platform.runs({"status": status, "limit": str(_MOST_ACTIVE)})]
        found.update(page)
        if len(page) == _MOST_ACTIVE:
            since = max(since, page[-1])
    return found, since


class _Newest:
    """Records of a list that has the newest first, each once."""

    def __init__(self, ask: Callable[[dict[str, str]], Awaitable[list[Json]]], key: str) -> None:
        self._ask = ask
        self._key = key
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._first = True

    async def look(self) -> list[Json]:
        """What was not there at the last look, oldest first; at the first look, nothing."""
        fresh: list[Json] = []
        cursor: dict[str, str] = {}
        for _ in range(_PAGES):
            page = await self._ask({"limit": str(_PAGE), **cursor})
            new = [record for record in page if str(record[self._key]) not in self._seen]
            fresh += new
            if self._first or len(page) < _PAGE or len(new) < len(page):
                break
            cursor = {"cursor": str(page[-1][self._key])}
        self._remember(fresh)
        first, self._first = self._first, False
        return [] if first else fresh[::-1]

    def _remember(self, fresh: list[Json]) -> None:
        self._seen |= dict.fromkeys(str(record[self._key]) for record in reversed(fresh))
        while len(self._seen) > _KEPT:
            self._seen.popitem(last=False)
