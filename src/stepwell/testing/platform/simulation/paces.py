"""How fast events pass, runs start and requests are sent: counted where it is seen, held against what the script says.

Each is judged by the clocks of the processes that let it pass, in the order in which they did: that holds whatever the
clocks do. Where no process stands still they are judged by the time of the world, too; where a clock jumps, so much later.
"""

from bisect import insort
from collections.abc import Callable, Sequence

import msgspec

from stepwell.core import invariants
from stepwell.core.flow.host_rules import parse_hosts
from stepwell.core.flow.hosts import HostRules, host_of
from stepwell.core.model import Item, Pace, Run, RunStatus
from stepwell.testing.platform.simulation.process import registration
from stepwell.testing.platform.simulation.script import Script
from stepwell.testing.platform.simulation.stores import SharedStore
from stepwell.wire.calls import CallRequest
from stepwell.wire.fetch import FetchRequest
from stepwell.wire.function_config import Throttle

_SLACK_MS = 20
"""What is promised for wake-ups that are late (``docs/limits.md``)."""
_WAY_MS = 30
"""From looking at its clock to sending a process that is well takes at most so long here: its ways to the store."""
_STANDS_STILL = frozenset({"stall", "refuse", "silent"})
"""Faults for which a process stands still, or waits, between claiming and sending."""
_KEY = "event.data.n"


class Claims:
    """The claims of one process by run and item key, each good for one call or request: its number, and when it was made."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, str], tuple[int, int]] = {}

    def made(self, items: Sequence[Item], now: int) -> None:
        """Claimed by a clock that said ``now`` (ms)."""
        self._made.update({(item.run_id, item.key): (item.claim, now) for item in items})

    def used(self, run_id: str, key: str) -> tuple[int, int] | None:
        """The claim that something is sent under; None when there is none, or it was sent already."""
        return self._made.pop((run_id, key), None)


class Paces:
    """``now``: the time of the world, ms. ``problem`` is told of everything that went too fast."""

    def __init__(
        self, script: Script, store: SharedStore, now: Callable[[], int], problem: Callable[[str], None]
    ) -> None:
        self.hosts = HostRules(parse_hosts(script.hosts))
        self._functions = {function.id: function for function in registration(script.functions).functions}
        self._steady = not any(fault.kind in _STANDS_STILL for fault in script.faults)
        self._apart_ms = sum(abs(fault.ms) for fault in script.faults if fault.kind == "jump")
        """Two clocks, or one at two times, are never further apart."""
        self._store = store
        self._now = now
        self._problem = problem
        self._started: set[str] = set()
        self._passed: dict[str, list[tuple[int, int]]] = {}
        """By bucket, in the order in which they passed: number, and by the clock of who let it pass."""
        self._seen: dict[str, list[int]] = {}
        """By bucket: by the time of the world."""
        self._entered = 0
        store.entered = self.entered

    def entered(self, run: Run, event_id: str, now: int) -> None:
        """An event has passed, into a run that it starts or joins."""
        function = self._functions[run.function_id]
        rule = (
            None if function.batch is not None else function.rate_limit
        )  # what goes into a batch meets no other limit
        if rule is None or run.status is RunStatus.SKIPPED:
            return
        self._entered += 1
        bucket = f"the rate limit of {run.function_id}{self._key(rule.key, event_id)}"
        self._count(Pace(bucket, rule.limit, rule.period_ms, rule.limit - 1), (self._entered, now), 0)

    def called(self, claims: Claims, request: CallRequest) -> None:
        """A call begins. A run starts with its first one."""
        claim = claims.used(request.run_id, request.step_id)
        if claim is None:
            self._problem(f"run {request.run_id}: {request.step_id} was called, and nobody had claimed it for that")
        elif request.is_discovery and request.run_id not in self._started:
            self._started.add(request.run_id)
            run = self._store.stored(request.run_id).run
            self._throttled("the throttle", run, self._functions[run.function_id].throttle, claim)

    def sent(self, claims: Claims, request: FetchRequest) -> None:
        """A request begins."""
        run_id, step_id = request.url.split("/")[-2:]
        claim = claims.used(run_id, step_id)
        if claim is None:
            self._problem(f"run {run_id}: the request {step_id} was sent, and nobody had claimed it for that")
            return
        run = self._store.stored(run_id).run
        self._throttled("the fetch_throttle", run, self._functions[run.function_id].fetch_throttle, claim)
        host = host_of(request.url)
        rule = self.hosts.find(host)
        if rule is not None and rule.limit:
            self._count(Pace(f"the rate of host {host}", rule.limit, rule.period_ms, rule.burst), claim, _SLACK_MS)

    def _throttled(self, name: str, run: Run, rule: Throttle | None, claim: tuple[int, int]) -> None:
        """A throttle's burst counts the first one, too; without one it is 1."""
        if rule is not None:
            bucket = f"{name} of {run.function_id}{self._key(rule.key, run.event_ids[0])}"
            self._count(Pace(bucket, rule.limit, rule.period_ms, max(0, rule.burst - 1)), claim, _SLACK_MS)

    def _key(self, key: str | None, event_id: str) -> str:
        if key is None:
            return ""
        if key != _KEY:
            raise ValueError(f"scripts have no key but {_KEY}, not {key}")
        return f" for {msgspec.json.decode(self._store.event(event_id))['data'].get('n')}"

    def _count(self, pace: Pace, passed: tuple[int, int], slack_ms: int) -> None:
        """One more; ``passed``: its place among the others, and the clock of who let it pass."""
        before = self._passed.setdefault(pace.bucket, [])
        insort(before, passed)
        for sentence in invariants.over_pace([at for _, at in before], pace, slack_ms):
            self._problem(f"{sentence}, by the clocks of those who let them pass")
        seen = self._seen.setdefault(pace.bucket, [])
        seen.append(self._now())
        late_ms = slack_ms + _WAY_MS + self._apart_ms
        for sentence in invariants.over_pace(seen, pace, late_ms) if self._steady else ():
            self._problem(sentence)
