"""Memory, SQLite and an encrypted SQLite and PostgreSQL, with the same waits: every answer must be the same."""

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from msgspec.structs import replace

from stepwell.core.model import Wait
from stepwell.core.outputs import Commit
from stepwell.server.store.base import Store, WaitQuery
from stepwell.server.store.memory import MemoryStore
from stepwell.server.store.postgres import PostgresStore
from stepwell.server.store.sealed import SealedStore
from stepwell.server.store.sqlite import SQLiteStore
from stepwell.testing.platform.postgres import clean_database
from stepwell.testing.platform.store_conformance import an_item
from stepwell.testing.platform.waits_conformance import a_signal, a_wait

_STEPS = ("a", "b", "c")
_PLACES = ((), (("p", b"1"),), (("q", b"2"), ("p", b"1")))

runs = st.sampled_from(["R1", "R2", "R3"])
values = st.sampled_from([(None, b""), ("p", b"1"), ("p", b"2"), ("q", b"2")])
events = st.tuples(runs, st.sampled_from("nm"), st.sampled_from(_STEPS), values).map(
    lambda drawn: a_wait(*drawn[:3], *drawn[3])
)
signals = st.builds(
    a_signal,
    runs,
    st.sampled_from("st"),
    step_id=st.sampled_from(_STEPS),
    replaces=st.sampled_from([False, False, True]),
)
waits = st.lists(events | signals, max_size=2, unique_by=lambda wait: (wait.run_id, wait.step_id)).map(tuple)
wheres = st.lists(st.tuples(runs, st.sampled_from(_STEPS)), max_size=1).map(tuple)
commits = st.builds(
    lambda waits, gone, take, put: Commit(now=1, waits=waits, unwait=gone, take=take, put=put),
    waits, wheres, wheres, st.sampled_from([(), (an_item("w"),)]),
)  # fmt: skip
nested = st.tuples(commits, commits, commits).map(lambda three: replace(three[0], more=(three[1],), otherwise=three[2]))


class SideBySide(RuleBasedStateMachine):
    """Four stores, one history."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        folder = Path(self.folder.name)
        self.stores: list[Store] = [
            MemoryStore(),
            SQLiteStore(folder / "plain.db"),
            SealedStore(SQLiteStore(folder / "sealed.db"), ["33" * 32]),
            SealedStore(PostgresStore(self.loop.run(clean_database())), ["33" * 32]),
        ]
        self.loop.run(self.each("open"))

    def teardown(self) -> None:
        self.loop.run(self.each("close"))
        self.loop.close()
        self.folder.cleanup()

    async def each(self, verb: str) -> None:
        for store in self.stores:
            await getattr(store, verb)()

    @rule(batch=st.lists(commits | nested, min_size=1, max_size=4))
    def write(self, batch: list[Commit]) -> None:
        self.compare(batch)

    @rule()
    def reopen(self) -> None:
        self.loop.run(self.each("close"))
        self.loop.run(self.each("open"))
        self.compare([])

    def compare(self, batch: list[Commit]) -> None:
        async def all_of_it() -> list[Any]:
            return [await look(store, batch) for store in self.stores]

        first, *others = self.loop.run(all_of_it())
        for other in others:
            assert other == first


async def look(store: Store, batch: list[Commit]) -> Any:
    """Everything that a store says of waits after a transaction."""
    outcomes = (await store.transact(batch)).outcomes
    found: list[list[Wait]] = []
    for name in "nm":
        found += [await store.find_waits(WaitQuery(name=name, at=at)) for at in _PLACES]
        found.append(await store.find_waits(WaitQuery(name=name, at=_PLACES[2], before=("R1", "w"))))
        found.append(await store.find_waits(WaitQuery(name=name, at=_PLACES[2], limit=1)))
    paths = [{wait.path for wait in await store.waited_places(name)} for name in "nm"]
    holders = [await store.find_signal(signal) for signal in "st"]
    plain = [[replace(wait, seq=0) for wait in page] for page in found]
    return (
        outcomes,
        plain,
        paths,
        [wait and (wait.run_id, wait.step_id) for wait in holders],
        await store.waiting_names(),
    )


TestWaitsSideBySide = SideBySide.TestCase
TestWaitsSideBySide.settings = settings(
    max_examples=30 if os.environ.get("CI") == "true" else 12,
    stateful_step_count=8,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
