"""``stepwell dev`` and ``stepwell serve``: the platform in this process."""

from typing import TYPE_CHECKING

import click

from stepwell.cli.modules import load_clients
from stepwell.cli.server_options import server_options, started_settings
from stepwell.server.settings import require_keys
from stepwell.server.telemetry.logs import speak

if TYPE_CHECKING:
    from stepwell.server.settings import Settings

_as_json = click.option("--json", "as_json", is_flag=True, help="The same as --log-format json.")


@click.command()
@click.argument("app", required=False, metavar="[APP.py]")
@server_options
@_as_json
def dev(app: str | None, *, as_json: bool, **flags: object) -> None:
    """Run a development platform: everybody may call it, and local addresses may be fetched.

    With APP.py the functions found there run in this same process; no web framework is needed.
    """
    _serve_forever(_settings("dev", flags, as_json), app)


@click.command()
@click.argument("app", required=False, metavar="[APP.py]")
@server_options
@_as_json
def serve(app: str | None, *, as_json: bool, **flags: object) -> None:
    """Run a production platform. Set STEPWELL_SIGNING_KEY and STEPWELL_EVENT_KEY."""
    _serve_forever(require_keys(_settings("cloud", flags, as_json)), app)


def _settings(kind: str, flags: dict[str, object], as_json: bool) -> "Settings":
    return started_settings(kind, flags | ({"log_format": "json"} if as_json else {})).settings


def _serve_forever(settings: "Settings", app: str | None) -> None:
    speak(settings.log_format)
    clients = load_clients(app) if app else []
    from stepwell.embed import serve_forever

    if settings.fetch_function:
        from stepwell.builtin import client

        clients.append(client)
    raise click.exceptions.Exit(serve_forever(settings, clients))
