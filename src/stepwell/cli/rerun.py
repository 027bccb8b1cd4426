"""``stepwell rerun``: a run made anew."""

import asyncio
import json
import sys
from typing import cast

import click

from stepwell.cli.errors import CliError
from stepwell.cli.options import check_run_id, client_settings, platform_options
from stepwell.cli.platform import Json
from stepwell.server.settings import Settings


@click.command()
@click.argument("run_id")
@click.option("--from", "from_step", metavar="STEP", help="Keep what ended before this step (its id or name).")
@click.option("--input", "text", metavar="JSON", help="Run that step with this argument; an array holds all of them.")
@click.option("--json", "as_json", is_flag=True, help="JSON, for scripts.")
@platform_options
def rerun(
    run_id: str,
    from_step: str | None,
    text: str | None,
    as_json: bool,
    platform: str | None,
    port: int | None,
    db: str | None,
) -> None:
    """Run RUN_ID again, from its start or from a step; prints the new run's id. The old run stays as it is."""
    check_run_id(run_id)
    if text is not None and from_step is None:
        raise CliError("--input belongs to a step: say which one with --from.", 2)
    wanted: Json = {"from_step": from_step} if from_step else {}
    if text is not None:
        wanted["input"] = arguments(text)
    settings, url = client_settings(platform, port, db)
    made = asyncio.run(_rerun(settings, url, run_id, wanted))
    sys.stdout.write((json.dumps(made) if as_json else str(made["run_id"])) + "\n")


def arguments(text: str) -> list[object]:
    """The arguments in a JSON text: an array as it is, anything else as the one argument. Raises CliError."""
    try:
        value: object = json.loads(text)
    except ValueError as error:
        raise CliError(f"--input is no JSON: {error}.", 2) from None
    return cast("list[object]", value) if isinstance(value, list) else [value]


async def _rerun(settings: Settings, url: str | None, run_id: str, wanted: Json) -> Json:
    from stepwell.cli.local import reading

    async with reading(settings, url) as platform:
        return await platform.rerun(run_id, wanted)
