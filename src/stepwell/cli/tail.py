"""``stepwell tail``: events and runs, as they come and go."""

import asyncio
import json

import click

from stepwell.cli.clock import duration, local_time, span
from stepwell.cli.options import client_settings, platform_options
from stepwell.cli.paint import paint
from stepwell.cli.watch import News, news
from stepwell.server.settings import Settings


@click.command()
@click.option("--function", "function", metavar="ID", help="Only runs of this function (app-function), and no events.")
@click.option("--failed", is_flag=True, help="Only runs that failed.")
@click.option("--json", "as_json", is_flag=True, help="JSON, one object a line, for scripts.")
@platform_options
def tail(
    function: str | None, failed: bool, as_json: bool, platform: str | None, port: int | None, db: str | None
) -> None:
    """Show events as they come in, and runs as they begin and end, until Ctrl-C."""
    settings, url = client_settings(platform, port, db)
    asyncio.run(_tail(settings, url, function, failed, as_json))


async def _tail(settings: Settings, url: str | None, function: str | None, failed: bool, as_json: bool) -> None:
    from stepwell.cli.platform import remote

    async with remote(settings, url or settings.url) as platform:
        async for each in news(platform):
            if wanted(each, function, failed):
                click.echo(json.dumps(each._asdict(), ensure_ascii=False) if as_json else line(each))


def wanted(each: News, function: str | None, failed: bool) -> bool:
    """Whether the filters let it pass."""
    if failed and not (each.kind == "ended" and str(each.about.get("status")).lower() == "failed"):
        return False
    return function is None or (each.kind != "event" and each.about.get("function") == function)


def line(each: News) -> str:
    """One line for people: time, what, which, its id."""
    about = each.about
    if each.kind == "event":
        when = local_time(about.get("received_at"))
        return f"{when[-8:]}  event      {about['name']}  {about['internal_id']}"
    if each.kind == "began":
        return f"{local_time(about.get('queued_at'))[-8:]}  queued     {about['function']}  {about['run_id']}"
    status = str(about["status"]).lower()
    took = duration(span(about.get("queued_at"), about.get("ended_at")))
    when = local_time(about.get("ended_at"))[-8:]
    return f"{when}  {paint(status, status.ljust(9))}  {about['function']}  {about['run_id']}  {took}"
