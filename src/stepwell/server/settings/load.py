"""Puts settings together: flags win over ``STEPWELL_*``, those over ``INNGEST_*``, those over the file, it over defaults."""

import os
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Final, cast

import msgspec

from stepwell.server.settings import readers
from stepwell.server.settings.check import check
from stepwell.server.settings.fields import FIELDS, Field
from stepwell.server.settings.model import Settings, SettingsError

DEFAULT_FILE: Final = "stepwell.toml"
"""Read by the commands, in the folder where they run, when it exists and no other is named."""
_PREFIXES = ("STEPWELL_", "INNGEST_")


class Loaded(msgspec.Struct, frozen=True):
    """Settings, and where each member that was given came from, in words: ``STEPWELL_PORT``, ``port in stepwell.toml``."""

    settings: Settings
    sources: dict[str, str]
    file: str | None = None
    """The file that was read."""


def load_settings(flags: Mapping[str, object], env: Mapping[str, str]) -> Settings:
    """The settings alone of :func:`load`, without a default file."""
    return load(flags, env).settings


def load(
    flags: Mapping[str, object],
    env: Mapping[str, str],
    *,
    default_file: str | None = None,
    defaults: Mapping[str, object] | None = None,
) -> Loaded:
    """Settings from ``flags`` (by member; None and missing mean not given), ``env``, then the TOML file.

    The file is the one that the flag ``config`` or ``STEPWELL_CONFIG`` names, else ``default_file`` where it exists.
    ``defaults`` take the place of those of :class:`Settings`.

    Raises :class:`SettingsError` with one sentence about the first value that makes no sense.
    """
    values: dict[str, object] = dict(defaults or {})
    sources: dict[str, str] = {}
    path = _file(flags, env, default_file)
    file = _from_file(path) if path else {}
    for name, field in FIELDS.items():
        for value, source in (
            _flag(field, flags.get(name)),
            _variable(field, env),
            (file.get(name), f"{field.key} in {path}"),
        ):
            if value is not None:
                values[name] = value
                sources[name] = source
                break
    values["keep_ms"] = values.get("keep_ms") or None  # forever
    return Loaded(check(_convert(values)), sources, path)


def unknown(what: str, name: str, known: list[str]) -> str:
    """One sentence about a name that is no setting."""
    near = get_close_matches(name.lower(), known, 1, 0.5)
    way_out = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(known))}."
    return f"{what} has {name!r}, which is no setting; {way_out}"


def _file(flags: Mapping[str, object], env: Mapping[str, str], default_file: str | None) -> str | None:
    named = flags.get("config") or next((value for _, value in _given(env, ("CONFIG",))), None)
    if named:
        return str(named)
    return default_file if default_file and os.path.exists(default_file) else None


def _flag(field: Field, value: object) -> tuple[object, str]:
    source = field.flags[-1].partition("/")[0] if field.flags else "the command line"
    return _read(field, value, source) if isinstance(value, str) else value, source


def _variable(field: Field, env: Mapping[str, str]) -> tuple[object, str]:
    others = [(name, env[name]) for name in field.also if env.get(name)]
    for name, text in [*_given(env, field.variables), *others]:
        return _read(field, text, name), name
    return None, ""


def _read(field: Field, text: str, source: str) -> object:
    try:
        return field.read(field.name, text)
    except SettingsError as problem:
        raise SettingsError(f"{str(problem).removesuffix('.')} ({source}).") from None


def _given(env: Mapping[str, str], names: tuple[str, ...]) -> list[tuple[str, str]]:
    full = [prefix + name for name in names for prefix in _PREFIXES]
    return [(name, env[name]) for name in full if env.get(name)]


def _convert(values: dict[str, object]) -> Settings:
    try:
        return msgspec.convert(values, Settings)
    except msgspec.ValidationError as error:
        raise SettingsError(f"A setting has the wrong type: {error}.") from None


def _from_file(path: str) -> dict[str, object]:
    """Values by member. In the file they have the names of the environment, in lower case, without the prefix."""
    try:
        with open(path, "rb") as file:
            found = tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"The configuration {path} can not be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"The configuration {path} is no TOML: {error}.") from None
    fields = {name.lower(): field for field in FIELDS.values() for name in field.variables}
    for name in found:
        if name not in fields:
            raise SettingsError(unknown(f"The configuration {path}", name, list(fields)))
    return {fields[name].name: _from_toml(fields[name], value, path) for name, value in found.items()}


def _from_toml(field: Field, value: object, path: str) -> object:
    if field.read is readers.hosts:
        return readers.host_rules(value)
    if field.read is readers.networks:
        return readers.network_rules(value)
    if isinstance(value, list):
        return tuple(cast("list[object]", value))
    if isinstance(value, bool | dict):
        return cast("object", value)
    return _read(field, str(value), f"{field.key} in {path}")
