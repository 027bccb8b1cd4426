"""``stepwell rekey``: an older encryption key is retired."""

import asyncio
import json
from pathlib import Path

import click

from stepwell.cli.errors import CliError
from stepwell.cli.options import client_settings
from stepwell.cli.progress import Bar


@click.command()
@click.option("--db", metavar="URL", help="Database to seal anew; on a file no platform may run.")
@click.option("--json", "as_json", is_flag=True, help="JSON, for scripts.")
def rekey(db: str | None, as_json: bool) -> None:
    """Seal everything in a database with the newest encryption key, so that older ones can go.

    The newest is the first of STEPWELL_ENCRYPTION_KEYS; where only the key file beside the database is used, a new key is
    made in it, and it is alone there in the end. Can be stopped at any moment, and begun again.

    On PostgreSQL processes may work meanwhile; all of them must have been started with the new key before the others.
    """
    settings, _ = client_settings(None, None, db)
    path = settings.db_path
    if path is None and not settings.postgres:
        raise CliError("A database in memory is not encrypted, and gone when its process ends: name one with --db.", 2)
    if path is not None and not Path(path).exists():
        raise CliError(f"There is no database {path}: name one with --db.", 2)
    from stepwell.server.store.rekeying import Rekeyed, rekey_file, rekey_postgres

    at = 0
    with Bar(1000, "Sealing anew") as bar:

        def told(done: int, total: int) -> None:
            nonlocal at
            before, at = at, 1000 * done // max(1, total)
            bar.update(at - before)

        if path is None:
            work = rekey_postgres(settings.db, settings.db_listen, settings.encryption_keys, told)
        else:
            work = rekey_file(Path(path).absolute(), settings.encryption_keys, told)
        found: Rekeyed = asyncio.run(work)
        bar.update(1000 - at)
    if as_json:
        click.echo(json.dumps({"key": found.key, "rows": found.rows, "retired": list(found.retired)}))
        return
    click.echo(f"Everything is sealed with the key {found.key} now; {found.rows} rows were written.")
    if found.retired:
        click.echo(f"No longer needed here: {', '.join(found.retired)}.")
