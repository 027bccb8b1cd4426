"""An old key is retired while processes work on the database: nothing is lost, and nothing asks for the old one."""

import asyncio
import base64
import itertools
import json
from typing import Any

import pytest
from msgspec.structs import replace

from stepwell.cli.main import run
from stepwell.core.outputs import Commit
from stepwell.server.crypto import pieces
from stepwell.server.crypto.keys import key_id, parse_key
from stepwell.server.crypto.seal import Sealer
from stepwell.server.store.base import Outcome, StoreError, WaitQuery
from stepwell.server.store.postgres import PostgresStore
from stepwell.server.store.postgres import rekey as rekeying
from stepwell.server.store.postgres.connect import connect
from stepwell.server.store.rekeying import Rekeyed, rekey_postgres
from stepwell.server.store.sealed import SealedStore
from stepwell.server.store.sealed_keys import KEY_MARK
from stepwell.server.store.sealed_records import piece_place
from stepwell.testing.platform.postgres import clean_database
from stepwell.testing.platform.store_conformance import a_run, a_step
from tests.server.test_rekey import LARGE, MANY, NEW, OLD, SECRET, everything, filled

COLUMNS = """SELECT table_name, column_name FROM information_schema.columns
    WHERE table_schema = 'stepwell' AND data_type = 'bytea' AND table_name <> 'parcels'"""


async def opened(url: str, *keys: str) -> SealedStore:
    store = SealedStore(PostgresStore(url), keys)
    await store.open()
    return store


async def fill(url: str) -> str:
    """Something in every place; gives the ref of a body in pieces."""
    return await filled(await opened(url, OLD))


async def left(url: str, key: str) -> set[str]:
    """The tables in which something is sealed with this key, or the key is named."""
    name = key_id(parse_key(key))
    conn = await connect(url)
    found: set[str] = set()
    for table, column in await conn.fetch(COLUMNS):
        rows = await conn.fetch(f"SELECT {column} FROM stepwell.{table}")
        marks = [b"\xc1SW" + kind + bytes.fromhex(name) for kind in (b"\x01", b"\x02", b"\x03")]
        marks.append(base64.b64encode(marks[0] + b"\0")[:-4])
        found.update(table for (data,) in rows if any(mark in data for mark in marks))
    found.update(app for (app,) in await conn.fetch("SELECT app_id FROM stepwell.apps") if name in app)
    await conn.close()
    return found


async def rekey(url: str, *keys: str) -> Rekeyed:
    return await rekey_postgres(url, None, keys, lambda done, total: None)


async def check(url: str, ref: str) -> None:
    """Everything is there for who has the new key alone."""
    store = await opened(url, NEW)
    views = await store.load_runs([f"R{number:04}" for number in range(MANY)])
    assert len(views) == MANY
    for view in views:
        assert (view.run.output, view.run.error) == (SECRET, SECRET.decode())
        assert [item.payload for item in await store.list_items(view.run.run_id)] == [SECRET]
        first = view.steps[a_step(view.run.run_id, 0, 0).step_id]
        assert (first.memo, first.info, first.input) == (SECRET, SECRET, SECRET)
    assert [found.condition for found in await store.cancellations()].count(SECRET.decode()) == MANY
    assert (await store.load_body("R0000.s"), await store.load_body("R0001.s")) == (SECRET * 20_000, SECRET)
    assert await store.load_body(ref) == LARGE
    found = await store.find_waits(WaitQuery(name="n", at=(("data.x", SECRET),), limit=2 * MANY))
    assert len(found) == 2 * MANY
    await store.close()


async def test_an_old_key_is_retired_while_work_goes_on() -> None:
    """A process goes on writing to the same rows; what it wrote last is there in the end."""
    url = await clean_database()
    ref = await fill(url)
    assert await left(url, OLD) >= {
        "events",
        "runs",
        "steps",
        "items",
        "waits",
        "cancellations",
        "bodies",
        "body_pieces",
    }
    live, stop = await opened(url, NEW, OLD), asyncio.Event()

    async def work() -> int:
        await live.transact([Commit(now=1, run=replace(a_run("busy"), output=b"0"))])
        for number in itertools.count(1):
            header = replace(a_run("busy", number), output=b"%d" % number, error=SECRET.decode())
            commit = Commit(now=1, run=header, expected=number - 1, steps=(a_step("busy", number, number),))
            assert (await live.transact([commit])).outcomes == [Outcome.APPLIED]
            if stop.is_set():
                return number
        raise AssertionError

    working = asyncio.ensure_future(work())
    found = await rekey(url, NEW, OLD)
    stop.set()
    last = await working
    await live.close()
    assert found.retired == (key_id(parse_key(OLD)),)
    assert found.rows > 8 * MANY
    assert await left(url, OLD) == set()
    await check(url, ref)
    store = await opened(url, NEW)
    (view,) = await store.load_runs(["busy"])
    assert view.run.output == b"%d" % last
    assert len(view.steps) == last
    await store.close()
    assert await rekey(url, NEW) == Rekeyed(key_id(parse_key(NEW)), 0, ())


async def test_it_can_be_stopped_and_begun_again() -> None:
    url = await clean_database()
    ref = await fill(url)

    def dies(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await rekey_postgres(url, None, [NEW, OLD], dies)
    assert 0 < len(await left(url, OLD)) < 8
    for keys in ([NEW, OLD], [OLD, NEW]):  # both keys can read it, whichever is the first
        store = await opened(url, *keys)
        assert len(await store.load_runs([f"R{number:04}" for number in range(MANY)])) == MANY
        await store.close()
    assert (await rekey(url, NEW, OLD)).rows > MANY
    assert await left(url, OLD) == set()
    await check(url, ref)


async def test_a_process_that_still_seals_with_the_old_key_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    url = await clean_database()
    await fill(url)
    behind = await opened(url, OLD, NEW)
    once = rekeying._all
    writes = iter([everything(900)])

    async def then_somebody_writes(*given: Any) -> int:
        written = await once(*given)
        for commit in writes:
            await behind.transact([commit])
        return written

    monkeypatch.setattr(rekeying, "_all", then_somebody_writes)
    with pytest.raises(StoreError, match="start every process with the new key before the others"):
        await rekey(url, NEW, OLD)
    await behind.close()
    assert await left(url, OLD) == {"apps", KEY_MARK + key_id(parse_key(OLD))}, "the old key is still asked for"
    await rekey(url, NEW, OLD)
    assert await left(url, OLD) == set()


async def test_pieces_of_the_length_that_they_had_before() -> None:
    url = await clean_database()
    keys, row = Sealer([parse_key(OLD)]), 512 * 1024
    store = await opened(url, OLD)
    await store.transact([Commit(now=1, run=a_run("R1"))])
    conn = await connect(url)
    parts = [(SECRET * 24_967)[:row], SECRET * 9]
    for number, data in enumerate(parts):
        piece = pieces.seal(keys, data, piece_place("row", number * row), pieces.IN_A_ROW)
        place = number * pieces.sealed_size(row)
        await conn.execute("INSERT INTO stepwell.body_pieces VALUES ('row', $1, $2)", place, piece)
    await conn.execute("INSERT INTO stepwell.bodies (ref, run_id, data, pieces) VALUES ('row', 'R1', '', true)")
    await conn.close()
    await store.close()
    await rekey(url, NEW, OLD)
    store = await opened(url, NEW)
    assert await store.load_body("row") == b"".join(parts)
    await store.close()


def test_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    url = asyncio.run(clean_database())
    asyncio.run(fill(url))
    monkeypatch.setenv("STEPWELL_ENCRYPTION_KEYS", f"{NEW},{OLD}")
    assert run(["rekey", "--db", url, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["key"], told["retired"]) == (key_id(parse_key(NEW)), [key_id(parse_key(OLD))])
    assert asyncio.run(left(url, OLD)) == set()
