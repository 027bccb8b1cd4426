"""``stepwell migrate``: the schema of a PostgreSQL database is brought up to date."""

import asyncio
import json

import click

from stepwell.cli.errors import CliError
from stepwell.cli.options import client_settings


@click.command()
@click.option("--db", metavar="URL", help="The PostgreSQL database.")
@click.option("--json", "as_json", is_flag=True, help="JSON, for scripts.")
def migrate(db: str | None, as_json: bool) -> None:
    """Bring the schema of a PostgreSQL database up to date.

    Run it before the first platform of a new version starts; those of the older one may go on meanwhile. Several at once
    wait for each other. A database file is brought up to date by the platform that opens it.
    """
    settings, _ = client_settings(None, None, db)
    if not settings.postgres:
        raise CliError("Only a PostgreSQL database is migrated by hand: name one with --db postgresql://…", 2)
    from stepwell.server.store.postgres.connect import migrate as run

    before, after = asyncio.run(run(settings.db_listen or settings.db))
    if as_json:
        click.echo(json.dumps({"before": before, "after": after}))
    elif before == after:
        click.echo(f"The schema is up to date: version {after}.")
    else:
        click.echo(f"The schema has version {after} now; it had {before}.")
