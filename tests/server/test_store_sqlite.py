"""The SQLite store and the world around it: reopening, kills, full disks, damaged files, other processes."""

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from stepwell.core.model import Body, Limit
from stepwell.core.outputs import Commit
from stepwell.server.store.base import ClaimRequest, Outcome, RunQuery, StoreError
from stepwell.server.store.sqlite import SQLiteStore, read_holder
from stepwell.server.store.sqlite.connect import APPLICATION_ID
from stepwell.testing.platform.store_conformance import Hand, a_run, a_step, an_event, an_item, keys, ref

_LOAD = """
import asyncio, sys
from stepwell.core.outputs import Commit
from stepwell.server.store.base import ClaimRequest
from stepwell.server.store.sqlite import SQLiteStore
from stepwell.testing.platform.store_conformance import a_run, a_step, an_item

async def main():
    store = SQLiteStore(sys.argv[1], note="http://127.0.0.1:8288")
    await store.open()
    print("open", flush=True)
    for n in range(1_000_000):
        new = [Commit(now=n, run=a_run(f"R{n:06}-{k}"), steps=(a_step(f"R{n:06}-{k}", 0, 0),),
               put=(an_item("step", n, run_id=f"R{n:06}-{k}"),)) for k in range(5)]
        await store.transact(new, ClaimRequest("dead", 3, n))
        print(n, flush=True)

asyncio.run(main())
"""


def _start_load(path: Path) -> subprocess.Popen[str]:
    child = subprocess.Popen([sys.executable, "-c", _LOAD, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "open\n"
    return child


async def _opened(path: Path, max_bytes: int | None = None) -> SQLiteStore:
    store = SQLiteStore(path, max_bytes=max_bytes)
    await store.open()
    return store


async def _refusal(path: Path) -> str:
    with pytest.raises(StoreError) as caught:
        await SQLiteStore(path).open()
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


async def test_all_of_it_is_there_after_reopening(tmp_path: Path) -> None:
    one = Limit("b", 1)
    store = await _opened(tmp_path / "a.db")
    commit = Commit(
        now=1,
        run=a_run(),
        events=(an_event("E-R1"),),
        steps=(a_step("R1", 0, 0),),
        put=(an_item("a", 1, one), an_item("b", 2, one), an_item("c", 3)),
        bodies=(Body("x", "R1", b"123"),),
    )
    claimed = (await store.transact([commit], ClaimRequest("me", 1, 5))).claimed
    await store.heartbeat("me", 10_000)
    before = await store.load_runs(["R1"]), await store.list_items("R1")
    await store.close()
    store = await _opened(tmp_path / "a.db")
    assert (await store.load_runs(["R1"]), await store.list_items("R1")) == before
    assert await store.load_body("x") == b"123"
    assert keys(await Hand(store).claim(now=5)) == ["c"]
    assert await store.rescue(6) == 2, "the leases of a former process are void"
    again = await Hand(store).claim(now=6)
    assert keys(again) == ["a", "c"]
    assert again[0].claim > claimed[0].claim
    assert (await Hand(store).finish(claimed[0])).outcomes == [Outcome.CONFLICT]
    await store.close()


async def test_kill_9_loses_nothing_that_was_confirmed(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    child = _start_load(path)
    assert child.stdout is not None
    confirmed = [int(child.stdout.readline()) for _ in range(40)][-1]
    child.send_signal(signal.SIGKILL)
    confirmed = max([confirmed, *(int(line) for line in child.stdout.read().split("\n") if line)])
    child.stdout.close()
    child.wait(10)
    store = await _opened(path)
    runs = {run.run_id for run in await store.list_runs(RunQuery(limit=10**6))}
    assert runs >= {f"R{n:06}-{k}" for n in range(confirmed + 1) for k in range(5)}
    assert len(runs) % 5 == 0, "a transaction is whole or not at all"
    counts = await store.counts()
    assert counts.claimed == len(runs) // 5 * 3
    assert counts.claimed + counts.queued == len(runs)
    assert await store.rescue(0) == counts.claimed
    views = await store.load_runs(sorted(runs))
    assert all(view.stack == ["s0"] for view in views)
    await store.close()


async def test_the_file_belongs_to_one_process(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    child = _start_load(path)
    message = await _refusal(path)
    assert f"process {child.pid} (http://127.0.0.1:8288)" in message
    holder = read_holder(path)
    assert holder is not None
    assert (holder.pid, holder.note) == (child.pid, "http://127.0.0.1:8288")
    child.kill()
    child.communicate(timeout=30)
    assert read_holder(path) is None
    store = await _opened(path)
    store.announce("http://here")
    assert f"process {os.getpid()} (http://here)" in await _refusal(path)
    await store.close()
    assert read_holder(path) is None
    assert read_holder(tmp_path / "none.db") is None


async def test_a_full_disk_fails_whole_and_heals(tmp_path: Path) -> None:
    store = await _opened(tmp_path / "a.db", max_bytes=400_000)
    hand, one = Hand(store), Limit("b", 1)
    await hand.put(an_item("a", 0, one), an_item("b", 0, one))
    (held,) = await hand.claim()
    big = Commit(now=0, done=(ref(held),), run=a_run(), bodies=(Body("x", "R1", bytes(1_000_000)),))
    with pytest.raises(StoreError, match="full, nothing was saved"):
        await store.transact([Commit(now=0, run=a_run("R0")), big], ClaimRequest("me", 9, 0))
    assert await store.list_runs(RunQuery()) == []
    assert await hand.claim() == [], "the slot is still held"
    fits = Commit(now=0, done=(ref(held),), run=a_run())
    result = await store.transact([fits], ClaimRequest("me", 9, 0))
    assert (result.outcomes, keys(result.claimed)) == ([Outcome.APPLIED], ["b"])
    await store.close()
    store = await _opened(tmp_path / "a.db", max_bytes=4_000_000)
    room = Commit(now=0, bodies=(Body("x", "R1", bytes(1_000_000)),))
    assert (await store.transact([room])).outcomes == [Outcome.APPLIED]
    await store.close()


async def test_what_is_not_a_database_of_ours_is_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "text.db"
    text.write_bytes(b"just a text, longer than any header of a database file would be" * 100)
    assert "not a Stepwell database" in await _refusal(text)
    assert text.read_bytes().startswith(b"just a text")
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as conn:
        conn.execute("CREATE TABLE theirs (a)")
    conn.close()
    assert "another program" in await _refusal(other)
    newer = tmp_path / "newer.db"
    await (await _opened(newer)).close()
    with sqlite3.connect(newer) as conn:
        conn.execute("PRAGMA user_version=99")
    conn.close()
    assert "newer Stepwell (schema 99" in await _refusal(newer)


async def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    store = await _opened(path)
    await Hand(store).put(*(an_item(f"k{n}") for n in range(50)))
    await store.close()
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    path.write_bytes(data)
    assert "damaged" in await _refusal(path)


async def test_places_where_nothing_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be made" in await _refusal(tmp_path / "file" / "a.db")
    (tmp_path / "x.db.lock").mkdir()
    assert "lock file" in await _refusal(tmp_path / "x.db")
    (tmp_path / "folder.db").mkdir()
    assert "cannot be made or opened" in await _refusal(tmp_path / "folder.db")


async def test_a_lock_of_another_program_times_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepwell.server.store.sqlite.connect._BUSY_S", 0.05)
    store = await _opened(tmp_path / "a.db")
    browser = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    browser.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="another program has locked"):
        await Hand(store).put(an_item("a"))
    browser.execute("ROLLBACK")
    browser.close()
    await Hand(store).put(an_item("a"))
    await store.close()


async def test_opening_and_closing(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.db"
    store = SQLiteStore(path)
    with pytest.raises(StoreError, match="not open"):
        await store.counts()
    await store.open()
    with pytest.raises(StoreError, match="open already"):
        await store.open()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.with_name("a.db-wal").stat().st_mode) == 0o600
    await store.close()
    await store.close()
    assert not path.with_name("a.db-wal").exists()
    await store.open()
    await store.close()
    with sqlite3.connect(path) as conn:
        assert conn.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    conn.close()


async def test_a_cancelled_opening_leaves_no_lock(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "a.db")
    opening = asyncio.create_task(store.open())
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await (await _opened(tmp_path / "a.db")).close()


async def test_concurrent_verbs_do_not_mix(tmp_path: Path) -> None:
    store = await _opened(tmp_path / "a.db")
    limit = Limit("b", 7)
    await Hand(store).put(*(an_item(f"k{n}", 0, limit) for n in range(100)))

    async def work(owner: str) -> int:
        done = 0
        hand = Hand(store, owner)
        held = await hand.claim(limit=2)
        while held or (await store.counts()).queued:
            assert (await store.counts()).claimed <= 7
            result = await hand.finish(*held, limit=2)
            assert set(result.outcomes) <= {Outcome.APPLIED}
            done += len(held)
            held = result.claimed
        return done

    async with asyncio.timeout(20):
        assert sum(await asyncio.gather(*(work(f"o{n}") for n in range(6)))) == 100
    await store.close()
