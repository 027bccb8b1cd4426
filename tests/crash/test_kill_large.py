"""``kill -9`` in the middle of a large response: after the restart it is whole, once, and nothing is left of the first half."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from stepwell.server.store.base import PIECE_BYTES
from tests.crash.platform_process import PlatformProcess
from tests.e2e.test_large_bodies import BODY, PIECE, SEALED, digest, stored
from tests.server.hostile_server import Exchange, hostile, plain

APP = Path(__file__).with_name("large_app.py")


def rows(db: Path, sql: str) -> Any:
    with sqlite3.connect(f"file:{db}?mode=ro", uri=True) as connection:
        return connection.execute(sql).fetchall()


async def stalls(exchange: Exchange) -> None:
    """Two pieces and a half, and then nothing until the client is gone."""
    begun = BODY[: 5 * PIECE_BYTES // 2]
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + begun)
    await exchange.reader.read()


@pytest.mark.timeout(120)
async def test_kill_9_in_the_middle_of_a_body(tmp_path: Path) -> None:
    async with hostile(stalls, stalls, plain(BODY)) as server:
        platform = PlatformProcess(APP, tmp_path / "large.db", {"UPSTREAM": server.url})
        await platform.start()
        await platform.until(platform.has_functions)
        (event_id,) = await platform.send([{"name": "load", "data": {}}])
        for killed in (1, 2):

            async def half_stored(wanted: int = killed) -> bool:
                return len(server.seen) == wanted and stored(platform.db) == [2 * PIECE]

            await platform.until(half_stored)
            await platform.kill()
            assert rows(platform.db, "SELECT count(*) FROM bodies") == [(0,)]
            await platform.start()

        async def over() -> bool:
            return set((await platform.runs()).values()) == {"completed"}

        await platform.until(over)
        (run,) = (await platform.get(f"/v1/events/{event_id}/runs"))["data"]
        assert run["output"] == [digest(BODY), digest(BODY)]
        await platform.stop()
        assert len(server.seen) == 3
    assert rows(platform.db, "SELECT count(*) FROM bodies") == [(1,)]
    assert rows(platform.db, "SELECT count(*) FROM arriving") == [(0,)]
    assert stored(platform.db) == [SEALED]
