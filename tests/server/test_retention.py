"""Old runs go by themselves, in the process that leads; and by hand."""

import asyncio
import json
import sqlite3
from pathlib import Path

import pytest
from msgspec.structs import replace

from stepwell.cli.main import run
from stepwell.cli.server_options import started_settings
from stepwell.core.cancellations import place
from stepwell.core.model import Cancellation, Run, RunView
from stepwell.core.outputs import Commit
from stepwell.core.reruns import CannotRerun
from stepwell.embed import embedded
from stepwell.server.build import build_engine
from stepwell.server.clock import SystemClock
from stepwell.server.runtime import retention
from stepwell.server.runtime.retention import Retention
from stepwell.server.settings import Settings, SettingsError, load_settings
from stepwell.server.store.base import Old, Prune, Pruned, Store, StoreError
from stepwell.server.store.memory import MemoryStore
from stepwell.server.store.sealed import SealedStore
from stepwell.server.store.sqlite import SQLiteStore
from stepwell.testing.platform.prune_conformance import DAY, NOW, OLD, a_cancellation, ended, put, put_large, there
from stepwell.wire.calls import Answer, AnswerKind, CallRequest
from tests.server.test_crons import SetClock
from tests.server.test_engine import running

KEEP = 7 * DAY
KEYS = ["ab" * 32]


async def filled(store: MemoryStore) -> MemoryStore:
    """With 250 old runs, and a young one."""
    await store.open()
    await put(store, *(ended(n) for n in range(250)), ended(300, ended_at=NOW))
    return store


async def until_left(store: Store, count: int) -> None:
    async with asyncio.timeout(20):
        while len(await there(store)) != count:
            await asyncio.sleep(0.01)


async def test_a_pass_deletes_what_is_old_in_batches() -> None:
    class Watched(MemoryStore):
        batches: list[tuple[Old, int]]

        async def prune(self, asked: Prune) -> Pruned:
            found = await super().prune(asked)
            self.batches.append((asked.what, found.count))
            return found

    store = Watched()
    store.batches = []
    await filled(store)
    counts = await retention.prune(store, NOW, KEEP)
    assert counts == {Old.RUNS: 250, Old.EVENTS: 250, Old.KEYS: 0, Old.CANCELLATIONS: 0}
    assert max(count for _, count in store.batches) == 100
    assert [what for what, _ in store.batches] == [Old.RUNS] * 3 + [Old.EVENTS] * 3 + [Old.KEYS, Old.CANCELLATIONS]
    assert len(await there(store)) == 1


async def test_only_the_process_that_leads_deletes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "EVERY_S", 0.01)
    store, leading = await filled(MemoryStore()), [False]
    found = Retention(store, SetClock(NOW), KEEP, lambda: leading[0])
    found.start()
    await asyncio.sleep(0.05)
    assert len(await there(store)) == 251
    leading[0] = True
    await until_left(store, 1)
    await found.stop()


async def test_who_leads_no_longer_stops_in_the_middle() -> None:
    store, asked = await filled(MemoryStore()), iter([True, True, False])
    counts = await retention.prune(store, NOW, KEEP, go_on=lambda: next(asked, False))
    assert counts[Old.RUNS] == 199, "two batches, with the young one in the first"


async def test_a_store_that_fails_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(retention, "EVERY_S", 0.01)

    class Failing(MemoryStore):
        failures = 2

        async def prune(self, asked: Prune) -> Pruned:
            if self.failures:
                self.failures -= 1
                raise StoreError("The disk is full.")
            return await super().prune(asked)

    store = await filled(Failing())
    found = Retention(store, SetClock(NOW), KEEP, lambda: True)
    found.start()
    await until_left(store, 1)
    await found.stop()
    assert caplog.text.count("The disk is full.") == 2


async def test_nothing_is_deleted_where_everything_is_kept() -> None:
    found = Retention(MemoryStore(), SetClock(NOW), None, lambda: True)
    found.start()
    assert found._task is None
    await found.stop()


async def returns(_: CallRequest) -> Answer:
    return Answer(kind=AnswerKind.RETURNED, data=b"1")


async def test_a_run_that_was_deleted_meanwhile_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at it and the commit: its bodies are gone."""
    async with running(returns) as rig:
        [run_id] = await rig.send()
        await rig.finish(run_id)
        view = await rig.engine.view(run_id)

        async def remembered(_: str) -> RunView | None:
            return view

        monkeypatch.setattr(rig.engine, "view", remembered)
        store = rig.engine.store
        assert isinstance(store, MemoryStore)
        store._forget_run(run_id)
        with pytest.raises(CannotRerun, match="is gone: it was older than runs are kept"):
            await rig.engine.rerun(run_id)
        assert await there(store) == []


async def test_a_cancellation_that_has_done_its_work_goes_once_it_is_old() -> None:
    async with running(returns) as rig:
        now = rig.engine.now()
        made = Cancellation(
            cancellation_id=rig.engine.new_id(), created_at=now, app_id="a", function_id="a-f", started_before=now - DAY
        )
        await rig.engine.cancelling.add(made)
        async with asyncio.timeout(20):
            while await rig.store.list_items(place(made)):
                await asyncio.sleep(0.01)
        for days, count in ((6, 0), (8, 1), (8, 0)):
            found = await retention.prune(rig.store, now + days * DAY, KEEP)
            assert found[Old.CANCELLATIONS] == count
        assert await rig.engine.cancelling.all() == []


@pytest.mark.parametrize(
    ("given", "kept"), [("7d", 7 * DAY), ("1d", DAY), ("24h", DAY), ("forever", None), ("Forever", None)]
)
def test_how_long_things_are_kept_is_a_setting(given: str, kept: int | None) -> None:
    assert load_settings({"keep_ms": given}, {}).keep_ms == kept
    assert load_settings({}, {"STEPWELL_KEEP": given}).keep_ms == kept


def test_a_production_platform_keeps_runs_for_thirty_days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert started_settings("cloud", {}).settings.keep_ms == 30 * DAY
    assert started_settings("cloud", {"keep_ms": "forever"}).settings.keep_ms is None
    assert started_settings("dev", {}).settings.keep_ms is None


async def test_a_platform_deletes_what_its_settings_say(tmp_path: Path) -> None:
    await file_with_runs(tmp_path / "s.db", ended(1), ended(2, ended_at=2 * SystemClock().now()))
    made = Settings(db=f"sqlite:///{tmp_path}/s.db", encryption_keys=tuple(KEYS), port=0, keep_ms=KEEP)
    engine = build_engine(made)
    await engine.open()
    await engine.start()
    await until_left(engine.store, 1)
    await engine.drain(1)
    await engine.close()


async def test_a_platform_inside_of_a_program_deletes_what_it_is_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPWELL_ENCRYPTION_KEY", KEYS[0])
    old, young = ended(1), ended(2, ended_at=2 * SystemClock().now())
    await file_with_runs(tmp_path / "s.db", old, young)
    async with embedded(db=f"sqlite:///{tmp_path}/s.db", keep="7d") as running:
        async with asyncio.timeout(20):
            while await running.run(old.run_id) is not None:
                await asyncio.sleep(0.01)
        assert await running.run(young.run_id) is not None


@pytest.mark.parametrize(
    ("given", "variable", "kept"),
    [(None, None, None), ("7d", None, 7 * DAY), (None, "2d", 2 * DAY), ("7d", "2d", 7 * DAY), ("forever", "2d", None)],
)
async def test_how_long_a_platform_inside_of_a_program_keeps_things(
    given: str | None, variable: str | None, kept: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is told, or else as the environment says, or else for ever."""
    monkeypatch.delenv("STEPWELL_KEEP", raising=False)
    if variable is not None:
        monkeypatch.setenv("STEPWELL_KEEP", variable)
    async with embedded(db="memory:", keep=given) as running:
        assert running.settings.keep_ms == kept


@pytest.mark.parametrize(("given", "said"), [("23h", "a day or longer"), ("soon", "such as 7d, or forever")])
async def test_a_platform_inside_of_a_program_does_not_start_with_less(given: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        async with embedded(db="memory:", keep=given):
            pass


def test_nothing_is_kept_for_less_than_a_day() -> None:
    with pytest.raises(SettingsError, match="a day or longer"):
        load_settings({"keep_ms": "23h"}, {})
    assert Settings().keep_ms is None


async def file_with_runs(path: Path, *runs: Run) -> None:
    store = SealedStore(SQLiteStore(path), KEYS)
    await store.open()
    await put(store, *runs)
    await store.transact([Commit(now=OLD, cancellations=(a_cancellation(1),))])
    await store.close()


def test_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Counted first, then deleted; in the file nothing of it is left."""
    monkeypatch.setenv("STEPWELL_ENCRYPTION_KEY", KEYS[0])
    monkeypatch.chdir(tmp_path)
    going = replace(ended(3), ended_at=NOW * 2)
    asyncio.run(file_with_runs(tmp_path / "s.db", ended(1), ended(2), going))
    asked = ["prune", "--db", "sqlite:///s.db", "--keep", "7d"]
    assert run([*asked, "--dry-run"]) == 0
    assert capsys.readouterr().out == "Would be deleted, at least: 2 runs, 0 events, 0 keys, 1 cancellation.\n"
    assert run([*asked, "--json"]) == 0
    gone = {"dry_run": False, "runs": 2, "events": 2, "keys": 0, "cancellations": 1}
    assert json.loads(capsys.readouterr().out) == gone
    assert run(asked) == 0
    assert capsys.readouterr().out == "Deleted: 0 runs, 0 events, 0 keys, 0 cancellations.\n"
    for wrong in ("1h", "forever"):
        assert run([*asked[:-1], wrong]) == 2
        assert "a day or longer" in capsys.readouterr().err
    assert run(["prune", "--db", "sqlite:///none.db"]) == 2
    assert "There is no database none.db" in capsys.readouterr().err


async def test_the_files_of_large_bodies_are_deleted_with_their_runs(tmp_path: Path) -> None:
    """Those of runs that stay, stay; nothing is left that the database would have to remember."""
    store, folder = SQLiteStore(tmp_path / "s.db"), tmp_path / "s.db-bodies"
    await store.open()
    for number in range(3):
        await put_large(store, ended(number), pieces=2)
    kept = await put_large(store, ended(7, ended_at=NOW), pieces=2)
    assert len(list(folder.iterdir())) == 4
    assert (await retention.prune(store, NOW, KEEP))[Old.RUNS] == 3
    await store.close()
    assert len(list(folder.iterdir())) == 1
    await store.open()
    assert await store.load_body(kept, 0, 2) == b"xx"
    await store.close()
    with sqlite3.connect(tmp_path / "s.db") as conn:
        assert conn.execute("SELECT count(*) FROM arriving").fetchall() == [(0,)]
    conn.close()


async def test_a_file_that_is_pruned_again_and_again_stops_growing(tmp_path: Path) -> None:
    """The room of what was deleted is used again."""
    store = SQLiteStore(tmp_path / "s.db")
    await store.open()
    sizes: list[int] = []
    for turn in range(6):
        await put(store, *(ended(1_000 * turn + n, queued_at=OLD) for n in range(300)))
        await retention.prune(store, NOW, KEEP)
        await store.close()
        await store.open()
        sizes.append((tmp_path / "s.db").stat().st_size)
    await store.close()
    assert sizes[-1] <= 1.1 * sizes[1], sizes
