"""``stepwell dev`` and ``stepwell serve``: the platform in this process."""

import logging
import os
from typing import TYPE_CHECKING

import click

from stepwell.cli.modules import load_clients
from stepwell.server.fetcher.guard import Guard
from stepwell.server.settings import SettingsError, load_settings, require_keys

if TYPE_CHECKING:
    from collections.abc import Callable

    from stepwell.server.settings import Settings


_DB = "Where the state is kept: sqlite:///path, or memory: [sqlite:///.stepwell/stepwell.db]."


def _server_options(command: "Callable[..., None]") -> "Callable[..., None]":
    for option in (
        click.argument("app", required=False, metavar="[APP.py]"),
        click.option(
            "-u", "--sync", "urls", multiple=True, metavar="URL", help="An app to call over HTTP; repeatable."
        ),
        click.option("--host", metavar="HOST", help="Address to listen at [127.0.0.1]."),
        click.option("--port", type=int, metavar="PORT", help="Port to listen at [8288]."),
        click.option(
            "--db",
            metavar="URL",
            help=_DB,
        ),
        click.option(
            "--retry-interval",
            metavar="DURATION",
            help="A flat delay between attempts, such as 1s.",
        ),
        click.option("--config", metavar="FILE", help="Settings from a TOML file: limits of hosts, for example."),
        click.option("--no-discovery", is_flag=True, help="Do not look for apps on this machine's usual ports."),
    ):
        command = option(command)
    return command


@click.command()
@_server_options
def dev(app: str | None, **flags: object) -> None:
    """Run a development platform: everybody may call it, and local addresses may be fetched.

    With APP.py the functions found there run in this same process; no web framework is needed.
    """
    _serve_forever(_settings("dev", flags), app)


@click.command()
@_server_options
def serve(app: str | None, **flags: object) -> None:
    """Run a production platform. Set STEPWELL_SIGNING_KEY and STEPWELL_EVENT_KEY."""
    _serve_forever(require_keys(_settings("cloud", flags)), app)


def _settings(kind: str, flags: dict[str, object]) -> "Settings":
    given = {
        "kind": kind,
        "config": flags["config"],
        "host": flags["host"],
        "port": flags["port"],
        "db": flags["db"],
        "retry_interval_ms": flags["retry_interval"],
        "app_urls": flags["urls"] or None,
        "discovery": False if flags["no_discovery"] else None,
        "fetch_function": None if kind == "dev" else os.environ.get("STEPWELL_FETCH_FUNCTION", "no"),
    }
    settings = load_settings(given, os.environ)
    try:
        Guard(allow=settings.allow)
    except ValueError as problem:
        raise SettingsError(f"STEPWELL_FETCH_ALLOW: {problem}.") from None
    return settings


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
