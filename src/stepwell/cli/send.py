"""``stepwell send``: one event."""

import asyncio
import json
import sys
from typing import cast

import click

from stepwell.cli.errors import CliError
from stepwell.cli.options import client_settings, platform_options
from stepwell.server.settings import Settings

Json = dict[str, object]
_TOLD = ("run_id", "function", "skip_reason")


@click.command()
@click.argument("name")
@click.option("--data", "-d", default="{}", metavar="JSON", help="The data: a JSON object, @file, or @- for stdin.")
@click.option("--id", "event_id", metavar="ID", help="Your own id; sent again within 24 hours, it starts nothing.")
@click.option("--json", "as_json", is_flag=True, help="JSON, for scripts.")
@platform_options
def send(
    name: str, data: str, event_id: str | None, as_json: bool, platform: str | None, port: int | None, db: str | None
) -> None:
    """Send the event NAME to the running platform."""
    settings, url = client_settings(platform, port, db)
    event: Json = {"name": name, "data": parse_data(data)}
    if event_id:
        event["id"] = event_id
    sent, runs = asyncio.run(_send(settings, url, event))
    if as_json:
        print(json.dumps({"event_id": sent, "runs": runs}, ensure_ascii=False))
        return
    print(f"event {sent}")
    for run in runs:
        skipped = f"  skipped: {run['skip_reason']}" if run.get("skip_reason") else ""
        print(f"run   {run['run_id']}  {run['function']}{skipped}")
    if not runs:
        print(f"It started no run: no function is triggered by {name!r}, or this id has had its run.", file=sys.stderr)


def parse_data(text: str) -> Json:
    """The data of an event: a JSON object, from a file for ``@path``, from stdin for ``@-``. Raises CliError."""
    if text.startswith("@"):
        text = _read(text[1:])
    try:
        value: object = json.loads(text)
    except ValueError as error:
        raise CliError(f"--data is not JSON: {error}.", 2) from error
    if not isinstance(value, dict):
        raise CliError('--data must be a JSON object such as \'{"name": "value"}\'.', 2)
    return cast("Json", value)


def _read(path: str) -> str:
    if path == "-":
        return sys.stdin.read()
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise CliError(f"{path} can not be read: {error.strerror}.", 2) from error
    except UnicodeDecodeError as error:
        raise CliError(f"{path} can not be read: {error}.", 2) from error


async def _send(settings: Settings, url: str | None, event: Json) -> tuple[str, list[Json]]:
    from stepwell.cli.platform import remote

    async with remote(settings, url or settings.url) as platform:
        event_id = await platform.send(event)
        found = await platform.runs_of(event_id)
        return event_id, [{name: run[name] for name in _TOLD if name in run} for run in found]
