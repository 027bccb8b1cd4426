"""``stepwell runs``: the list, and one run as a tree."""

import asyncio
import json
import sys

import click

from stepwell.cli.clock import duration, local_time, span
from stepwell.cli.errors import CliError
from stepwell.cli.options import client_settings, platform_options
from stepwell.server.settings import Settings

Json = dict[str, object]


@click.command()
@click.argument("run_id", required=False)
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many runs to list.")
@click.option("--status", help="Only those: queued, running, completed, failed, cancelled, skipped.")
@click.option("--function", "function", metavar="ID", help="Only those of this function (app-function).")
@click.option("--event", "event_id", metavar="ID", help="Only those that this event started.")
@click.option("--json", "as_json", is_flag=True, help="JSON, for scripts.")
@platform_options
def runs(
    run_id: str | None,
    limit: int,
    status: str | None,
    function: str | None,
    event_id: str | None,
    as_json: bool,
    platform: str | None,
    port: int | None,
    db: str | None,
) -> None:
    """List runs, newest first; with RUN_ID show that one as a timed tree of its steps."""
    settings, url = client_settings(platform, port, db)
    if run_id:
        from stepwell.wire.ids import is_ulid

        if not is_ulid(run_id):
            raise CliError(f"{run_id!r} is not a run id; `stepwell runs` lists them.", 2)
        run, steps = asyncio.run(_one(settings, url, run_id))
        _print(json.dumps({"run": run, "steps": steps}, indent=2, ensure_ascii=False) if as_json else _tree(run, steps))
        return
    query = {"limit": str(limit), "status": status, "function": function, "event_id": event_id}
    found = asyncio.run(_list(settings, url, {key: value for key, value in query.items() if value}))
    _print(json.dumps(found, indent=2, ensure_ascii=False) if as_json else table(found))


async def _one(settings: Settings, url: str | None, run_id: str) -> tuple[Json, list[Json]]:
    from stepwell.cli.local import reading

    async with reading(settings, url) as platform:
        return await platform.steps(run_id)


async def _list(settings: Settings, url: str | None, query: dict[str, str]) -> list[Json]:
    from stepwell.cli.local import reading

    async with reading(settings, url) as platform:
        return await platform.runs(query)


def _tree(run: Json, steps: list[Json]) -> str:
    from stepwell.cli.tree import render

    return "\n".join(render(run, steps, unicode=_speaks_unicode()))


def table(found: list[Json]) -> str:
    """Runs in columns: id, status, when, how long, steps, function."""
    if not found:
        return "No runs."
    rows = [("RUN", "STATUS", "QUEUED", "TOOK", "STEPS", "FUNCTION")]
    rows += [_row(run) for run in found]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join("  ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[5]]) for row in rows)


def _row(run: Json) -> tuple[str, str, str, str, str, str]:
    took = duration(span(run.get("queued_at"), run.get("ended_at")))
    steps = f"{run.get('steps_ended', 0)}/{run.get('steps', 0)}"
    return (str(run["run_id"]), str(run["status"]), local_time(run.get("queued_at")), took, steps, str(run["function"]))


def _speaks_unicode() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") in ("utf8", "utf16", "utf32")


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
