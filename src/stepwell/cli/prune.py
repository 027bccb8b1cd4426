"""``stepwell prune``: what is old is deleted now, by hand."""

import asyncio
import json
import os

import click

from stepwell.cli.errors import CliError
from stepwell.cli.options import client_settings
from stepwell.core.retention import DEFAULT_KEEP_MS, MIN_KEEP_MS
from stepwell.server.settings import Settings
from stepwell.server.settings.readers import keep as read_keep
from stepwell.server.store.base import Old


@click.command()
@click.option("--keep", metavar="DURATION", help="How long runs are kept after their end [STEPWELL_KEEP, else 30d].")
@click.option("--dry-run", is_flag=True, help="Delete nothing, and say how much it would be at least.")
@click.option("--db", metavar="URL", help="The database; a file only while no platform runs on it.")
@click.option("--json", "as_json", is_flag=True, help="JSON, for scripts.")
def prune(keep: str | None, dry_run: bool, db: str | None, as_json: bool) -> None:
    """Delete runs that ended long ago, and what no run needs any more: events, keys, cancellations of many runs.

    A platform does so by itself (`--keep`). On PostgreSQL this can be run beside it.
    """
    settings, _ = client_settings(None, None, db)
    keep_ms = settings.keep_ms or DEFAULT_KEEP_MS if keep is None else read_keep("keep_ms", keep)
    assert isinstance(keep_ms, int)
    if keep_ms < MIN_KEEP_MS:
        raise CliError("Runs are kept for a day or longer: name a duration such as --keep 7d.", 2)
    counts = asyncio.run(_prune(settings, keep_ms, dry_run))
    if as_json:
        click.echo(json.dumps({"dry_run": dry_run, **{what.value: count for what, count in counts.items()}}))
        return
    from stepwell.server.runtime.retention import said

    click.echo(f"Would be deleted, at least: {said(counts)}." if dry_run else f"Deleted: {said(counts)}.")


async def _prune(settings: Settings, keep_ms: int, dry: bool) -> dict[Old, int]:
    from stepwell.cli.progress import Count
    from stepwell.server.build import open_store
    from stepwell.server.clock import SystemClock
    from stepwell.server.runtime.retention import prune as run

    path = settings.db_path
    if not settings.postgres and (path is None or not await asyncio.to_thread(os.path.exists, path)):
        raise CliError(f"There is no database {path or 'in memory'}: name one with --db.", 2)
    store = open_store(settings.db, "stepwell prune", settings.encryption_keys, settings.db_listen, seals=False)
    await store.open()
    count = Count("{} so far (Ctrl-C stops)")
    try:
        return await run(store, SystemClock().now(), keep_ms, dry=dry, told=count.at)
    finally:
        count.done()
        await store.close()
