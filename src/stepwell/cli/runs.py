"""``stepwell runs``: the list, and one run as a tree."""

import asyncio
import json
import sys
import time

import click

from stepwell.cli.clock import duration, local_time, span
from stepwell.cli.errors import CliError
from stepwell.cli.options import check_run_id, client_settings, platform_options
from stepwell.cli.paint import paint
from stepwell.cli.watch import EVERY_S
from stepwell.server.settings import Settings

Json = dict[str, object]


@click.command()
@click.argument("run_id", required=False)
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many runs to list.")
@click.option("--status", help="Only those: queued, running, completed, failed, cancelled, skipped.")
@click.option("--function", "function", metavar="ID", help="Only those of this function (app-function).")
@click.option("--app", metavar="ID", help="Only those of this app.")
@click.option("--after", metavar="TIME", help="Only those that were queued later: 2026-01-31T12:00:00Z.")
@click.option("--before", metavar="TIME", help="Only those that were queued earlier.")
@click.option("--text", help="Only those with this in their id, function, app, trigger, result or error.")
@click.option(
    "--where", metavar="EXPR", help="Only those that meet an expression: 'event.data.order == 7 && run.steps > 3'."
)
@click.option("--event", "event_id", metavar="ID", help="Only those that this event started.")
@click.option(
    "--watch", is_flag=True, help="Go on showing it while it changes: the list until Ctrl-C, a run until it ends."
)
@click.option(
    "--json", "as_json", is_flag=True, help="JSON, for scripts; with --watch an object a line for each change."
)
@platform_options
def runs(
    run_id: str | None,
    limit: int,
    status: str | None,
    function: str | None,
    app: str | None,
    after: str | None,
    before: str | None,
    text: str | None,
    where: str | None,
    event_id: str | None,
    watch: bool,
    as_json: bool,
    platform: str | None,
    port: int | None,
    db: str | None,
) -> None:
    """List runs, newest first; with RUN_ID show that one as a timed tree of its steps."""
    settings, url = client_settings(platform, port, db)
    if run_id:
        check_run_id(run_id)
        if watch:
            asyncio.run(_watch_one(settings, url, run_id, as_json))
            return
        run, steps = asyncio.run(_one(settings, url, run_id))
        _print(json.dumps({"run": run, "steps": steps}, indent=2, ensure_ascii=False) if as_json else _tree(run, steps))
        return
    after, before = _time("--after", after), _time("--before", before)
    query = {"limit": str(limit), "status": status, "function": function, "app": app, "event_id": event_id}
    query |= {"queued_after": after, "queued_before": before, "text": text, "where": where}
    given = {key: value for key, value in query.items() if value}
    if watch:
        asyncio.run(_watch_list(settings, url, given, as_json))
        return
    found = asyncio.run(_list(settings, url, given, limit))
    _print(json.dumps(found, indent=2, ensure_ascii=False) if as_json else table(found))


def _time(option: str, given: str | None) -> str | None:
    """The time as it was given. Raises CliError for what is none."""
    from stepwell.wire.dates import rfc3339_ms

    if given and not given.isdecimal() and rfc3339_ms(given) is None:
        raise CliError(f"{option} must be a time such as 2026-11-26T14:00:00Z, not {given!r}.", 2)
    return given


async def _one(settings: Settings, url: str | None, run_id: str) -> tuple[Json, list[Json]]:
    from stepwell.cli.local import reading

    async with reading(settings, url) as platform:
        return await platform.steps(run_id)


async def _list(settings: Settings, url: str | None, query: dict[str, str], limit: int) -> list[Json]:
    """``limit`` of them at most; what is looked for by a text or an expression is looked for among all runs."""
    from stepwell.cli.local import reading
    from stepwell.cli.progress import Count

    count = Count("Looked at {} runs (Ctrl-C stops)")
    found: list[Json] = []
    seen = 0
    async with reading(settings, url) as platform:
        while True:
            page, cursor, looked_at = await platform.found(query | {"limit": str(limit - len(found))})
            found += page
            seen += looked_at
            if cursor is None or len(found) >= limit:
                count.done()
                return found
            count.at(seen)
            query = query | {"cursor": cursor}


async def _watch_one(settings: Settings, url: str | None, run_id: str, as_json: bool) -> None:
    from stepwell.cli.platform import remote
    from stepwell.cli.screen import Screen

    screen = Screen()
    async with remote(settings, url or settings.url) as platform:
        while True:
            run, steps = await platform.steps(run_id)
            ended = bool(run.get("ended_at"))
            if as_json:
                screen.lines({run_id: {"run": run, "steps": steps}})
            elif screen.live or ended:
                screen.draw(_tree(run, steps))
            if ended:
                return
            await asyncio.sleep(EVERY_S)


async def _watch_list(settings: Settings, url: str | None, query: dict[str, str], as_json: bool) -> None:
    from stepwell.cli.platform import remote
    from stepwell.cli.screen import Screen

    screen = Screen()
    async with remote(settings, url or settings.url) as platform:
        while True:
            found = await platform.runs(query)
            if as_json:
                screen.lines({str(run["run_id"]): run for run in reversed(found)})
            elif screen.live:
                screen.draw(table(found))
            else:
                screen.lines({str(run["run_id"]): "  ".join(_row(run)) for run in reversed(found)})
            await asyncio.sleep(EVERY_S)


def _tree(run: Json, steps: list[Json]) -> str:
    from stepwell.cli.tree import render

    return "\n".join(render(run, steps, unicode=_speaks_unicode(), now=time.time()))


def table(found: list[Json]) -> str:
    """Runs in columns: id, status, when, how long, steps, function."""
    if not found:
        return "No runs."
    rows = [("RUN", "STATUS", "QUEUED", "TOOK", "STEPS", "FUNCTION")]
    rows += [_row(run) for run in found]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join("  ".join(_painted(row, widths)) for row in rows)


def _painted(row: tuple[str, ...], widths: list[int]) -> list[str]:
    cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
    return [cells[0], paint(row[1], cells[1]), *cells[2:], row[5]]


def _row(run: Json) -> tuple[str, str, str, str, str, str]:
    took = duration(span(run.get("queued_at"), run.get("ended_at")))
    steps = f"{run.get('steps_ended', 0)}/{run.get('steps', 0)}"
    return (str(run["run_id"]), str(run["status"]), local_time(run.get("queued_at")), took, steps, str(run["function"]))


def _speaks_unicode() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") in ("utf8", "utf16", "utf32")


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
