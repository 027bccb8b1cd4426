"""A text that is published piece by piece: gathered, none of it lost, in pieces that are not too large."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.sdk.texts import gathered
from stepwell.wire.realtime import MAX_CHUNK

TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=3_000), max_size=20)


async def later(texts: list[str]) -> AsyncIterator[str]:
    for text in texts:
        await asyncio.sleep(0)
        yield text


@given(TEXTS, st.booleans())
async def test_nothing_is_lost_and_no_piece_is_too_large(texts: list[str], asynchronous: bool) -> None:
    taken: list[str] = []
    found = [piece async for piece in gathered(later(texts) if asynchronous else texts, taken)]
    assert "".join(found) == "".join(taken) == "".join(texts)
    assert all(piece and len(piece.encode()) <= MAX_CHUNK for piece in found)


async def test_many_small_pieces_become_few() -> None:
    assert len([piece async for piece in gathered(later(["x"] * 5_000), [])]) <= 20


async def test_the_first_piece_is_there_before_the_second_is_made() -> None:
    more = asyncio.Event()

    async def source() -> AsyncIterator[str]:
        yield "first"
        await more.wait()
        yield "second"

    pieces = gathered(source(), [])
    assert await asyncio.wait_for(anext(pieces), 20) == "first"
    more.set()
    assert await asyncio.wait_for(anext(pieces), 20) == "second"
    await pieces.aclose()  # type: ignore[attr-defined]


async def test_what_the_source_raises_comes_after_what_it_gave() -> None:
    def source() -> Iterator[str]:
        yield "begun"
        raise OSError("cut")

    pieces = gathered(source(), [])
    assert await anext(pieces) == "begun"
    with pytest.raises(OSError, match="cut"):
        await anext(pieces)


async def test_who_stops_reading_stops_the_source() -> None:
    closed = asyncio.Event()

    async def source() -> AsyncIterator[str]:
        try:
            while True:
                yield "on and on"
                await asyncio.sleep(0)
        finally:
            closed.set()

    pieces = gathered(source(), [])
    await anext(pieces)
    await pieces.aclose()  # type: ignore[attr-defined]
    await asyncio.wait_for(closed.wait(), 20)
