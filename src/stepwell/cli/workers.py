"""``stepwell workers``: who works on a database."""

import asyncio
import json
import sys
from typing import cast

import click

from stepwell.cli.clock import local_time
from stepwell.cli.options import client_settings, platform_options
from stepwell.cli.paint import paint
from stepwell.server.settings import Settings

Json = dict[str, object]
_COLOURS = {"Active": "completed", "Stopping": "running", "Gone": "failed"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="JSON, for scripts.")
@platform_options
def workers(as_json: bool, platform: str | None, port: int | None, db: str | None) -> None:
    """List the processes of the platform: where each runs, and what it works on.

    One that was killed, or that does not reach the database, is Gone after 20 seconds, and left out after an hour.
    """
    settings, url = client_settings(platform, port, db)
    found = asyncio.run(_list(settings, url))
    sys.stdout.write((json.dumps(found, indent=2, ensure_ascii=False) if as_json else table(found)) + "\n")


async def _list(settings: Settings, url: str | None) -> list[Json]:
    from stepwell.cli.local import reading

    async with reading(settings, url) as platform:
        return await platform.workers()


def table(found: list[Json]) -> str:
    """Processes in columns."""
    if not found:
        return "No platform works on this database."
    rows = [("WORKER", "STATUS", "HOST", "PID", "VERSION", "STARTED", "LEADS", "ITEMS", "APPS"), *map(_row, found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return "\n".join("  ".join(_painted(row, widths)).rstrip() for row in rows)


def _painted(row: tuple[str, ...], widths: list[int]) -> list[str]:
    cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
    return [cells[0], paint(_COLOURS.get(row[1], ""), cells[1]), *cells[2:], row[-1]]


def _row(worker: Json) -> tuple[str, ...]:
    plain = [str(worker[name]) for name in ("id", "status", "host", "pid", "version")]
    apps = " ".join(map(str, cast("list[object]", worker["apps"])))
    leads = "yes" if worker["leads"] else ""
    return (*plain, local_time(worker["started_at"]), leads, str(worker["items"]), apps)
