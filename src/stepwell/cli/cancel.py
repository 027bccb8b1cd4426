"""``stepwell cancel``: one run or several, or all runs of a function that meet an expression."""

import asyncio
import json
from datetime import UTC, datetime

import click

from stepwell.cli.errors import CliError
from stepwell.cli.options import check_run_id, client_settings, platform_options
from stepwell.server.settings import Settings

Json = dict[str, object]


@click.command()
@click.argument("run_ids", nargs=-1, metavar="[RUN_ID]...")
@click.option("--app", metavar="ID", help="Instead of ids: the runs of a function of this app.")
@click.option("--function", "function", metavar="ID", help="That function, without the app's name.")
@click.option("--if", "condition", metavar="EXPR", help="Only those whose event meets it: 'event.data.order == 7'.")
@click.option("--after", metavar="TIME", help="Only those that began later: 2026-01-31T12:00:00Z.")
@click.option("--before", metavar="TIME", help="Only those that began by then [now].")
@click.option("--json", "as_json", is_flag=True, help="JSON, for scripts.")
@platform_options
def cancel(
    run_ids: tuple[str, ...],
    app: str | None,
    function: str | None,
    condition: str | None,
    after: str | None,
    before: str | None,
    as_json: bool,
    platform: str | None,
    port: int | None,
    db: str | None,
) -> None:
    """End runs: those given by RUN_ID, or with --app and --function all that have not ended."""
    settings, url = client_settings(platform, port, db)
    if run_ids:
        if any((app, function, condition, after, before)):
            raise CliError("Give run ids, or --app and --function with their filters; not both.", 2)
        _one_by_one(settings, url, run_ids, as_json)
        return
    if not app or not function:
        raise CliError("Say which runs: RUN_ID, or --app and --function.", 2)
    asked: Json = {"app_id": app, "function_id": function, "started_before": before or _now()}
    asked |= {"started_after": after} if after else {}
    asked |= {"if": condition} if condition else {}
    made = asyncio.run(_many(settings, url, asked))
    print(json.dumps(made, ensure_ascii=False) if as_json else f"cancellation {made['id']}")


def _one_by_one(settings: Settings, url: str | None, run_ids: tuple[str, ...], as_json: bool) -> None:
    for run_id in run_ids:
        check_run_id(run_id)
    asyncio.run(_each(settings, url, run_ids))
    if as_json:
        print(json.dumps({"cancelled": run_ids}))
        return
    for run_id in run_ids:
        print(f"cancelled {run_id}")


async def _each(settings: Settings, url: str | None, run_ids: tuple[str, ...]) -> None:
    from stepwell.cli.platform import remote

    async with remote(settings, url or settings.url) as platform:
        for run_id in run_ids:
            await platform.cancel(run_id)


async def _many(settings: Settings, url: str | None, asked: Json) -> Json:
    from stepwell.cli.platform import remote

    async with remote(settings, url or settings.url) as platform:
        return await platform.cancel_many(asked)


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
