"""``stepwell migrate``: the schema of a PostgreSQL database is brought up to date."""

import asyncio
import json
from contextlib import nullcontext

import click

from stepwell.cli.errors import CliError
from stepwell.cli.options import client_settings
from stepwell.wire.constants import VERSION


@click.command()
@click.option("--db", metavar="URL", help="The PostgreSQL database.")
@click.option("--post", is_flag=True, help="The rest too, once every process runs this version.")
@click.option("--json", "as_json", is_flag=True, help="JSON, for scripts.")
def migrate(db: str | None, post: bool, as_json: bool) -> None:
    """Bring the schema of a PostgreSQL database up to date.

    Run it before the first platform of a new version starts; those of the older one go on meanwhile. What they could not work
    with is left out, and said: run it again with --post when they are gone. Several at once wait for each other. A
    database file is brought up to date by the platform that opens it.
    """
    settings, _ = client_settings(None, None, db)
    if not settings.postgres:
        raise CliError("Only a PostgreSQL database is migrated by hand: name one with --db postgresql://…", 2)
    before, after, left = asyncio.run(_migrate(settings.db_listen or settings.db, post, quiet=as_json))
    if as_json:
        click.echo(json.dumps({"before": before, "after": after, "left": left}))
        return
    if before == after:
        click.echo(f"The schema is up to date: version {after}.")
    else:
        click.echo(f"The schema has version {after} now; it had {before}.")
    if left:
        click.echo(f"{left} more: run `stepwell migrate --post` once every process runs Stepwell {VERSION}.")


async def _migrate(url: str, post: bool, *, quiet: bool) -> tuple[int, int, int]:
    """The versions before and after, and how many migrations are left for ``--post``."""
    from stepwell.cli.migrating import told
    from stepwell.server.store.migrate import load_migrations
    from stepwell.server.store.postgres import schema

    if post:
        await _all_are_new(url)
    before, after = await schema.migrate(url, post=post, around=nullcontext if quiet else told)
    return before, after, len(load_migrations(schema.__package__ or "")) - after


async def _all_are_new(url: str) -> None:
    from stepwell.server.api.workers import is_gone
    from stepwell.server.clock import SystemClock
    from stepwell.server.store.postgres.schema import processes

    now = SystemClock().now()
    older = [one for one in await processes(url) if one.version != VERSION and not is_gone(one, now)]
    if older:
        named = ", ".join(f"{one.pid} on {one.host} ({one.version})" for one in older)
        raise CliError(f"Processes of another version work on the database: replace them first: {named}.")
