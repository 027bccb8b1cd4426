"""A body on its way to the store: cut into pieces, held up by a slow store, given up when it can not be stored."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.core.model import ItemRef
from stepwell.server.fetcher.base import NotStored
from stepwell.server.fetcher.client import AiohttpFetcher
from stepwell.server.fetcher.guard import Guard
from stepwell.server.fetcher.tee import Tee
from stepwell.server.runtime import spill
from stepwell.server.runtime.spill import AT_ONCE, Spill
from stepwell.server.store.base import PIECE_BYTES, Piece, StoreError
from stepwell.server.store.memory import MemoryStore
from stepwell.server.store.sqlite import SQLiteStore
from stepwell.server.store.sqlite.bodyfiles import folder_of
from stepwell.server.streams import Streams
from stepwell.testing.platform.body_conformance import claimed
from stepwell.wire.fetch import FetchBroken, FetchRequest, FetchResponse
from tests.server.hostile_server import Exchange, hostile, plain

CLAIM = ItemRef("R1", "s", 3)
MIB = 1 << 20


class Slow(MemoryStore):
    """Takes a piece when it is told to; ``waiting`` and ``most`` count pieces that wait."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: dict[tuple[ItemRef, int], bytes] = {}
        self.open = asyncio.Event()
        self.waiting = self.most = 0
        self.problems: list[Exception | None] = []
        self.held = True

    async def append_body(self, claim: ItemRef, start: int, data: Piece, *, last: bool = False) -> bool:
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        try:
            await self.open.wait()
        finally:
            self.waiting -= 1
        problem = self.problems.pop(0) if self.problems else None
        if problem is not None:
            raise problem
        self.pieces[claim, start] = bytes(data)
        return self.held

    def body(self, claim: ItemRef = CLAIM) -> bytes:
        return b"".join(data for (of, _), data in self.pieces.items() if of == claim)


@given(st.lists(st.integers(0, 2 * PIECE_BYTES), max_size=6))
def test_any_chunks_come_to_whole_pieces(sizes: list[int]) -> None:
    async def run() -> None:
        store = Slow()
        store.open.set()
        sink = Spill(store, CLAIM, asyncio.Semaphore(AT_ONCE))
        whole = b""
        for number, size in enumerate(sizes):
            chunk = bytes([number]) * size
            whole += chunk
            await sink.write(chunk)
        assert await sink.end() == len(whole)
        assert store.body() == whole
        assert [start for _, start in store.pieces] == list(range(0, len(whole), PIECE_BYTES))
        assert all(len(piece) == PIECE_BYTES for piece in list(store.pieces.values())[:-1])

    asyncio.run(run())


async def test_of_all_bodies_together_few_pieces_wait_for_the_store() -> None:
    store, gate = Slow(), asyncio.Semaphore(AT_ONCE)
    claims = [ItemRef("R1", "s", number) for number in range(5)]

    async def one(claim: ItemRef) -> None:
        sink = Spill(store, claim, gate)
        for _ in range(4):
            await sink.write(bytes(PIECE_BYTES))
        assert await sink.end() == 4 * PIECE_BYTES

    work = [asyncio.ensure_future(one(claim)) for claim in claims]
    while store.waiting < AT_ONCE:
        await asyncio.sleep(0)
    store.open.set()
    await asyncio.gather(*work)
    assert store.most == AT_ONCE
    assert all(len(store.body(claim)) == 4 * PIECE_BYTES for claim in claims)


async def test_a_store_that_fails_for_a_moment_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "_RETRIES_S", (0.0, 0.0, 0.0))
    store = Slow()
    store.open.set()
    store.problems = [None, StoreError("the disk is full"), StoreError("the disk is full")]
    sink = Spill(store, CLAIM, asyncio.Semaphore(AT_ONCE))
    await sink.write(bytes(PIECE_BYTES) + b"end")
    assert await sink.end() == PIECE_BYTES + 3
    assert store.body() == bytes(PIECE_BYTES) + b"end"


async def test_a_body_that_fills_the_disk_leaves_its_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise nothing could be written down any more, not even that its attempt has failed."""
    monkeypatch.setattr(spill, "_RETRIES_S", (0.0,))
    store = SQLiteStore(tmp_path / "stepwell.db", max_bytes=2 * PIECE_BYTES)
    await store.open()
    sink = Spill(store, await claimed(store), asyncio.Semaphore(AT_ONCE))
    with pytest.raises(NotStored, match="disk is full"):
        await sink.write(bytes(5 * PIECE_BYTES))
    (file,) = folder_of(store.path).glob("*")
    assert file.stat().st_size == 0
    await store.close()


@pytest.mark.parametrize("held", [True, False])
async def test_what_can_not_be_stored_breaks_the_attempt(monkeypatch: pytest.MonkeyPatch, held: bool) -> None:
    """The disk stays full; or the lease has ended, and a late owner must not write."""
    monkeypatch.setattr(spill, "_RETRIES_S", (0.0,))
    store = Slow()
    store.open.set()
    store.held = held
    store.problems = [StoreError("the disk is full")] * 9 if held else []
    async with hostile(plain(bytes(3 * MIB))) as server:
        outcome = await attempt(store, FetchRequest(url=server.url, rich=True))
    assert isinstance(outcome, FetchBroken)
    assert (outcome.kind, outcome.final) == ("aborted", False)
    assert "the platform could not store the response's body" in outcome.message
    sink = Spill(store, CLAIM, asyncio.Semaphore(AT_ONCE))
    with pytest.raises(NotStored, match="disk is full" if held else "lease"):
        await sink.write(bytes(4 * PIECE_BYTES))


async def attempt(store: Slow, request: FetchRequest) -> FetchResponse | FetchBroken:
    fetcher = AiohttpFetcher(Guard(allow_private=True))
    gate = asyncio.Semaphore(AT_ONCE)
    tee = Tee(Streams(), ("R1", "s"), request, 1, lambda: Spill(store, CLAIM, gate))
    try:
        return await fetcher.fetch_teed(request, 0, tee)
    finally:
        await fetcher.close()


async def test_while_the_store_is_slow_the_server_waits() -> None:
    """What it could send is what buffers hold; then the store goes on, and so does the server."""
    total, sent = 60 * MIB, 0

    async def send(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        while sent < total:
            await exchange.send(bytes(MIB))
            sent += MIB

    store = Slow()
    async with hostile(send) as server:
        work = asyncio.ensure_future(attempt(store, FetchRequest(url=server.url, rich=True)))
        while not store.waiting:
            await asyncio.sleep(0.01)
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.3)
        assert sent < 30 * MIB
        store.open.set()
        outcome = await work
    assert isinstance(outcome, FetchResponse)
    assert (outcome.stored, outcome.body) == (total, b"")
    assert len(store.body()) == total
