"""Events through memory and SQLite side by side: the same answers, and the laws of flow control hold in both."""

import itertools
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from stepwell.core.flow.admission import gathered_of
from stepwell.core.inputs import Answered, Env, Fired, Input
from stepwell.core.machine import step
from stepwell.core.model import Item, Run, RunStatus, StoredEvent, WorkKind
from stepwell.core.outputs import Commit
from stepwell.server.runtime.gatherings import Gatherings
from stepwell.server.runtime.registry import Registry
from stepwell.server.runtime.starter import Starter
from stepwell.server.runtime.waiting import Waiting
from stepwell.server.store.base import AppRecord, ClaimRequest, Outcome, RunQuery
from stepwell.server.store.sealed import SealedStore
from stepwell.server.store.sqlite import SQLiteStore
from stepwell.wire.calls import Answer, AnswerKind
from tests.conformance.store.pair import Pair

_KEY = "event.data.k"
_RULES: dict[str, dict[str, object]] = {
    "rate": {"rateLimit": {"limit": 3, "period": "60ms", "key": _KEY}},
    "once": {"idempotency": _KEY},
    "debounce": {"debounce": {"period": "1s", "timeout": "3s", "key": _KEY}, "rateLimit": {"limit": 9, "period": "2s"}},
    "batch": {"batchEvents": {"maxSize": 3, "timeout": "1s", "key": _KEY}},
    "skip": {"singleton": {"mode": "skip", "key": _KEY}},
    "cancel": {"singleton": {"mode": "cancel", "key": _KEY}, "debounce": {"period": "1s"}},
}


class _NoCaller:
    async def call(self, request: object) -> Any:
        raise AssertionError

    def ended(self, run_id: str) -> None: ...

    async def close(self) -> None: ...


def registry() -> Registry:
    found = Registry(_NoCaller())
    functions = [
        {"id": f"a-{name}", "name": name, "triggers": [{"event": name}], "steps": {}, **rules}
        for name, rules in _RULES.items()
    ]
    record = AppRecord(
        app_id="a", url="http://app/api", sdk="", checksum="", functions=msgspec.json.encode(functions), synced_at=0
    )
    found.put(record)
    return found


@dataclass
class Sent:
    """An event that came in, and what became of it."""

    function: str
    key: str
    event: StoredEvent
    outcome: Outcome = Outcome.APPLIED
    now: int = field(default=0)


class Desk(Pair):
    """Two stores, one history. Commits pile up and are sent together, as the committer does with what comes at once."""

    def __init__(self) -> None:
        super().__init__()
        sqlite = SQLiteStore(Path(self.folder.name) / "stepwell.db")
        self.sqlite = sqlite
        self.disk = SealedStore(sqlite, ["ab" * 32])
        self.loop.run(self.disk.open())
        ids = itertools.count()
        self.now = 1_000_000
        self.starter = Starter(registry(), Waiting(self.memory), lambda: f"{next(ids):026}", lambda _: False)
        self.gatherings = Gatherings(self.memory, self.starter, lambda: Env(self.now))
        self.batch: list[Commit] = []
        self.asked: dict[int, Sent] = {}
        self.sent: list[Sent] = []
        self.held: list[Item] = []

    @rule(
        names=st.lists(st.sampled_from(sorted(_RULES)), min_size=1, max_size=6),
        key=st.sampled_from("xy"),
        late=st.integers(-30, 30),
        again=st.booleans(),
    )
    def event(self, names: list[str], key: str, late: int, again: bool) -> None:
        for name in names:
            number = len(self.sent)
            event_id = f"e{number - 1 if again and number else number}"
            ts = self.now + late
            body = {"name": name, "data": {"k": key}, "id": event_id, "ts": ts}
            event = StoredEvent(
                internal_id=f"E{number:025}",
                event_id=event_id,
                name=name,
                received_at=self.now,
                body=msgspec.json.encode(body),
                ts=ts,
            )
            self.batch.append(Commit(now=self.now, events=(event,)))
            ((_, commit),) = self.starter.runs_for(Env(self.now), event)
            sent = Sent(name, key, event, now=self.now)
            self.sent.append(sent)
            self.asked[len(self.batch)] = sent
            self.batch.append(commit)

    @rule(limit=st.integers(0, 9))
    def send(self, limit: int) -> None:
        request = ClaimRequest("me", limit, self.now)
        done = self.both(lambda store: store.transact(self.batch, request))
        for at, sent in self.asked.items():
            sent.outcome = done.outcomes[at]
        assert Outcome.CONFLICT not in done.outcomes
        self.batch, self.asked = [], {}
        self.held += done.claimed

    @rule(ms=st.sampled_from([1, 7, 20, 500, 1_000, 5_000]))
    def wait(self, ms: int) -> None:
        self.send(0)
        self.now += ms

    @rule(which=st.integers(0, 99))
    def work(self, which: int) -> None:
        """Work on a claimed item: begin the run, end it, or cancel it."""
        if not self.held:
            return
        self.send(0)
        item = self.held.pop(which % len(self.held))
        given = self.loop.run(self.given(item))
        if given is None:
            return
        (view,) = self.loop.run(self.memory.load_runs([item.run_id]))
        env = Env(self.now)
        commit = self.starter.with_consequences(view, step(view, [given], env), env)
        self.batch.append(commit)
        result = self.both(lambda store: store.transact(self.batch, None))
        self.batch = []
        assert result.outcomes[0] in (Outcome.APPLIED, Outcome.REFUSED)

    async def given(self, item: Item) -> Input | None:
        """None for a claim that is no longer held: its run has ended."""
        if item not in await self.memory.list_items(item.run_id):
            return None
        (view,) = await self.memory.load_runs([item.run_id])
        if item.kind is WorkKind.START:
            return await self.gatherings.ready(view, item)
        if item.kind is WorkKind.CANCEL:
            return Fired(item)
        return Answered(item, 0, Answer(kind=AnswerKind.RETURNED, data=b"1"), self.now)

    @rule()
    def restart(self) -> None:
        async def again() -> None:
            for store in (self.memory, self.disk):
                await store.close()
                await store.open()
                await store.rescue(2**62)

        self.send(0)
        self.loop.run(again())
        self.held = []
        ledger = self.sqlite._write._held[0]._ledger  # pyright: ignore[reportPrivateUsage, reportOptionalMemberAccess]
        ledger.claim = self.memory._claim  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType]

    # the laws

    def runs(self) -> list[Run]:
        return list(reversed(self.both(lambda store: store.list_runs(RunQuery(limit=10_000)))))

    async def _starting(self) -> dict[str, tuple[str, ...]]:
        items = [item for run_id in self.memory._runs for item in await self.memory.list_items(run_id)]  # pyright: ignore[reportPrivateUsage]
        return {item.run_id: gathered_of(item).events for item in items if item.kind is WorkKind.START}

    @invariant()
    def laws(self) -> None:
        if self.batch:
            return
        runs = self.runs()
        starting = self.loop.run(self._starting())
        for run in runs:
            assert run.gathering == (run.run_id in starting), "a run that waits and will never begin"
        events = {run.run_id: starting.get(run.run_id, run.event_ids) for run in runs}
        self.same_links(runs)
        self.every_event_once(runs, events)
        self.one_at_a_time(runs)
        self.rates(runs)

    def same_links(self, runs: list[Run]) -> None:
        for sent in self.sent[-6:]:
            self.both(lambda store, sent=sent: store.list_runs(RunQuery(event_id=sent.event.internal_id)))

    def every_event_once(self, runs: list[Run], events: dict[str, tuple[str, ...]]) -> None:
        places = Counter(event for found in events.values() for event in found)
        names = {sent.event.internal_id: sent for sent in self.sent}
        for sent in self.sent:
            found = places[sent.event.internal_id]
            if sent.outcome is Outcome.DUPLICATE:
                assert found == 0
            elif sent.function in ("batch", "rate", "once", "skip"):
                refused = sent.outcome is Outcome.REFUSED
                assert found == (0 if refused and sent.function != "skip" else 1)
            else:
                assert found <= 1
        for run in runs:
            if run.function_id == "a-batch":
                assert len(events[run.run_id]) <= 3
                assert list(events[run.run_id]) == sorted(events[run.run_id])
                assert len({names[event].key for event in events[run.run_id]}) == 1
            else:
                assert len(events[run.run_id]) == 1

    def one_at_a_time(self, runs: list[Run]) -> None:
        going: Counter[tuple[str, str]] = Counter()
        names = {sent.event.internal_id: sent.key for sent in self.sent}
        for run in runs:
            if run.function_id in ("a-skip", "a-cancel") and not run.status.ended and not run.gathering:
                items = self.loop.run(self.memory.list_items(run.run_id))
                if not any(item.kind is WorkKind.CANCEL for item in items):
                    going[run.function_id, names[run.event_ids[0]]] += 1
            assert run.function_id == "a-skip" or run.status is not RunStatus.SKIPPED
        assert not going or max(going.values()) == 1

    def rates(self, runs: list[Run]) -> None:
        names = {sent.event.internal_id: sent for sent in self.sent}
        for key in "xy":
            passed = [
                names[run.event_ids[0]].now
                for run in runs
                if run.function_id == "a-rate" and names[run.event_ids[0]].key == key
            ]
            for i, start in enumerate(passed):
                assert all(j - i + 1 <= 3 + (passed[j] - start) / 20 for j in range(i, len(passed))), (
                    "more than the rate"
                )
        once = Counter(names[run.event_ids[0]].key for run in runs if run.function_id == "a-once")
        assert not once or max(once.values()) == 1


TestDesk = Desk.TestCase
TestDesk.settings = settings(
    max_examples=50 if os.environ.get("CI") == "true" else 20,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
