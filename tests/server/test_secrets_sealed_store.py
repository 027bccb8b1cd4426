"""What is stored is sealed: the suite for all stores on a sealed one, and keys that come, go, rotate and are missing."""

import sqlite3
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from stepwell.core.model import Attempt, Body
from stepwell.core.outputs import Commit
from stepwell.server.crypto import pieces
from stepwell.server.crypto.keys import KeyFile, KeyProblem, key_id, parse_key, parse_keys
from stepwell.server.crypto.seal import CannotOpen, Sealer, sealed_with
from stepwell.server.store.base import ClaimRequest, EventQuery, RunQuery, Store, StoreError
from stepwell.server.store.memory import MemoryStore
from stepwell.server.store.sealed import SealedStore
from stepwell.server.store.sqlite import SQLiteStore
from stepwell.testing.platform.store_conformance import StoreConformance, a_run, a_step, an_event, an_item

OLD, NEW, OTHER = "11" * 32, "22" * 32, "33" * 32
SECRET = b"sk-literal-0123456789"


class TestSealedMemoryStore(StoreConformance):
    @pytest.fixture
    async def store(self) -> AsyncIterator[Store]:
        store = SealedStore(MemoryStore(), (NEW,))
        await store.open()
        yield store
        await store.close()


class TestSealedSQLiteStore(StoreConformance):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[Store]:
        store = sealed(tmp_path)
        await store.open()
        yield store
        await store.close()


def sealed(folder: Path, *keys: str) -> SealedStore:
    path = folder / "stepwell.db"
    return SealedStore(SQLiteStore(path), keys, KeyFile(folder / "stepwell.db.key"))


def everything() -> Commit:
    """A commit with the secret in every place that can hold one."""
    run = replace(a_run("R1", 0), output=SECRET, error=SECRET.decode(), event_ids=("E1",))
    attempt = Attempt(number=0, started_at=1, ended_at=2, error=SECRET.decode())
    return Commit(
        now=1,
        run=run,
        events=(an_event("E1", SECRET),),
        steps=(replace(a_step("R1", 0, 0), memo=SECRET, info=SECRET, attempts=(attempt,), input=SECRET),),
        put=(replace(an_item("s", 0, run_id="R1"), payload=SECRET),),
        bodies=(Body("R1.s", "R1", SECRET * 20_000),),
    )


async def check(store: Store) -> None:
    commit = everything()
    (view,) = await store.load_runs(["R1"])
    assert view.events == [SECRET]
    assert view.run == commit.run
    assert list(view.steps.values()) == list(commit.steps)
    assert view.memos == {step.step_id: SECRET for step in commit.steps}
    assert [run.output for run in await store.list_runs(RunQuery())] == [SECRET]
    event = await store.get_event("E1")
    assert event is not None
    assert event.body == SECRET
    assert await store.list_events(EventQuery()) == [event]
    assert await store.load_body("R1.s") == SECRET * 20_000
    assert await store.load_body("R1.s", 100_000, 100_010) == (SECRET * 20_000)[100_000:100_010]


def plaintext(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and SECRET in path.read_bytes()]


async def test_nothing_of_the_user_is_readable_in_the_files(tmp_path: Path) -> None:
    store = sealed(tmp_path)
    await store.open()
    await store.transact([everything()])
    assert plaintext(tmp_path) == []
    await check(store)
    claimed = (await store.transact([], ClaimRequest("me", 1, 10))).claimed
    assert [item.payload for item in claimed] == [SECRET]
    await store.close()
    assert plaintext(tmp_path) == []
    assert stat.S_IMODE((tmp_path / "stepwell.db.key").stat().st_mode) == 0o600


async def test_the_check_above_would_find_it_without_a_key(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "stepwell.db")
    await store.open()
    await store.transact([everything()])
    await store.close()
    assert plaintext(tmp_path) == ["stepwell.db"]


async def test_rows_from_before_there_was_a_key_are_read(tmp_path: Path) -> None:
    plain = SQLiteStore(tmp_path / "stepwell.db")
    await plain.open()
    await plain.transact([everything()])
    await plain.close()
    store = sealed(tmp_path)
    await store.open()
    await check(store)
    assert await store.load_apps() == []
    await store.close()


async def test_the_newest_key_seals_and_all_open(tmp_path: Path) -> None:
    first = sealed(tmp_path)
    await first.open()
    await first.transact([everything()])
    await first.close()
    second = sealed(tmp_path, NEW)
    await second.open()
    await check(second)
    await second.transact([Commit(now=2, events=(an_event("E2", SECRET),))])
    await second.close()
    with sqlite3.connect(tmp_path / "stepwell.db") as raw:
        rows = dict(raw.execute("SELECT internal_id, data FROM events").fetchall())
    raw.close()
    generated = key_id(KeyFile(tmp_path / "stepwell.db.key").load()[0])
    assert bytes.fromhex(generated) in rows["E1"]
    assert bytes.fromhex(key_id(parse_key(NEW))) in rows["E2"]


@pytest.mark.parametrize("given", [(OTHER,), ()])
async def test_a_missing_key_is_one_clear_line_at_the_start(tmp_path: Path, given: tuple[str, ...]) -> None:
    inner = SQLiteStore(tmp_path / "stepwell.db")
    store = SealedStore(inner, (OLD,))
    await store.open()
    await store.transact([everything()])
    await store.close()
    wrong = SealedStore(SQLiteStore(tmp_path / "stepwell.db"), given, KeyFile(tmp_path / "stepwell.db.key"))
    with pytest.raises(StoreError, match=r"encrypted.*STEPWELL_ENCRYPTION_KEY") as caught:
        await wrong.open()
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "stepwell.db.key").exists()
    again = SealedStore(SQLiteStore(tmp_path / "stepwell.db"), (NEW, OLD))
    await again.open()
    await check(again)
    await again.close()


@pytest.mark.parametrize("text", ["", "short", "zz" * 32, "=" * 44])
def test_what_is_no_key_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(KeyProblem, match="openssl") as caught:
        parse_key(text)
    assert not text or text not in str(caught.value)


def test_keys_may_be_hex_or_base64_and_count_once() -> None:
    assert parse_keys([OLD, "ERERERERERERERERERERERERERERERERERERERERERE", NEW]) == [b"\x11" * 32, b"\x22" * 32]


def test_a_key_file_without_a_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "k").write_text("# nothing\n")
    with pytest.raises(KeyProblem, match="holds no encryption key"):
        KeyFile(tmp_path / "k").load()


@given(st.binary(max_size=300), st.binary(max_size=20), st.integers(0, 10_000))
def test_what_was_sealed_opens_only_whole_and_in_its_place(data: bytes, place: bytes, at: int) -> None:
    sealer = Sealer([b"\x22" * 32])
    value = sealer.seal(data, place)
    assert sealer.open(value, place) == data
    assert sealed_with(value) == sealer.key
    assert sealer.seal(data, place) != value
    with pytest.raises(CannotOpen):
        sealer.open(value, place + b"!")
    broken = bytearray(value)
    broken[4 + at % (len(value) - 4)] ^= 1
    with pytest.raises(CannotOpen):
        sealer.open(bytes(broken), place)


def test_another_key_opens_nothing() -> None:
    value = Sealer([b"\x22" * 32]).seal(b"x", b"")
    with pytest.raises(CannotOpen, match=key_id(b"\x22" * 32)):
        Sealer([b"\x33" * 32]).open(value, b"")


@given(st.integers(0, 200_000), st.integers(0, 210_000), st.none() | st.integers(0, 210_000))
def test_any_part_of_a_large_value_can_be_read(length: int, start: int, end: int | None) -> None:
    sealer = Sealer([b"\x22" * 32])
    data = (b"0123456789abcdef-" * (length // 17 + 1))[:length]
    value = pieces.seal(sealer, data, b"ref")
    part = pieces.part(value[: pieces.HEAD], start, end)
    assert part is not None
    assert part.open(sealer, value[part.start : part.end], b"ref") == data[start:end]
    if part.end > part.start:
        with pytest.raises(CannotOpen):
            part.open(sealer, value[part.start : part.end - 17], b"ref")
        with pytest.raises(CannotOpen):
            part.open(sealer, value[part.start : part.end], b"other")
