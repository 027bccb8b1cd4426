"""The circuit breaker of a host: closed, open for a time, half-open with one probe in flight, closed again. Pure, in ms."""

import msgspec
from msgspec.structs import replace

from stepwell.core.model import Breaker


class Circuit(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a breaker is. Closed: ``opens_at`` is 0, and ``failed`` of ``total`` requests since ``since`` failed.

    Open: nothing before ``opens_at``. Half-open: ``probe_at`` is when the first probe was let through; another one is let
    through at ``opens_at`` while nothing is heard of any (its process may have died, or the host takes its time). Closed again,
    ``probe_at`` stays: what was sent before says nothing of the host as it is now.
    """

    since: int = 0
    total: int = 0
    failed: int = 0
    opens_at: int = 0
    probe_at: int = 0

    @property
    def is_open(self) -> bool:
        """Open or half-open."""
        return self.opens_at > 0


def probed(rule: Breaker, circuit: Circuit, now: int) -> Circuit:
    """A request was let through at ``now``, which was not before ``opens_at``."""
    if not circuit.is_open:
        return circuit
    return replace(circuit, probe_at=circuit.probe_at or now, opens_at=now + rule.open_ms)


def observed(rule: Breaker, circuit: Circuit, failed: bool, started_at: int, now: int) -> Circuit:
    """A request that was sent at ``started_at`` has ended. While open, only the probes' word counts."""
    if circuit.is_open:
        if not circuit.probe_at or started_at < circuit.probe_at:
            return circuit
        if failed:
            return Circuit(since=now, opens_at=now + rule.open_ms)
        return Circuit(since=now, probe_at=circuit.probe_at)
    if started_at < circuit.probe_at <= now:
        return circuit
    if now - circuit.since >= rule.window_ms:
        circuit = Circuit(since=now, probe_at=circuit.probe_at)
    counted = replace(circuit, total=circuit.total + 1, failed=circuit.failed + failed)
    if failed and counted.total >= rule.minimum and counted.failed >= rule.ratio * counted.total:
        return Circuit(since=now, opens_at=now + rule.open_ms)
    return counted
