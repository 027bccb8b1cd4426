"""What a list of runs or events has in it. Pure; the memory store's, and so what every store's lists mean."""

from collections.abc import Iterable

from stepwell.core.model import Run, StoredEvent
from stepwell.server.store.base import EventQuery, RunQuery


def list_runs(runs: Iterable[Run], query: RunQuery) -> list[Run]:
    """See :meth:`Store.list_runs`; ``runs`` are those of the event that is asked for."""
    newest = sorted(runs, key=lambda run: run.run_id, reverse=True)
    return [run for run in newest if _wanted(run, query)][: query.limit]


def list_events(events: Iterable[StoredEvent], query: EventQuery) -> list[StoredEvent]:
    """See :meth:`Store.list_events`."""
    newest = sorted(events, key=_place, reverse=True)
    return [event for event in newest if _seen(event, query)][: query.limit]


def _wanted(run: Run, query: RunQuery) -> bool:
    return (
        (query.before is None or run.run_id < query.before)
        and (query.after is None or run.run_id > query.after)
        and query.status in (None, run.status)
        and query.function_id in (None, run.function_id)
        and query.app_id in (None, run.app_id)
        and not (query.active and run.status.ended)
    )


def _seen(event: StoredEvent, query: EventQuery) -> bool:
    return (
        (query.before is None or _place(event) < query.before)
        and query.name in (None, event.name)
        and (query.after is None or event.received_at > query.after)
        and (query.until is None or event.received_at < query.until)
    )


def _place(event: StoredEvent) -> tuple[int, str]:
    return event.received_at, event.internal_id
