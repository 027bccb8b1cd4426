"""`stepwell doctor` on what is stored: it names each thing that must never be, and nothing of a busy platform."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from stepwell.cli.main import run
from stepwell.core.model import Item, Limit, Run, RunStatus, Step, StepStatus, Wait, WorkKind
from stepwell.core.outputs import Commit
from stepwell.embed import Embedded
from stepwell.server.build import open_audit, open_store
from stepwell.server.clock import SystemClock
from stepwell.server.settings import Settings
from stepwell.server.store import auditing
from stepwell.server.store.auditing import Audit, audit
from stepwell.server.store.base import ClaimRequest, Outcome, Store
from stepwell.testing.platform.postgres import clean_database
from tests.ports import free_port
from tests.upgrade.app import EVENTS, client

KEY = "5e" * 32
GOES = Run(run_id="R", function_id="f", app_id="a", status=RunStatus.RUNNING, version=1, discovering=True)
OVER = replace(GOES, status=RunStatus.COMPLETED, discovering=False, ended_at=9)
CALL = Item(run_id="R", key="step", kind=WorkKind.CALL, due_at=2**50)
FETCH = Item(run_id="R", key="s", kind=WorkKind.FETCH, due_at=2**50)
STEP = Step(run_id="R", step_id="s", name="pay", op="Gateway", status=StepStatus.WAITING, number=0, own_item=True)
DONE = replace(STEP, status=StepStatus.COMPLETED, position=0, memo=b"{}", own_item=False)
WAIT = Wait(run_id="R", step_id="s", name="n", expression=None)
PLANTED: dict[str, Commit] = {
    "has 1 results by its header, at the places []": Commit(now=1, run=replace(GOES, completed=1), put=(CALL,)),
    "has 2 steps by its header, and 0 stored": Commit(now=1, run=replace(GOES, steps=2), put=(CALL,)),
    "waits for 1 steps by its header, and for 0 by the steps": Commit(now=1, run=replace(GOES, pending=1), put=(CALL,)),
    "has 7 bytes of results by its header, and 2 stored": Commit(
        now=1, run=replace(GOES, steps=1, completed=1, state_bytes=7), steps=(DONE,), put=(CALL,)
    ),
    "has ended, and nobody knows when": Commit(now=1, run=replace(OVER, ended_at=None)),
    "has ended (completed), and still has work: call step": Commit(now=1, run=OVER, put=(CALL,)),
    "is running, and ended at 9": Commit(now=1, run=replace(GOES, ended_at=9), put=(CALL,)),
    "is running, and has nothing that could ever end it": Commit(now=1, run=replace(GOES, discovering=False)),
    "waits for more events, and has no time at which it begins": Commit(
        now=1, run=replace(GOES, gathering=True), put=(CALL,)
    ),
    "is not to be called by its header, and the item says otherwise": Commit(
        now=1, run=replace(GOES, discovering=False), put=(CALL,)
    ),
    "has a step pay that nothing works on": Commit(
        now=1, run=replace(GOES, steps=1, pending=1), steps=(STEP,), put=(CALL,)
    ),
    "has a work item fetch s, and no such step that goes on": Commit(now=1, run=GOES, put=(CALL, FETCH)),
    "has ended, and s still waits": Commit(now=1, run=OVER, waits=(WAIT,)),
    "has a step pay that has ended and still waits": Commit(
        now=1, run=replace(GOES, steps=1, completed=1, state_bytes=2), steps=(DONE,), put=(CALL,), waits=(WAIT,)
    ),
}


@pytest.fixture(params=["sqlite", "postgresql"])
async def db(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/s.db" if request.param == "sqlite" else await clean_database()


async def opened(db: str) -> Store:
    store = open_store(db, keys=[KEY])
    await store.open()
    return store


async def looked(db: str, key: str = KEY) -> Audit:
    source, keys = await open_audit(db, [key])
    told = await audit(source, keys, SystemClock().now())
    await source.close()
    return told


def named(commit: Commit, run_id: str) -> Commit:
    """The same for another run."""
    assert commit.run is not None
    mine: Callable[..., object] = lambda record: replace(record, run_id=run_id)  # noqa: E731
    lists = {name: tuple(map(mine, getattr(commit, name))) for name in ("steps", "put", "waits")}
    return replace(commit, run=replace(commit.run, run_id=run_id), **lists)


async def test_each_kind_of_defect_is_named_and_nothing_else(db: str) -> None:
    """While the database is open elsewhere; many runs that are well lie between them."""
    store = await opened(db)
    well = Commit(now=1, run=replace(GOES, steps=1, pending=1), steps=(STEP,), put=(CALL, FETCH))
    commits = [named(commit, f"R{number:02}b") for number, commit in enumerate(PLANTED.values())]
    commits += [named(well, f"R{number:02}a") for number in range(30)]
    assert set((await store.transact(commits)).outcomes) == {Outcome.APPLIED}
    told = await looked(db)
    await store.close()
    assert told.runs == len(commits)
    assert told.problems == [f"run R{number:02}b {sentence}" for number, sentence in enumerate(PLANTED)]


async def test_limits_and_singletons_are_looked_at_over_all_runs(db: str) -> None:
    store = await opened(db)
    items = [replace(FETCH, run_id=name, due_at=0, limits=(Limit("b", size),)) for size, name in ((1, "X"), (2, "Y"))]
    assert len((await store.transact([Commit(now=1, put=tuple(items))], ClaimRequest("me", 9, 1))).claimed) == 2
    for name in ("S1", "S2"):
        alone = replace(GOES, buckets=("singleton:f:",))
        await store.transact([named(Commit(now=1, run=alone, put=(CALL,)), name)])
    told = await looked(db)
    await store.close()
    assert told.problems == [
        "the runs S1, S2 of singleton:f: at the same time",
        "2 at once in b, where 1 may be",
    ]


async def test_values_that_do_not_open_are_named(db: str) -> None:
    store = await opened(db)
    await store.transact(
        [Commit(now=1, run=replace(GOES, steps=1, completed=1, state_bytes=2), steps=(DONE,), put=(CALL,))]
    )
    await store.close()
    (sentence,) = (await looked(db, "77" * 32)).problems
    assert sentence.startswith("run R has a step that can not be read: a stored value is sealed with the key")


async def test_of_very_many_defects_the_first_are_kept(db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditing, "_MOST", 5)
    store = await opened(db)
    broken = Commit(now=1, run=replace(OVER, ended_at=None))
    await store.transact([named(broken, f"R{number:02}") for number in range(45)])
    told = await looked(db)
    await store.close()
    assert (len(told.problems), told.more, told.runs) == (5, 40, 45)


async def test_a_busy_platform_is_well(db: str) -> None:
    """Looked at again and again while runs of every kind go on and end."""
    platform = Embedded(Settings(db=db, encryption_keys=(KEY,), port=0, discovery=False), [client])
    await platform.start()
    looks: list[Audit] = []
    for _ in range(4):
        for name, data in EVENTS:
            await platform.send(name, data)
        looks.append(await looked(db))
    async with asyncio.timeout(60):
        while len(looks) < 12:
            await platform.send("nap", {})
            looks.append(await looked(db))
            await asyncio.sleep(0.1)
    await platform.stop(1)
    looks.append(await looked(db))
    assert [sentence for told in looks for sentence in told.problems] == []
    assert looks[-1].runs > looks[0].runs > 0


def test_the_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1 with a sentence; 0 when all is well, or when nobody asked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STEPWELL_ENCRYPTION_KEY", KEY)
    asked = ["doctor", "--json", "--port", str(free_port()), "--db", "sqlite:///s.db"]

    async def plant(*commits: Commit) -> None:
        store = await opened("sqlite:///s.db")
        await store.transact(commits)
        await store.close()

    def runs() -> list[str]:
        checks = json.loads(capfd.readouterr().out)["checks"]
        return [check["message"] for check in checks if check["name"] == "runs"]

    asyncio.run(plant(Commit(now=1, run=GOES, put=(CALL,))))
    assert run(asked) == 0
    assert runs() == ["1 looked at: what is stored of them is as it must be."]
    asyncio.run(plant(named(Commit(now=1, run=replace(OVER, ended_at=None)), "R2")))
    assert run(asked) == 1
    assert runs() == ["Run R2 has ended, and nobody knows when."]
    assert run([*asked, "--quick"]) == 0
    assert runs() == []
