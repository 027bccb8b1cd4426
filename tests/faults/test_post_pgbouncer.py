"""Messages between two engines behind a real PgBouncer that pools transactions: they listen directly, all else is pooled."""

from collections.abc import Iterator

import pytest

from stepwell.server.build import build_engine
from stepwell.server.settings import Settings
from stepwell.testing.platform.postgres import PostgresServer
from tests.e2e.ugly import until
from tests.faults.pgbouncer import PgBouncer
from tests.server.test_post import KEYS, data, next_of, reads

pytestmark = pytest.mark.pgbouncer


@pytest.fixture
def urls() -> Iterator[tuple[str, str]]:
    """Through the proxy, and directly."""
    server = PostgresServer()
    server.start()
    proxy = PgBouncer(server)
    proxy.start()
    yield proxy.url, server.url
    proxy.remove()
    server.remove()


@pytest.mark.timeout(120)
async def test_what_is_published_behind_one_proxy_is_heard(urls: tuple[str, str]) -> None:
    """A small message, and one that is fetched from a table; runs that change."""
    engines = [build_engine(Settings(db=urls[0], db_listen=urls[1], encryption_keys=KEYS, port=0)) for _ in range(2)]
    for engine in engines:
        await engine.open()
        await engine.start()
    first, second = engines
    reader = await reads(second)
    await second.changes.listen(None)
    for value in (1, "x" * 50_000, 2):
        await first.realtime.tell(data(value))
    assert [await next_of(reader) for _ in range(3)] == [1, "x" * 50_000, 2]
    before = second.changes.last
    await until(lambda: first._post.wanted("runs"))  # pyright: ignore[reportPrivateUsage]
    first.changes.note("a-run")
    await until(lambda: second.changes.since(before) == {"a-run"})
    for engine in engines:
        await engine.drain(0.2)
        await engine.close()
