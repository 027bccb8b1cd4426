"""Runs by a text or an expression: looked through a bounded number at a time, with a cursor to go on from."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from msgspec.structs import replace

from stepwell.core.cel import ExpressionError
from stepwell.core.model import Run, StoredEvent
from stepwell.core.runfilters import RunFilter
from stepwell.server.api.facade import EngineFacade
from stepwell.server.api.jsontexts import finder
from stepwell.server.api.masks import mask_event
from stepwell.server.api.problems import Problem
from stepwell.server.store.base import RunQuery
from stepwell.wire.jsons import as_object, decode

LOOKED_AT = 2_000
"""Runs that one search looks at."""
_BYTES = 32 * 1024 * 1024
"""Bytes of results and events after which it stops as well."""
_LONGEST_S = 2.0
"""And seconds."""
_BATCH = 100
_AT_ONCE = 3
_OUTPUT_BYTES = 16 * 1024
"""How much of a result is searched for a text."""


@dataclass(frozen=True, slots=True)
class Found:
    """Runs, the newest first. ``older``: the cursor to go on from; ``looked_at``: runs that a search has seen."""

    runs: list[Run]
    older: str | None = None
    looked_at: int = 0


@dataclass(slots=True)
class _Look:
    """What of a batch has been seen."""

    passed: list[Run] = field(default_factory=list[Run])
    seen: int = 0
    size: int = 0


def read_filter(text: str) -> RunFilter | None:
    """The expression of a request; None for an empty one. Raises :class:`Problem` 400."""
    try:
        return RunFilter(text) if text.strip() else None
    except ExpressionError as problem:
        raise Problem(400, f"The expression can not be used: {problem}.", code="bad_expression") from None


async def search(
    engine: EngineFacade, query: RunQuery, now: Callable[[], int], text: str = "", where: RunFilter | None = None
) -> Found:
    """Up to ``query.limit`` runs that have ``text`` and meet ``where`` besides; fewer where the bounds were met first."""
    if not text and where is None:
        runs = await engine.runs(replace(query, limit=query.limit + 1))
        more = len(runs) > query.limit
        return Found(runs[: query.limit], runs[query.limit - 1].run_id if more else None)
    end = time.monotonic() + _LONGEST_S
    before, seen, size = query.before, 0, 0
    passed: list[Run] = []
    while seen < LOOKED_AT and size < _BYTES and (not seen or time.monotonic() < end):
        runs = await engine.runs(replace(query, limit=_BATCH, before=before))
        events = await _events(engine, runs) if where is not None and where.needs_event else [None] * len(runs)
        room = query.limit - len(passed)
        look = await asyncio.to_thread(_look, list(zip(runs, events, strict=True)), text, where, now(), room, end)
        passed += look.passed
        seen += look.seen
        size += look.size
        if look.seen == len(runs) < _BATCH:
            return Found(passed, None, seen)
        before = runs[look.seen - 1].run_id
        if look.seen < len(runs) or len(passed) == query.limit:
            break
    return Found(passed, before, seen)


async def _events(engine: EngineFacade, runs: list[Run]) -> list[StoredEvent | None]:
    """Those that started the runs; a few at a time, as the connections of the store are there for work."""
    ids = sorted({run.event_ids[0] for run in runs if run.event_ids})
    found: dict[str, StoredEvent | None] = {}
    for start in range(0, len(ids), _AT_ONCE):
        part = ids[start : start + _AT_ONCE]
        found |= zip(part, await asyncio.gather(*map(engine.event, part)), strict=True)
    return [found.get(run.event_ids[0]) if run.event_ids else None for run in runs]


def _look(
    batch: list[tuple[Run, StoredEvent | None]], text: str, where: RunFilter | None, now: int, room: int, end: float
) -> _Look:
    """At each run in turn, at one at least, until there is no room or no time left."""
    look, has = _Look(), finder(text)
    for run, event in batch:
        if len(look.passed) == room or (look.seen and time.monotonic() > end):
            break
        look.seen += 1
        look.size += len(run.output or b"") + (len(event.body) if event else 0)
        if (not text or _has(run, has)) and (where is None or where.passes(run, _shown(event), now)):
            look.passed.append(run)
    return look


def _shown(event: StoredEvent | None) -> dict[str, object] | None:
    """The event as people see it: an expression must not find out what is masked."""
    body = as_object(decode(event.body)) if event is not None else None
    return None if body is None else mask_event(body)


def _has(run: Run, has: Callable[[str], bool]) -> bool:
    plain = f"{run.run_id} {run.function_id} {run.app_id} {run.trigger} {run.error or ''}"
    return has(plain) or has((run.output or b"")[:_OUTPUT_BYTES].decode("utf-8", "replace"))
