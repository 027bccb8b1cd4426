"""An old key is retired: everything is sealed anew, whatever kills it on the way, and nothing asks for the old one."""

import asyncio
import base64
import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from stepwell.core.model import Body, Wait
from stepwell.core.outputs import Commit
from stepwell.server.crypto import pieces
from stepwell.server.crypto.keys import KeyFile, key_id, parse_key
from stepwell.server.crypto.seal import Sealer
from stepwell.server.store.base import PIECE_BYTES, StoreError, WaitQuery
from stepwell.server.store.rekeying import Rekeyed, rekey_file
from stepwell.server.store.sealed import SealedStore
from stepwell.server.store.sealed_records import piece_place
from stepwell.server.store.sqlite import SQLiteStore
from stepwell.server.store.sqlite.bodyfiles import BodyFiles
from stepwell.testing.platform.body_conformance import append, claimed, keep
from stepwell.testing.platform.cancellation_conformance import a_cancellation
from stepwell.testing.platform.store_conformance import a_run, a_step, an_event, an_item

OLD, NEW, OTHER = "11" * 32, "22" * 32, "33" * 32
SECRET = b"sk-literal-0123456789"
LARGE = SECRET * 60_000
MANY = 450


def sealed(folder: Path, *keys: str) -> SealedStore:
    return SealedStore(SQLiteStore(folder / "s.db"), keys, KeyFile(folder / "s.db.key"))


async def fill(folder: Path, *keys: str) -> str:
    """A database with something in every place; gives the ref of the body in pieces."""
    store = sealed(folder, *keys)
    await store.open()
    return await filled(store)


async def filled(store: SealedStore) -> str:
    """Something in every place of a store that is open, which is closed then; the ref of the body in pieces."""
    claim = await claimed(store)
    await append(store, claim, *(LARGE[at : at + PIECE_BYTES] for at in range(0, len(LARGE), PIECE_BYTES)))
    await keep(store, claim)
    await store.transact([everything(number) for number in range(MANY)])
    await store.close()
    return claim.body


def everything(number: int) -> Commit:
    run = f"R{number:04}"
    return Commit(
        now=1,
        run=replace(a_run(run, 0), output=SECRET, error=SECRET.decode()),
        events=(an_event(f"E{number}", SECRET),),
        steps=(replace(a_step(run, 0, 0), memo=SECRET, info=SECRET, input=SECRET), a_step(run, 1, 1)),
        put=(replace(an_item("s", 0, run_id=run), payload=SECRET),),
        waits=(
            Wait(run_id=run, step_id="w", name="n", expression=SECRET.decode(), event=SECRET),
            Wait(run_id=run, step_id="v", name="n", expression=None, path="data.x", value=SECRET),
        ),
        cancellations=(a_cancellation(number, SECRET.decode()), a_cancellation(number + MANY)),
        bodies=(Body(f"{run}.s", run, SECRET * (20_000 if number == 0 else 1)),),
    )


async def check(folder: Path, ref: str, *keys: str) -> None:
    """Everything is there for who has these keys."""
    store = sealed(folder, *keys)
    await store.open()
    try:
        views = {view.run.run_id: view for view in await store.load_runs([f"R{number:04}" for number in range(MANY)])}
        for number in range(MANY):
            run = f"R{number:04}"
            assert (views[run].run.output, views[run].run.error) == (SECRET, SECRET.decode())
            first = views[run].steps[a_step(run, 0, 0).step_id]
            assert (first.memo, first.info, first.input) == (SECRET, SECRET, SECRET)
            assert [item.payload for item in await store.list_items(run)] == [SECRET]
        conditions = [found.condition for found in await store.cancellations()]
        assert (conditions.count(SECRET.decode()), conditions.count(None)) == (MANY, MANY)
        event = await store.get_event("E7")
        assert event is not None
        assert event.body == SECRET
        assert await store.load_body("R0000.s") == SECRET * 20_000
        assert await store.load_body("R0001.s") == SECRET
        assert await store.load_body(ref, PIECE_BYTES - 5, PIECE_BYTES + 5) == LARGE[PIECE_BYTES - 5 : PIECE_BYTES + 5]
        places = await store.waited_places("n")
        assert {place.path for place in places} == {"data.x"}
        found = await store.find_waits(WaitQuery(name="n", at=(("data.x", SECRET),), limit=2 * MANY))
        assert sorted(wait.run_id for wait in found) == sorted([*views, *views])
        assert {(wait.step_id, wait.expression, wait.event) for wait in found} == {
            ("w", SECRET.decode(), SECRET),
            ("v", None, None),
        }
    finally:
        await store.close()


def left(folder: Path, key: str) -> list[str]:
    """The files in which something is sealed with this key."""
    name = bytes.fromhex(key_id(parse_key(key)))
    marks = [b"\xc1SW" + kind + name for kind in (b"\x01", b"\x02", b"\x03")]
    text = base64.b64encode(marks[0] + b"\0")[:-4]
    found = [(path, path.read_bytes()) for path in folder.rglob("*") if path.is_file()]
    return [path.name for path, data in found if any(mark in data for mark in (*marks, text))]


async def rekey(folder: Path, *keys: str) -> Rekeyed:
    return await rekey_file(folder / "s.db", keys, lambda done, total: None)


async def test_an_old_key_can_be_thrown_away(tmp_path: Path) -> None:
    ref = await fill(tmp_path, OLD)
    file = BodyFiles(tmp_path / "s.db").path(ref)
    assert sorted(left(tmp_path, OLD)) == sorted(["s.db", file.name])
    size = file.stat().st_size
    found = await rekey(tmp_path, NEW, OLD)
    assert found.retired == (key_id(parse_key(OLD)),)
    assert left(tmp_path, OLD) == []
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and SECRET in path.read_bytes()]
    await check(tmp_path, ref, NEW)
    assert [(path, path.stat().st_size) for path in file.parent.iterdir()] == [(file, size)]
    again = await rekey(tmp_path, NEW)
    assert again == Rekeyed(key_id(parse_key(NEW)), 0, ())


async def test_bodies_that_are_rows_or_only_arrive(tmp_path: Path) -> None:
    """Older databases have pieces of 512 KiB in rows; of what arrived when the process died nothing has to be sealed."""
    await fill(tmp_path, OLD)
    keys, row, parts = Sealer([parse_key(OLD)]), 512 * 1024, [SECRET * 24_967, SECRET * 9]
    parts[0] = parts[0][:row]
    with sqlite3.connect(tmp_path / "s.db") as conn:
        for number, data in enumerate(parts):
            sealed_piece = pieces.seal(keys, data, piece_place("row", number * row), pieces.IN_A_ROW)
            conn.execute(
                "INSERT INTO body_pieces VALUES ('row', ?, ?)", (number * pieces.sealed_size(row), sealed_piece)
            )
        conn.execute("INSERT INTO bodies (ref, run_id, data, pieces) VALUES ('row', 'R1', x'', 1)")
    store = sealed(tmp_path, OLD)
    await store.open()
    await append(store, await claimed(store, "half"), SECRET)
    await store.close()
    await rekey(tmp_path, NEW, OLD)
    assert left(tmp_path, OLD) == []
    store = sealed(tmp_path, NEW)
    await store.open()
    assert await store.load_body("row") == b"".join(parts)
    await store.close()


async def test_progress_is_told(tmp_path: Path) -> None:
    await fill(tmp_path, OLD)
    told: list[tuple[int, int]] = []
    await rekey_file(tmp_path / "s.db", (NEW, OLD), lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1]
    assert len(told) > 10


async def test_the_key_file_gets_a_new_key_and_keeps_it_alone(tmp_path: Path) -> None:
    ref = await fill(tmp_path)
    file = KeyFile(tmp_path / "s.db.key")
    (old,) = file.load()
    await rekey(tmp_path)
    (new,) = file.load()
    assert new != old
    assert left(tmp_path, old.hex()) == []
    assert (tmp_path / "s.db.key").stat().st_mode & 0o777 == 0o600
    await check(tmp_path, ref)


async def test_what_was_never_sealed_is_sealed(tmp_path: Path) -> None:
    plain = SQLiteStore(tmp_path / "s.db")
    await plain.open()
    await plain.transact([replace(everything(number), waits=(), cancellations=()) for number in range(3)])
    await plain.close()
    await rekey(tmp_path, NEW)
    assert SECRET not in (tmp_path / "s.db").read_bytes()


_KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from stepwell.server.store.rekeying import rekey_file
left = int(sys.argv[2])
def told(done, total):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(rekey_file(Path(sys.argv[1]), sys.argv[3:], told))
"""


@pytest.mark.parametrize("configured", [True, False])
async def test_it_goes_on_where_it_was_killed(tmp_path: Path, configured: bool) -> None:
    ref = await fill(tmp_path, *((OLD,) if configured else ()))
    keys = (NEW, OLD) if configured else ()
    for batches in (1, 4, 9):
        command = [sys.executable, "-c", _KILLED, str(tmp_path / "s.db"), str(batches), *keys]
        killed = await asyncio.to_thread(subprocess.run, command, check=False, timeout=30)
        assert killed.returncode == -signal.SIGKILL
        await check(tmp_path, ref, *keys)  # nothing is lost in between
    await rekey(tmp_path, *keys)
    await check(tmp_path, ref, *keys[:1])
    if configured:
        assert left(tmp_path, OLD) == []
    else:
        assert len(KeyFile(tmp_path / "s.db.key").load()) == 1


async def test_a_database_in_use_is_left_alone(tmp_path: Path) -> None:
    await fill(tmp_path)
    before = (tmp_path / "s.db.key").read_bytes()
    store = sealed(tmp_path)
    await store.open()
    with pytest.raises(StoreError, match="in use"):
        await rekey(tmp_path)
    await store.close()
    assert (tmp_path / "s.db.key").read_bytes() == before


async def test_a_missing_key_stops_it_before_it_begins(tmp_path: Path) -> None:
    await fill(tmp_path, OLD)
    with pytest.raises(StoreError, match=key_id(parse_key(OLD))):
        await rekey(tmp_path, NEW)
    assert left(tmp_path, NEW) == []


def command(folder: Path, *args: str, **env: str) -> "subprocess.CompletedProcess[str]":
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("STEPWELL_", "INNGEST_"))}
    run = [sys.executable, "-m", "stepwell.cli.main", "rekey", *args]
    return subprocess.run(
        run, cwd=folder, env={**clean, **env}, capture_output=True, text=True, timeout=30, check=False
    )


async def test_the_command(tmp_path: Path) -> None:
    ref = await fill(tmp_path, OLD)
    keys = {"STEPWELL_ENCRYPTION_KEYS": f"{NEW},{OLD}"}
    done = await asyncio.to_thread(command, tmp_path, "--db", "sqlite:///s.db", "--json", **keys)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["retired"] == [key_id(parse_key(OLD))]
    await check(tmp_path, ref, NEW)
    done = await asyncio.to_thread(command, tmp_path, "--db", "sqlite:///s.db", STEPWELL_ENCRYPTION_KEYS=NEW)
    assert f"sealed with the key {key_id(parse_key(NEW))} now; 0 rows" in done.stdout
    for db, words in (("sqlite:///none.db", "no database"), ("memory:", "in memory")):
        wrong = await asyncio.to_thread(command, tmp_path, "--db", db)
        assert wrong.returncode == 2
        assert words in wrong.stderr
    assert not (tmp_path / "none.db").exists()
