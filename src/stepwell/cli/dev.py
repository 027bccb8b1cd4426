"""``stepwell dev`` and ``stepwell serve``: the platform in this process."""

import logging
from typing import TYPE_CHECKING

import click

from stepwell.cli.modules import load_clients
from stepwell.cli.server_options import server_options, started_settings
from stepwell.server.settings import require_keys

if TYPE_CHECKING:
    from stepwell.server.settings import Settings


@click.command()
@click.argument("app", required=False, metavar="[APP.py]")
@server_options
def dev(app: str | None, **flags: object) -> None:
    """Run a development platform: everybody may call it, and local addresses may be fetched.

    With APP.py the functions found there run in this same process; no web framework is needed.
    """
    _serve_forever(_settings("dev", flags), app)


@click.command()
@click.argument("app", required=False, metavar="[APP.py]")
@server_options
def serve(app: str | None, **flags: object) -> None:
    """Run a production platform. Set STEPWELL_SIGNING_KEY and STEPWELL_EVENT_KEY."""
    _serve_forever(require_keys(_settings("cloud", flags)), app)


def _settings(kind: str, flags: dict[str, object]) -> "Settings":
    return started_settings(kind, flags).settings


def _speak() -> None:
    """Show the platform's own log, unless the user's module sets logging up differently later."""
    logger = logging.getLogger("stepwell")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False


def _serve_forever(settings: "Settings", app: str | None) -> None:
    _speak()
    clients = load_clients(app) if app else []
    from stepwell.embed import serve_forever

    if settings.fetch_function:
        from stepwell.builtin import client

        clients.append(client)
    raise click.exceptions.Exit(serve_forever(settings, clients))
