"""What holds an item back, and until when; what its passing changes. Stores call this in the claiming transaction. Pure."""

from collections.abc import Callable, Collection

import msgspec

from stepwell.core.flow.breaker import Circuit, observed, probed
from stepwell.core.flow.pace import given_back, interval_us, opens_at, passed
from stepwell.core.flow.slowdown import SlowDown, again, begin, rate_at, recovered
from stepwell.core.model import Item, Limit, Pace, Passed, Reason
from stepwell.core.outputs import Observed

WAKE_MS = 10
"""Nobody is woken more often than this for a pace: what a fast one admits meanwhile goes in one group."""


_HOUR_MS = 3600 * 1000
_DAY_MS = 24 * 3600 * 1000


class FlowState(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is remembered of a paced bucket; durable. ``tat``: of its rate, microseconds."""

    tat: int = 0
    slow: SlowDown | None = None
    circuit: Circuit = Circuit()
    idle_at: int = 0
    """From this time (ms) on the state means nothing and may be forgotten."""


class Gate(msgspec.Struct, frozen=True, gc=False):
    """Limits and paces that have held an item back, sorted. It can be claimed only when each of them is open."""

    limits: tuple[Limit, ...] = ()
    paces: tuple[Pace, ...] = ()

    def joined(self, shut: "Shut") -> "Gate":
        """This gate and one thing more."""
        if isinstance(shut.by, Limit):
            limits = {*self.limits, shut.by}
            return Gate(tuple(sorted(limits, key=lambda each: (each.bucket, each.limit))), self.paces)
        return Gate(self.limits, tuple(sorted({*self.paces, shut.by}, key=lambda each: each.bucket)))


class Shut(msgspec.Struct, frozen=True):
    """What holds an item back. ``until``: ms, None where that depends on others' work."""

    by: Limit | Pace
    reason: Reason
    until: int | None = None


Used = Callable[[str], int]
Flow = Callable[[str], FlowState | None]


def shut_by(item: Item, used: Used, flow: Flow, now: int, held: Collection[str] = ()) -> Shut | None:
    """The first thing that holds an item back; None when it may be claimed. Past its ``expires_at`` nothing does.

    ``held``: the buckets in which the item's run has its slot already.
    """
    if not item.limits and not item.paces and not item.holds:
        return None
    if item.expires_at is not None and item.expires_at <= now:
        return None
    for limit in (*item.limits, *wanted(item, held)) if item.holds else item.limits:
        if used(limit.bucket) >= limit.limit:
            return Shut(limit, Reason.CONCURRENCY)
    for pace in item.paces:
        state = flow(pace.bucket)
        if state is not None:
            until, reason = opening(pace, state, now)
            if until > now:
                return Shut(pace, reason, until)
    return None


def wanted(item: Item, held: Collection[str]) -> list[Limit]:
    """The slots that the item's run takes when it is claimed."""
    return [limit for limit in item.holds if limit.bucket not in held]


def opening(pace: Pace, state: FlowState | None, now: int) -> tuple[int, Reason]:
    """When a pace opens, or opened (ms; not after ``now``: it is open), and what keeps it shut longest."""
    found = (0, Reason.RATE if pace.limit else Reason.SLOW_DOWN)
    if state is None:
        return found
    if pace.limit:
        found = (opens_at(state.tat, interval_us(pace.limit, pace.period_ms), pace.burst), Reason.RATE)
    if pace.slows and state.slow is not None and not recovered(state.slow, now):
        slow = state.slow
        until = max(slow.until, opens_at(slow.tat, 0, 0)) if now >= slow.until else slow.until
        found = max(found, (until, Reason.BREAKER if slow.unasked else Reason.SLOW_DOWN))
    if pace.breaker is not None and state.circuit.is_open:
        found = max(found, (state.circuit.opens_at, Reason.BREAKER))
    return found


def gate_opens(gate: Gate, flow: Flow, now: int) -> int:
    """When the last of a gate's paces opens (ms)."""
    return max((opening(pace, flow(pace.bucket), now)[0] for pace in gate.paces), default=0)


def passing(gate: Gate, flow: Flow, now: int) -> tuple[Passed, ...]:
    """What an item behind the gate has been held back by, as it is claimed: of each pace what opened last."""
    return (
        *(Passed(limit.bucket, Reason.CONCURRENCY) for limit in gate.limits),
        *(Passed(pace.bucket, opening(pace, flow(pace.bucket), now)[1]) for pace in gate.paces),
    )


def is_open(gate: Gate, used: Used, flow: Flow, now: int) -> bool:
    """Whether nothing of a gate holds anything back."""
    return has_room(gate, used) and (not gate.paces or gate_opens(gate, flow, now) <= now)


def has_room(gate: Gate, used: Used) -> bool:
    """Whether each of a gate's limits has a free slot."""
    return all(used(limit.bucket) < limit.limit for limit in gate.limits)


def taken(pace: Pace, state: FlowState | None, now: int) -> FlowState | None:
    """The state after an item has passed; None when there is nothing to remember."""
    if state is None:
        if not pace.limit:
            return None
        state = FlowState()
    slow = state.slow
    if slow is not None and pace.slows:
        interval = int(1_000_000 / rate_at(slow, now))
        slow = None if recovered(slow, now) else msgspec.structs.replace(slow, tat=passed(slow.tat, interval, now))
    tat = passed(state.tat, interval_us(pace.limit, pace.period_ms), now) if pace.limit else state.tat
    circuit = probed(pace.breaker, state.circuit, now) if pace.breaker is not None else state.circuit
    return _state(pace, tat, slow, circuit)


def observe(state: FlowState | None, seen: Observed, now: int) -> FlowState | None:
    """The state after a request has ended."""
    state = state or FlowState()
    pace, slow, circuit = seen.pace, state.slow, state.circuit
    if seen.given_back:
        interval = interval_us(pace.limit, pace.period_ms)
        return _state(pace, given_back(state.tat, interval, seen.started_at), slow, circuit)
    if slow is not None and recovered(slow, now):
        slow = None
    if pace.slows and seen.wait_ms is not None:
        slow = _slower(pace, slow, seen, now)
    if pace.breaker is not None:
        was_open = circuit.is_open
        circuit = observed(pace.breaker, circuit, seen.failed, seen.started_at, now)
        if was_open and not circuit.is_open and pace.slows and slow is None:
            # a host that has just come back is not met by all who waited
            slow = msgspec.structs.replace(begin(now, now, _known(pace)), unasked=True)
    return _state(pace, state.tat, slow, circuit)


def _slower(pace: Pace, slow: SlowDown | None, seen: Observed, now: int) -> SlowDown:
    until = now + (seen.wait_ms or 0)
    return begin(until, now, _known(pace)) if slow is None else again(slow, until, seen.started_at, now)


def _known(pace: Pace) -> float | None:
    return pace.limit * 1000 / pace.period_ms if pace.limit else None


def _state(pace: Pace, tat: int, slow: SlowDown | None, circuit: Circuit) -> FlowState | None:
    idle_at = -(-tat // 1000)
    if slow is not None:
        idle_at = max(idle_at, slow.until + _HOUR_MS)  # recovered long before
    if pace.breaker is not None and circuit != Circuit():
        idle_at = max(idle_at, circuit.since + pace.breaker.window_ms)
        idle_at = max(idle_at, circuit.opens_at + _DAY_MS if circuit.is_open else 0)
    return FlowState(tat, slow, circuit, idle_at) if idle_at else None
