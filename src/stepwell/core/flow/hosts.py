"""Limits of hosts: which rule is whose, what a request of a host has to pass, and what is learnt from how it went. Pure.

A host is named as it is connected: in its one form, with the port when that is not the scheme's own.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TypeVar

import msgspec

from stepwell.core.model import Breaker, Limit, Pace
from stepwell.core.outputs import Observed
from stepwell.wire.fetch import FetchBroken, FetchOutcome
from stepwell.wire.fetch_urls import DEFAULT_PORTS, origin
from stepwell.wire.hosts import canonical

_FAILURES = frozenset({"dns", "connect", "tls", "write", "read", "timeout", "protocol"})
"""Kinds of broken requests that speak of the host; others speak of the request."""
_TOO_MANY = 429
_BUCKET = "host:"
_T = TypeVar("_T")


class HostRule(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of each host that ``pattern`` names: ``host``, ``host:port``, ``*.domain`` (every name below it) or ``*``.

    ``limit`` requests in each ``period_ms`` (0: any number) and ``burst`` more at once; ``concurrency`` in flight at once;
    ``slow_down``: its 429 and 503 with a time make all runs wait. Each host has limits of its own, also of ``*``.
    """

    pattern: str
    concurrency: int | None = None
    limit: int = 0
    period_ms: int = 1_000
    burst: int = 0
    slow_down: bool = True
    breaker: Breaker | None = None


def closest(rules: Mapping[str, _T], host: str) -> _T | None:
    """Of rules by pattern the one for ``host``: that of host and port, of the host, the longest domain, ``*``."""
    if host in rules:
        return rules[host]
    name = host.rpartition(":")[0] if ":" in host and not host.endswith("]") else host
    found = rules.get(name)
    while found is None and "." in name:
        name = name.partition(".")[2]
        found = rules.get(f"*.{name}")
    return found or rules.get("*")


class HostRules:
    """The rules of all hosts. The closest one holds, alone: host and port, host, longest domain, ``*``."""

    def __init__(self, rules: Iterable[HostRule] = ()) -> None:
        self._rules = {rule.pattern: rule for rule in rules}

    def find(self, host: str) -> HostRule | None:
        """The rule for ``host``, as :func:`host_of` names it."""
        return closest(self._rules, host) if self._rules else None

    def admission(
        self, limits: tuple[Limit, ...], paces: tuple[Pace, ...], host: str
    ) -> tuple[tuple[Limit, ...], tuple[Pace, ...]]:
        """What a request of a run with these limits and paces has to pass."""
        rule = self.find(host)
        bucket = _BUCKET + host
        if rule is None:
            return limits, (*paces, Pace(bucket, slows=True))
        if rule.concurrency is not None:
            limits = (*limits, Limit(bucket, rule.concurrency))
        if not (rule.limit or rule.slow_down or rule.breaker):
            return limits, paces
        return limits, (*paces, Pace(bucket, rule.limit, rule.period_ms, rule.burst, rule.slow_down, rule.breaker))


NO_RULES = HostRules()


@lru_cache(maxsize=4_096)
def host_of(url: str) -> str:
    """The host of a clean URL, as limits name it; IPv6 addresses in brackets."""
    try:
        scheme, name, port = origin(url)
        shown = canonical(name)
    except ValueError:
        return ""
    return shown if port == DEFAULT_PORTS.get(scheme) else f"{shown}:{port}"


def observed(pace: Pace, outcome: FetchOutcome, asked_ms: int | None, started_at: int) -> Observed | None:
    """What the host's pace learns from an outcome; None when that is nothing. ``asked_ms``: what the host asked for."""
    if isinstance(outcome, FetchBroken):
        if pace.breaker is None or outcome.kind not in _FAILURES:
            return None
        return Observed(pace, started_at, failed=True)
    wait = asked_ms
    if wait is None and outcome.status == _TOO_MANY:
        wait = 0  # it did not say for how long: nobody waits, and the pace goes down
    if not pace.slows:
        wait = None
    if wait is None and pace.breaker is None:
        return None
    return Observed(pace, started_at, failed=outcome.status >= 500, wait_ms=wait)
