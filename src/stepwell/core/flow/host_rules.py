"""Rules of hosts as people write them, in TOML or JSON. Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import cast

from stepwell.core.flow.hosts import HostRule
from stepwell.core.model import Breaker
from stepwell.wire.constants import MAX_WAIT_MS
from stepwell.wire.durations import parse_duration
from stepwell.wire.fetch_urls import DEFAULT_PORTS
from stepwell.wire.hosts import canonical

_PARTS = re.compile(r"(\*\.)?(.+?)(?::(\d+))?")
_NAME = re.compile(r"\*|(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\]")
_RATE = re.compile(r"\s*(\d+)\s*/\s*(\S+)\s*")
_RULE = ("concurrency", "rate", "burst", "slow_down", "breaker")
_BREAKER = ("failures", "window", "min_requests", "open")
_MANY = 10**9
_USUAL_PORTS = frozenset(map(str, DEFAULT_PORTS.values()))
"""A host is named without them."""

Json = Mapping[str, object]


class BadHostRule(ValueError):
    """A rule makes no sense; the message is one sentence that names the host and the member."""


def parse_hosts(value: object) -> tuple[HostRule, ...]:
    """Rules by pattern: ``{"api.example.com": {"concurrency": 10, "rate": "100/1m", "burst": 5, "breaker": true}}``.

    Raises :class:`BadHostRule`.
    """
    if not isinstance(value, Mapping):
        raise BadHostRule('The rules of hosts must be an object such as {"api.example.com": {"concurrency": 10}}.')
    rules = tuple(_rule(str(pattern), rule) for pattern, rule in cast("Json", value).items())
    check_once([rule.pattern for rule in rules])
    return rules


def check_once(patterns: Sequence[str]) -> None:
    """Raise :class:`BadHostRule` where two say the same: one of them would hold for nothing."""
    for pattern in patterns:
        if patterns.count(pattern) > 1:
            raise BadHostRule(
                f"The host {pattern} is there more than once: case, a dot at the end, and how an address or a name is spelt "
                "make no difference."
            )


def host_pattern(text: str) -> str:
    """Which hosts a rule is for: ``host``, ``host:port``, ``*.domain`` or ``*``, in their one form."""
    found = _PARTS.fullmatch(text.strip().rstrip("."))
    under, host, port = found.groups(default="") if found else ("", "", "")
    try:
        name = under + canonical(host)
    except ValueError:
        name = ""
    if not _NAME.fullmatch(name):
        raise BadHostRule(f"{text!r} is no host: write host, host:port, *.domain or *.")
    if port in _USUAL_PORTS:
        raise BadHostRule(f"{text!r} would hold for no request: {port} is the usual port, so write {name}.")
    return f"{name}:{port}" if port else name


def _rule(pattern: str, value: object) -> HostRule:
    name = host_pattern(pattern)
    where = f"The rule of host {name}"
    members = members_of(where, value, _RULE)
    limit, period = _rate(where, members.get("rate"))
    burst = _integer(where, "burst", members.get("burst", 0), 0)
    if burst and not limit:
        raise BadHostRule(f'{where}: burst needs a rate, such as rate = "100/1m".')
    concurrency = members.get("concurrency")
    return HostRule(
        pattern=name,
        concurrency=None if concurrency is None else _integer(where, "concurrency", concurrency, 1),
        limit=limit,
        period_ms=period,
        burst=burst,
        slow_down=_flag(where, "slow_down", members.get("slow_down", True)),
        breaker=_breaker(where, members.get("breaker", False)),
    )


def members_of(where: str, value: object, known: tuple[str, ...]) -> Json:
    """The object's members, when all of them are known."""
    if not isinstance(value, Mapping):
        raise BadHostRule(f"{where} must be an object with some of {', '.join(known)}.")
    members = cast("Json", value)
    for member in members:
        if member not in known:
            raise BadHostRule(f"{where} has a member {member!r} that is not known; known are {', '.join(known)}.")
    return members


def _rate(where: str, value: object) -> tuple[int, int]:
    if value is None:
        return 0, 1_000
    found = _RATE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise BadHostRule(f'{where}: rate must be requests in a time, such as "5/s" or "100/1m", not {value!r}.')
    period = found[2] if found[2][0].isdigit() else f"1{found[2]}"
    return _integer(where, "rate", int(found[1]), 1), _duration(where, "rate", period)


def _breaker(where: str, value: object) -> Breaker | None:
    if isinstance(value, bool):
        return Breaker() if value else None
    where = f"{where}: breaker"
    members = members_of(where, value, _BREAKER)
    usual = Breaker()
    ratio = members.get("failures", usual.ratio)
    if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 < ratio <= 1:
        raise BadHostRule(f"{where}: failures must be a share above 0 and up to 1, such as 0.5, not {ratio!r}.")
    return Breaker(
        ratio=float(ratio),
        window_ms=_duration(where, "window", members.get("window", f"{usual.window_ms}ms")),
        minimum=_integer(where, "min_requests", members.get("min_requests", usual.minimum), 1),
        open_ms=_duration(where, "open", members.get("open", f"{usual.open_ms}ms")),
    )


def _integer(where: str, name: str, value: object, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _MANY:
        raise BadHostRule(f"{where}: {name} must be a whole number of at least {least}, not {value!r}.")
    return value


def _duration(where: str, name: str, value: object) -> int:
    try:
        found = parse_duration(value) if isinstance(value, str) else 0
    except ValueError:
        found = 0
    if not 0 < found <= MAX_WAIT_MS:
        raise BadHostRule(f"{where}: {name} must be a time such as 500ms, 30s or 1m, not {value!r}.")
    return found


def _flag(where: str, name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise BadHostRule(f"{where}: {name} must be true or false, not {value!r}.")
    return value
