"""Settings as people see them: each value, where it came from, and nothing that is secret. Pure."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import cast

import msgspec

from stepwell.server.settings.fields import FIELDS
from stepwell.server.settings.load import Loaded
from stepwell.wire.masks import mask_url

_USER = re.compile(r"(?<=://)[^\"?#]*@")
"""Also where it holds what should have been percent-encoded."""
_APPS = (
    "API_BASE_URL",
    "BASE_URL",
    "DEBUG",
    "DEV",
    "ENV",
    "EVENT_API_BASE_URL",
    "SERVE_ORIGIN",
    "SERVE_PATH",
    "CONFIG",
)
"""Variables that are no settings of a platform."""
_OF_SECRETS = "STEPWELL_SECRET_"


class Shown(msgspec.Struct, frozen=True):
    """One setting. ``source``: where its value came from, ``default`` where nobody gave one."""

    name: str
    value: str
    source: str


def show(loaded: Loaded) -> list[Shown]:
    """Every setting by its key."""
    return [
        Shown(field.key, _text(getattr(loaded.settings, name), field.secret), loaded.sources.get(name, "default"))
        for name, field in FIELDS.items()
    ]


def misspelt(env: Iterable[str]) -> list[str]:
    """A sentence for each variable that is none of ours and looks as if it were meant to be."""
    known = {name for field in FIELDS.values() for name in field.variables}
    found: list[str] = []
    for name in sorted(env):
        short = name.removeprefix("STEPWELL_")
        if name == short or name.startswith(_OF_SECRETS) or short in known or short in _APPS:
            continue
        if near := get_close_matches(short, known, 1, 0.75):
            found.append(f"The variable {name} is not known; did you mean STEPWELL_{near[0]}?")
    return found


def _text(value: object, secret: bool) -> str:
    if value in (None, (), ""):
        return "none"
    many = cast("tuple[object, ...]", value) if isinstance(value, tuple) else (value,)
    if secret:
        return "***" if len(many) == 1 else f"*** ({len(many)})"
    return ", ".join(mask_url(_USER.sub("***@", each if isinstance(each, str) else _json(each))) for each in many)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
