"""Putting a recorded body together: in parts, with no second copy, and with a clear error when it is cut short."""

import tracemalloc

import pytest

from stepwell.sdk.fetching import prepare, response
from stepwell.sdk.stored import PART_BYTES, parts, whole
from stepwell.wire.fetch import FetchResponse

SIZE = 10 * PART_BYTES + 77


async def load(_ref: str, start: int, end: int) -> bytes:
    return bytes(number % 251 for number in (start, end)) * ((end - start + 1) // 2)


async def test_no_second_copy() -> None:
    tracemalloc.start()
    try:
        body = await whole(load, "r", SIZE)
        found = response(FetchResponse(status=200, url="http://h/", body=body), prepare("http://h/", {}))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.content is body
    assert peak < 1.6 * SIZE, "the body, some room to grow, and a part"


async def test_any_start() -> None:
    async def from_one(_ref: str, start: int, end: int) -> bytes:
        return bytes(range(200))[start : min(end, start + 7)]

    for start in (0, 1, 199, 200, 300):
        assert b"".join([part async for part in parts(from_one, "r", 200, start)]) == bytes(range(200))[start:]


async def test_a_body_that_is_cut_short() -> None:
    async def half(_ref: str, start: int, end: int) -> bytes:
        return b"x" * (min(end, 50) - start)

    with pytest.raises(LookupError, match="ends after 50 of its 100 bytes"):
        await whole(half, "r", 100)
