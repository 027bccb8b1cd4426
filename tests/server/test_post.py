"""Messages between two engines on one PostgreSQL: who listens elsewhere hears of it, in order, and nobody can read it there."""

import asyncio
import json
from base64 import b64decode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stepwell.server.build import build_engine
from stepwell.server.realtime.hub import LOST, Subscription
from stepwell.server.runtime import post as posting
from stepwell.server.runtime.engine import Engine
from stepwell.server.settings import Settings
from stepwell.server.store.base import StoreError
from stepwell.server.store.postgres.connect import connect
from stepwell.server.streams import Channel
from stepwell.testing.platform.postgres import clean_database
from stepwell.wire.fetch import FetchResponse
from stepwell.wire.realtime import Message, Topic, message
from tests.e2e.ugly import until

KEYS = ("33" * 32, "44" * 32)
HEAD = FetchResponse(status=200, url="http://h/", headers=(("content-type", "text/plain"),))
KEY = ("01R", "s")


async def made(url: str, keys: tuple[str, ...], listen: str | None = None) -> Engine:
    engine = build_engine(Settings(db=url, encryption_keys=keys, port=0, db_listen=listen))
    await engine.open()
    await engine.start()
    return engine


@pytest.fixture
async def url() -> str:
    return await clean_database()


@pytest.fixture
async def engines(url: str) -> AsyncIterator[list[Engine]]:
    found = [await made(url, KEYS), await made(url, KEYS)]
    yield found
    for engine in found:
        await engine.drain(0.2)
        await engine.close()


def data(value: object, topic: str = "t", channel: str = "shop/7") -> Message:
    return message("data", channel, topic, msgspec.Raw(msgspec.json.encode(value)), 0)


async def reads(engine: Engine, channel: str = "shop/7", *topics: str) -> Subscription:
    reader = engine.realtime.subscribe([Topic(channel, name) for name in topics or ("t",)])
    await engine.realtime.listen(reader)
    return reader


async def next_of(reader: Subscription) -> Any:
    frame = await reader.next(20)
    assert frame is not None, reader.closed
    return frame.body if frame.raw else json.loads(frame.body)["data"]


async def test_what_is_published_at_one_is_read_at_the_other(engines: list[Engine]) -> None:
    """Small messages and large ones, in the order in which they were published; those of other topics not."""
    first, second = engines
    reader = await reads(second)
    values: list[object] = [1, "x" * 100_000, 2, "y" * 6_000, {"a": [3]}]
    for value in values:
        await first.realtime.tell(data("other", topic="u"))
        await first.realtime.tell(data(value))
    await first.realtime.tee("shop/7", b"\xff\x00")
    assert [await next_of(reader) for _ in range(6)] == [*values, b"\xff\x00"]
    second.realtime.leave(reader)


async def test_who_publishes_and_reads_at_one_hears_it_once(engines: list[Engine]) -> None:
    here, there = await reads(engines[0]), await reads(engines[1])
    await engines[0].realtime.tell(data(1))
    await engines[1].realtime.tell(data(2))
    assert sorted([await next_of(here), await next_of(here)]) == [1, 2]  # two processes have no order
    assert sorted([await next_of(there), await next_of(there)]) == [1, 2]
    assert await here.next(0.2) is await there.next(0.01) is None


async def test_what_is_said_of_runs_goes_over_where_somebody_reads(engines: list[Engine]) -> None:
    first, second = engines
    assert not first.realtime.watched("shop/7")
    reader = await reads(second)
    await until(lambda: first.realtime.watched("shop/7"))
    first.realtime.publish(data("soon"))
    assert await next_of(reader) == "soon"


async def test_nothing_is_sent_where_nobody_listens(engines: list[Engine], url: str) -> None:
    reader = await reads(engines[0])
    conn = await connect(url)
    await engines[0].realtime.tell(data("x" * 50_000))
    assert await conn.fetch("SELECT * FROM stepwell.parcels") == []
    await conn.close()
    assert await next_of(reader) == "x" * 50_000


async def test_neither_messages_nor_names_can_be_read_in_the_database(engines: list[Engine], url: str) -> None:
    payloads: list[str] = []
    conn = await connect(url)
    reader = await reads(engines[1], "channel-of-jane")
    found: list[str] = []

    async def heard() -> bool:
        """Each listens to what ends elsewhere, and one of them to the channel."""
        rows = await conn.fetch("SELECT owner, count(*) FROM stepwell.listeners GROUP BY owner ORDER BY 2")
        found[:] = [owner for owner, _ in rows]
        return [count for _, count in rows] == [len(KEYS), 2 * len(KEYS)]

    await until(heard)
    owner = found[-1]
    await conn.add_listener(f"stepwell_{owner}", lambda *said: payloads.append(said[-1]))
    await engines[0].realtime.tell(data("jane's secret", channel="channel-of-jane"))
    await engines[0].realtime.tell(data("jane's secret" * 1_000, channel="channel-of-jane"))
    await next_of(reader)
    await next_of(reader)
    await until(lambda: len(payloads) == 2)
    rows = await conn.fetch("SELECT data FROM stepwell.parcels UNION ALL SELECT name FROM stepwell.listeners")
    await conn.close()
    seen = [b64decode(payloads[0]), payloads[1].encode(), *(row[0] for row in rows)]
    assert len(rows) == 1 + 3 * len(KEYS)
    assert max(map(len, seen)) > 13_000
    assert not any(b"jane" in each for each in seen)


async def test_processes_with_other_keys_in_front_understand_each_other(url: str) -> None:
    """While keys are changed: each knows both, and seals with another one."""
    first, second = await made(url, KEYS), await made(url, KEYS[::-1], listen=url)  # no prepared statements there
    reader = await reads(second)
    await first.realtime.tell(data(41))
    assert await next_of(reader) == 41
    for engine in (first, second):
        await engine.drain(0.2)
        await engine.close()


async def test_who_may_have_missed_something_is_sent_away(engines: list[Engine], url: str) -> None:
    """The connection that listens is cut."""
    reader = await reads(engines[1])
    conn = await connect(url)
    await conn.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
    await conn.close()
    await until(lambda: reader.closed is not None)
    assert reader.closed == LOST
    again = await reads(engines[1])
    await engines[0].realtime.tell(data("again"))
    assert await next_of(again) == "again"


async def test_runs_that_change_at_one_are_told_of_at_the_other(engines: list[Engine]) -> None:
    first, second = engines
    await second.changes.listen(None)
    await first.changes.listen("run-7")
    await until(lambda: first._post.wanted("runs"))  # pyright: ignore[reportPrivateUsage]
    await until(lambda: second._post.wanted("run/run-7"))  # pyright: ignore[reportPrivateUsage]
    for number in range(10):
        first.changes.note(f"run-{number}")
    await until(lambda: second.changes.last == 10)
    assert second.changes.since(0) == {f"run-{number}" for number in range(10)}
    before = first.changes.last
    second.changes.note("run-6")
    second.changes.note("run-7")
    await until(lambda: first.changes.last > before)
    assert first.changes.since(before) == {"run-7"}, "of the others it does not want to hear"
    for number in range(300):
        first.changes.note(f"many-{number}")
    await until(lambda: second.changes.since(10) is None)


async def test_more_than_can_be_sent_is_given_up_and_told(
    engines: list[Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = engines
    reader = await reads(second)
    await until(lambda: first.realtime.watched("shop/7"))
    monkeypatch.setattr(posting, "_WAITING", 3)
    for number in range(10):
        first.realtime.publish(data(number))
    while await reader.next(20) is not None:
        pass
    assert reader.closed == LOST


async def test_a_body_that_arrives_at_one_is_read_at_the_other(engines: list[Engine]) -> None:
    """From the beginning, by readers that come at any time; and it breaks off there as well."""
    first, second = engines
    channel = Channel(1_000, HEAD)
    await second._afar.listen(KEY)  # pyright: ignore[reportPrivateUsage]
    await until(lambda: first._post.wanted("stream/01R/s"))  # pyright: ignore[reportPrivateUsage]
    first.streams.open(KEY, channel)
    channel.write(b"one ")
    await until(lambda: second.streams.get(KEY) is not None)
    there = second.streams.get(KEY)
    assert there is not None
    assert there.head == HEAD
    assert await there.read(0, 20) == b"one "
    channel.write(b"two ")
    assert await there.read(4, 20) == b"two "
    channel.end("the line was cut")
    await until(lambda: there.ended)
    assert there.broken == "the line was cut"
    assert second.streams.get(KEY) is None


async def test_a_reader_that_comes_late_gets_what_is_there(engines: list[Engine]) -> None:
    first, second = engines
    channel = Channel(1_000, HEAD)
    first.streams.open(KEY, channel)
    channel.write(b"x" * 600_000)
    await second._afar.listen(KEY)  # pyright: ignore[reportPrivateUsage]
    await until(lambda: (there := second.streams.get(KEY)) is not None and there.size == 600_000)
    there = second.streams.get(KEY)
    assert there is not None
    channel.write(b"end")
    channel.end()
    assert await there.read(600_000, 20) == b"end"
    await until(lambda: there.ended)
    assert there.broken is None


async def test_the_body_of_a_process_that_is_gone_breaks_off(
    engines: list[Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = engines
    first.streams.open(KEY, channel := Channel(1_000, HEAD))
    channel.write(b"begun")
    await second._afar.listen(KEY)  # pyright: ignore[reportPrivateUsage]
    await until(lambda: second.streams.get(KEY) is not None)
    there = second.streams.get(KEY)
    assert there is not None
    monkeypatch.setattr("stepwell.server.runtime.afar.SILENT_S", -1.0)
    second._afar.tidy()  # pyright: ignore[reportPrivateUsage]
    assert there.broken == "the process that received it is gone"


async def test_a_process_hears_of_so_many_things_only(engines: list[Engine], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posting, "MAX_KEYS", 3)  # with the one that every process listens to: runs that have ended
    await reads(engines[0], "a")
    await reads(engines[0], "b")
    with pytest.raises(StoreError, match="Too many readers"):
        await reads(engines[0], "c")
    await reads(engines[0], "b")


async def test_one_process_alone_needs_no_post(tmp_path: Path) -> None:
    engine = build_engine(Settings(db=f"sqlite:///{tmp_path / 's.db'}", port=0))
    await engine.open()
    await engine.start()
    reader = await reads(engine)
    await engine.realtime.tell(data(1))
    assert await next_of(reader) == 1
    assert engine.streams.afar is None
    await engine.drain(0.2)
    await engine.close()


async def test_readers_of_many_channels_at_once(engines: list[Engine]) -> None:
    """More names than one notification has room for."""
    channels = [f"c{number}" for number in range(700)]
    reader = engines[1].realtime.subscribe([Topic(channel, "t") for channel in channels])
    await engines[1].realtime.listen(reader)
    await until(lambda: all(engines[0].realtime.watched(channel) for channel in channels))
    await engines[0].realtime.tell(data("last", channel="c699"))
    assert await next_of(reader) == "last"
    engines[1].realtime.leave(reader)
    await asyncio.sleep(0)
