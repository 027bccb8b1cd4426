"""``stepwell functions``: what is registered; pause one, resume one."""

import asyncio
import json

import click

from stepwell.cli.clock import local_time
from stepwell.cli.errors import CliError
from stepwell.cli.options import client_settings, platform_options
from stepwell.cli.paint import paint
from stepwell.cli.platform import Json
from stepwell.server.settings import Settings

_Given = tuple[str | None, int | None, str | None, bool]
"""Options that were given before the subcommand: url, port, database, JSON."""


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="JSON, for scripts.")
@platform_options
@click.pass_context
def functions(ctx: click.Context, as_json: bool, platform: str | None, port: int | None, db: str | None) -> None:
    """List every function of the platform; `pause ID` and `resume ID` say whether one starts runs."""
    ctx.obj = (platform, port, db, as_json)
    if ctx.invoked_subcommand is None:
        settings, url = client_settings(platform, port, db)
        found = asyncio.run(_listed(settings, url))
        print(json.dumps(found, ensure_ascii=False) if as_json else "\n".join(_lines(found)))


@functions.command()
@click.argument("function_id", metavar="ID")
@click.option("--cancel-running", is_flag=True, help="End the runs that there are; else they go on.")
@click.option("--json", "as_json", is_flag=True, help="JSON, for scripts.")
@platform_options
@click.pass_obj
def pause(
    given: _Given,
    function_id: str,
    cancel_running: bool,
    as_json: bool,
    platform: str | None,
    port: int | None,
    db: str | None,
) -> None:
    """Let the function ID, as it is in the list, start no runs until it is resumed. Events that come are skipped."""
    wanted: Json = {"cancel_running": True} if cancel_running else {}
    _ask(given, (platform, port, db, as_json), function_id, "pause", wanted)


@functions.command()
@click.argument("function_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="JSON, for scripts.")
@platform_options
@click.pass_obj
def resume(
    given: _Given, function_id: str, as_json: bool, platform: str | None, port: int | None, db: str | None
) -> None:
    """Let the function ID start runs again."""
    _ask(given, (platform, port, db, as_json), function_id, "resume", {})


def _ask(before: _Given, after: _Given, function_id: str, verb: str, wanted: Json) -> None:
    platform, port, db = after[0] or before[0], after[1] or before[1], after[2] or before[2]
    settings, url = client_settings(platform, port, db)
    made = asyncio.run(_done(settings, url, function_id, verb, wanted))
    state = "paused" if made["paused"] else "not paused"
    as_json = before[3] or after[3]
    print(json.dumps(made, ensure_ascii=False) if as_json else f"{made['id']} is {state}. {made['message']}")


async def _listed(settings: Settings, url: str | None) -> list[Json]:
    from stepwell.cli.platform import remote

    async with remote(settings, url or settings.url) as platform:
        return await platform.all_functions()


async def _done(settings: Settings, url: str | None, function_id: str, verb: str, wanted: Json) -> Json:
    from stepwell.cli.platform import ApiError, remote

    async with remote(settings, url or settings.url) as platform:
        try:
            return await platform.pausing(function_id, verb, wanted)
        except ApiError as error:
            if error.status != 404:
                raise
            raise CliError(f"There is no function {function_id!r}; `stepwell functions` lists them.") from error


def _lines(found: list[Json]) -> list[str]:
    if not found:
        return ["No function is registered."]
    width = max(len(str(each["id"])) for each in found)
    return [f"{each['id']!s:{width}}  {_state(each)}" for each in found]


def _state(function: Json) -> str:
    return paint("skipped", f"paused since {local_time(function['paused_at'])}") if function["paused"] else "active"
