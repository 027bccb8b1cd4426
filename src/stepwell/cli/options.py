"""Options that several commands share."""

import os
from collections.abc import Callable, Mapping
from typing import ParamSpec, TypeVar

import click

from stepwell.cli.errors import CliError
from stepwell.server.settings import DEFAULT_FILE, Settings, load
from stepwell.wire.ids import is_ulid

P = ParamSpec("P")
R = TypeVar("R")


def platform_options(command: Callable[P, R]) -> Callable[P, R]:
    """``--url``, ``--port`` and ``--db``: which platform to talk to, or whose file to open where none runs."""
    for option in (
        click.option("--db", metavar="URL", help="Database to open where no platform runs."),
        click.option("--port", type=int, metavar="PORT", help="Port of the platform on this machine [8288]."),
        click.option("--url", "platform", metavar="URL", help="Address of the platform, instead of this machine's."),
    ):
        command = option(command)
    return command


def client_settings(platform: str | None, port: int | None, db: str | None) -> tuple[Settings, str | None]:
    """The settings, and the address of the platform when one was named."""
    settings = load({"port": port, "db": db}, os.environ, default_file=DEFAULT_FILE).settings
    return settings, platform or (None if port else _named(os.environ))


def check_run_id(text: str) -> None:
    """Raises CliError for what is no run id."""
    if not is_ulid(text):
        raise CliError(f"{text!r} is not a run id; `stepwell runs` lists them.", 2)


def _named(env: Mapping[str, str]) -> str | None:
    for name in ("BASE_URL", "API_BASE_URL", "DEV"):
        for prefix in ("STEPWELL_", "INNGEST_"):
            value = env.get(prefix + name, "")
            if value.startswith(("http://", "https://")):
                return value
    return None
