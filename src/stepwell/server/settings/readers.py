"""Values of settings, from the text of a flag or a variable. Each raises :class:`SettingsError` with one sentence."""

import re
from collections.abc import Callable
from typing import cast

import msgspec

from stepwell.core.flow.host_rules import BadHostRule, parse_hosts
from stepwell.core.flow.hosts import HostRule
from stepwell.core.networks import Network, parse_networks
from stepwell.server.settings.model import SettingsError
from stepwell.wire.durations import parse_duration
from stepwell.wire.sizes import parse_size

Reader = Callable[[str, str], object]
"""The value of the field that is named first, from the text."""
_NUMBER = re.compile(r"\d+(\.\d+)?")


def text(_field: str, given: str) -> object:
    """The text itself."""
    return given


def integer(field: str, given: str) -> object:
    """A whole number."""
    try:
        return int(given)
    except ValueError:
        raise SettingsError(f"{said(field)} must be a whole number, not {given!r}.") from None


def seconds(field: str, given: str) -> object:
    """Seconds, as a number or a duration such as ``2m``."""
    try:
        return float(given)
    except ValueError:
        return cast("int", duration(field, given)) / 1000


def duration(field: str, given: str) -> object:
    """Milliseconds, from a duration such as ``500ms``, or from seconds as a number."""
    stripped = given.strip()
    try:
        if stripped:
            return int(float(stripped) * 1000) if _NUMBER.fullmatch(stripped) else parse_duration(stripped)
    except ValueError:
        pass
    raise SettingsError(f"{said(field)} must be a duration such as 500ms, 1s or 2m, not {given!r}.")


def keep(field: str, given: str) -> object:
    """Milliseconds, from a duration such as ``7d``; 0 for ``forever``."""
    if given.strip().lower() == "forever":
        return 0
    try:
        return duration(field, given)
    except SettingsError:
        raise SettingsError(f"{said(field)} must be a duration such as 7d, or forever, not {given!r}.") from None


def size(field: str, given: str) -> object:
    """Bytes, from a size such as ``64MiB``."""
    try:
        return parse_size(given)
    except ValueError as problem:
        raise SettingsError(f"{said(field)}: {problem}.") from None


def flag(field: str, given: str) -> object:
    """Yes or no."""
    word = given.strip().lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off"):
        return False
    raise SettingsError(f"{said(field)} must be true or false, not {given!r}.")


def log_format(_field: str, given: str) -> object:
    """``text`` or ``json``."""
    if given not in ("text", "json"):
        raise SettingsError(f"The log format must be text or json, not {given!r}.")
    return given


def http_url(field: str, given: str) -> object:
    """An address of http or https, without the slash at its end."""
    if not re.match(r"https?://[^/\s]", given):
        raise SettingsError(f"{said(field)} must begin with http:// or https:// and name a host, not {given!r}.")
    return given.rstrip("/")


def words(_field: str, given: str) -> object:
    """Words, separated by commas or white space."""
    return tuple(word for word in re.split(r"[,\s]+", given) if word)


def hosts(_field: str, given: str) -> object:
    """Rules of hosts, as a JSON object."""
    try:
        value: object = msgspec.json.decode(given)
    except msgspec.DecodeError as error:
        raise SettingsError(f"The rules of hosts (STEPWELL_HOSTS) are no JSON: {error}.") from None
    return host_rules(value)


def host_rules(value: object) -> tuple[HostRule, ...]:
    """Rules of hosts, as the tables of a TOML file."""
    try:
        return parse_hosts(value)
    except BadHostRule as problem:
        raise SettingsError(str(problem)) from None


def networks(_field: str, given: str) -> object:
    """Networks of hosts, as a JSON object."""
    try:
        value: object = msgspec.json.decode(given)
    except msgspec.DecodeError as error:
        raise SettingsError(f"The networks (STEPWELL_NETWORKS) are no JSON: {error}.") from None
    return network_rules(value)


def network_rules(value: object) -> tuple[Network, ...]:
    """Networks of hosts, as the tables of a TOML file."""
    try:
        return parse_networks(value)
    except BadHostRule as problem:
        raise SettingsError(str(problem)) from None


def said(field: str) -> str:
    """What a sentence calls the field."""
    return field.removesuffix("_ms").removesuffix("_s").replace("_", " ").capitalize()
