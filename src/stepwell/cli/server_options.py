"""The settings of a platform as options of the commands that start or check one."""

import os
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import click

from stepwell.core.retention import DEFAULT_KEEP_MS
from stepwell.server.fetcher.guard import Guard
from stepwell.server.settings import DEFAULT_FILE, FIELDS, Field, Loaded, SettingsError, load

P = ParamSpec("P")
R = TypeVar("R")


def server_options(command: Callable[P, R]) -> Callable[P, R]:
    """``--config``, and an option for each setting that has a flag."""
    command = click.option("--config", metavar="FILE", help=f"Settings from a TOML file [./{DEFAULT_FILE}].")(command)
    for field in reversed(FIELDS.values()):
        if field.flags:
            command = _option(field)(command)
    return command


def _option(field: Field) -> Callable[[Callable[P, R]], Callable[P, R]]:
    about = f"{field.about.rstrip('.')} [{field.default}]."
    if "/" in field.flags[0]:
        return click.option(*field.flags, field.name, default=None, help=about)
    return click.option(*field.flags, field.name, metavar=field.metavar, multiple=field.many, help=about)


def started_settings(kind: str, flags: dict[str, object]) -> Loaded:
    """The settings of a platform of ``kind`` from its options, the environment and the file. Raises SettingsError."""
    given = {name: value for name, value in flags.items() if value not in (None, ())}
    defaults: dict[str, object] = {} if kind == "dev" else {"fetch_function": False, "keep_ms": DEFAULT_KEEP_MS}
    loaded = load({**given, "kind": kind}, os.environ, default_file=DEFAULT_FILE, defaults=defaults)
    try:
        Guard(allow=loaded.settings.allow)
    except ValueError as problem:
        raise SettingsError(f"STEPWELL_FETCH_ALLOW: {problem}.") from None
    return loaded
