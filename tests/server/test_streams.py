"""Channels: windows, slow readers, ends; and the events that readers get over the API."""

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.core.model import RunStatus, StepStatus
from stepwell.server.api import streams as api_streams
from stepwell.server.api.app import create_app
from stepwell.server.api.streams import CHUNK
from stepwell.server.settings import Settings
from stepwell.server.streams import WINDOW_BYTES, WINDOWS_BYTES, Channel, Streams
from stepwell.wire.fetch import FetchResponse
from stepwell.wire.memos import memo
from tests.server.api_fakes import NOW, FakeEngine, attempt, finished_step, new_ulid

HEAD = FetchResponse(status=200, url="http://up/x", headers=(("Content-Type", "text/plain"), ("Set-Cookie", "a=b")))
RUN, STEP = new_ulid(1), f"{0:040x}"


@given(st.lists(st.binary(min_size=1, max_size=40)), st.integers(0, 200))
def test_any_offset_goes_on_exactly_there(chunks: list[bytes], offset: int) -> None:
    channel = Channel(1, HEAD)
    for chunk in chunks:
        channel.write(chunk)
    channel.end()
    whole = b"".join(chunks)
    read = asyncio.run(channel.read(offset))
    assert read == whole[offset:]
    assert channel.lost(offset) is (offset > len(whole))


async def test_the_window_is_bounded_and_a_slow_reader_is_told() -> None:
    channel = Channel(1, HEAD)
    for _ in range(64):
        channel.write(b"x" * 65536)
    assert channel.size == 4 << 20
    assert channel.lost(0)
    assert await channel.read(0) == b""
    assert len(await channel.read(channel.size - WINDOW_BYTES)) == WINDOW_BYTES


async def test_many_windows_together_are_bounded_too() -> None:
    streams = Streams()
    channels = [Channel(1, HEAD) for _ in range(128)]
    for number, channel in enumerate(channels):
        streams.open((RUN, str(number)), channel)
    for _ in range(64):
        for channel in channels:
            channel.write(b"x" * 16384)
    share = WINDOWS_BYTES // len(channels)
    assert all(
        channel.lost(channel.size - share - 1) and not channel.lost(channel.size - share) for channel in channels
    )
    for number in range(1, len(channels)):
        streams.drop((RUN, str(number)))
    for _ in range(64):
        channels[0].write(b"x" * 16384)
    assert not channels[0].lost(channels[0].size - WINDOW_BYTES), "who is alone has a whole window again"


async def test_a_reader_waits_for_more_and_is_woken_by_the_end() -> None:
    channel = Channel(1, HEAD)
    first = asyncio.ensure_future(channel.read(0))
    await asyncio.sleep(0)
    channel.write(b"abc")
    assert await first == b"abc"
    assert await channel.read(3, 0.01) == b""
    second = asyncio.ensure_future(channel.read(3))
    await asyncio.sleep(0)
    channel.end("gone")
    assert await second == b""
    assert channel.broken == "gone"


async def test_recording_is_asked_for_only_where_somebody_could_have_read() -> None:
    streams = Streams()
    assert streams.recording(("r", "s")) is None
    streams.open(("r", "s"), Channel(1, HEAD))
    waiting = asyncio.ensure_future(streams.changed(("r", "s"), 5))
    await asyncio.sleep(0)
    recorded = streams.recording(("r", "s"))
    assert recorded is not None
    recorded.set_result(True)
    await waiting
    assert streams.get(("r", "s")) is None
    assert streams._bells == {}


class Stand:
    """The API on an engine that has one run with one request."""

    def __init__(self) -> None:
        self.engine = FakeEngine()
        self.engine.streams = Streams()
        self.view = self.engine.add_run(1)
        self.pending = finished_step(RUN, 0, op="Gateway", position=None, status=StepStatus.WAITING, memo=None)
        self.view.steps[STEP] = msgspec.structs.replace(self.pending, ended_at=None)
        self.app = create_app(self.engine, Settings(), lambda: NOW)

    def record(self, body: bytes, *, rich: bool = True, ref: str | None = None) -> None:
        """The step's result, by the attempt that began at 7."""
        found = msgspec.structs.replace(HEAD, body=body)
        step = msgspec.structs.replace(
            self.pending,
            memo=memo(found, rich, ref),
            position=0,
            status=StepStatus.COMPLETED,
            attempts=(msgspec.structs.replace(attempt(0), started_at=7),),
        )
        self.view.steps[STEP] = step
        self.engine.streams.drop((RUN, STEP))

    async def ask(self, query: str = "", **headers: str) -> httpx2.Response:
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(self.app), base_url="http://s") as client:
            return await client.get(f"/v1/runs/{RUN}/steps/{STEP}/stream{query}", headers=headers, timeout=30)

    async def events(self, query: str = "", **headers: str) -> list[tuple[str, str, Any]]:
        answer = await self.ask(query, **headers)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].startswith("text/event-stream")
        return parse(answer.text)


def parse(text: str) -> list[tuple[str, str, Any]]:
    found: list[tuple[str, str, Any]] = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            found.append((fields["event"], fields["id"], msgspec.json.decode(fields["data"])))
    return found


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    made = Stand()
    yield made
    made.engine.streams.close()


async def test_live_then_record_then_end(stand: Stand) -> None:
    reading = asyncio.ensure_future(stand.events())
    channel = Channel(7, HEAD)
    stand.engine.streams.open((RUN, STEP), channel)
    channel.write(b"one ")
    await asyncio.sleep(0.01)
    channel.write(b"two")
    channel.end()
    await asyncio.sleep(0.01)
    stand.record(b"one two")
    events = await reading
    assert [(name, at) for name, at, _ in events] == [
        ("head", "7-0"), ("chunk", "7-4"), ("chunk", "7-7"), ("end", "end")
    ]  # fmt: skip
    assert events[0][2]["headers"] == [["Content-Type", "text/plain"], ["Set-Cookie", "***"]]
    assert "".join(data["text"] for name, _, data in events if name == "chunk") == "one two"
    assert events[-1][2] == {"size": 7, "status": 200}


async def test_a_reader_that_fell_behind_goes_on_from_the_record(stand: Stand) -> None:
    channel = Channel(7, HEAD)
    stand.engine.streams.open((RUN, STEP), channel)
    body = bytes(range(256)) * 8192
    for piece in _batched(body):
        channel.write(piece)
    channel.end()
    stand.engine.bodies["ref"] = body
    reading = asyncio.ensure_future(stand.events("?offset=5"))
    await asyncio.sleep(0.01)
    stand.record(body, ref="ref")
    events = await reading
    got = b"".join(base64.b64decode(data["b64"]) for name, _, data in events if name == "chunk")
    assert got == body[5:]
    assert events[-1][0] == "end"


def _batched(body: bytes) -> list[bytes]:
    return [body[at : at + 65536] for at in range(0, len(body), 65536)]


async def test_resuming_by_event_id(stand: Stand) -> None:
    stand.record(b"one two")
    events = await stand.events(**{"last-event-id": "7-4"})
    assert events == [("chunk", "7-7", {"text": "two"}), ("end", "end", {"size": 7, "status": 200})]
    assert (await stand.ask(**{"last-event-id": "end"})).status_code == 204
    (error,) = await stand.events(**{"last-event-id": "3-4"})
    assert (error[0], error[1]) == ("error", "0-0")
    assert "sent again" in error[2]["message"]
    assert [name for name, _, _ in await stand.events(**{"last-event-id": "0-0"})] == ["head", "chunk", "end"]


class Asked(Channel):
    """Counts how often it was read."""

    count = 0

    async def read(self, offset: int, seconds: float | None = None) -> bytes:
        self.count += 1
        return await super().read(offset, seconds)

    async def times(self, count: int) -> None:
        async with asyncio.timeout(20):
            while self.count < count:
                await asyncio.sleep(0.001)


async def test_who_is_too_slow_for_a_body_that_still_arrives_waits_for_the_record(stand: Stand) -> None:
    channel = Asked(7, HEAD)
    stand.engine.streams.open((RUN, STEP), channel)
    for _ in range(32):
        channel.write(b"x" * 65536)
    reading = asyncio.ensure_future(stand.events("?offset=5"))
    for _ in range(50):
        await asyncio.sleep(0)
    assert channel.count < 3, "it does not ask again and again"
    stand.engine.bodies["ref"] = b"x" * channel.size
    stand.record(b"x" * channel.size, ref="ref")
    events = await reading
    assert sum(len(data["text"]) for name, _, data in events if name == "chunk") == channel.size - 5


async def test_who_has_bytes_of_an_earlier_attempt_is_told_to_begin_anew(stand: Stand) -> None:
    stand.engine.streams.open((RUN, STEP), Channel(7, HEAD))
    ((name, at, data),) = await stand.events(**{"last-event-id": "3-4"})
    assert (name, at, data["again"], data["attempt"]) == ("error", "0-0", True, 7)


async def test_events_are_of_bounded_size(stand: Stand) -> None:
    body = b"x" * (2 * CHUNK + 10)
    channel = Asked(7, HEAD)
    stand.engine.streams.open((RUN, STEP), channel)
    channel.write(body)
    reading = asyncio.ensure_future(stand.events())
    await channel.times(3)
    channel.end()
    stand.record(body)
    for events in (await reading, await stand.events()):
        sizes = [len(data["text"]) for name, _, data in events if name == "chunk"]
        assert sizes == [CHUNK, CHUNK, 10]


async def test_a_silence_is_filled_with_comments(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_streams, "HEARTBEAT_S", 0.001)
    channel = Asked(7, HEAD)
    stand.engine.streams.open((RUN, STEP), channel)
    reading = asyncio.ensure_future(stand.ask())
    await channel.times(4)
    channel.write(b"one")
    channel.end()
    stand.record(b"one")
    before = (await reading).text.partition("event: end")[0]
    assert before.count(": still here\n\n") > 1


async def test_a_broken_attempt_says_so(stand: Stand) -> None:
    channel = Channel(7, HEAD)
    stand.engine.streams.open((RUN, STEP), channel)
    channel.write(b"one")
    channel.end("GET http://up: the connection ended")
    events = await stand.events()
    assert [name for name, _, _ in events] == ["head", "chunk", "error"]
    assert events[-1][1] == "0-0"
    assert "broke off after 3 bytes" in events[-1][2]["message"]


async def test_ends_when_the_run_has_or_the_platform_stops(stand: Stand) -> None:
    waiting = asyncio.ensure_future(stand.events())
    await asyncio.sleep(0.01)
    stand.engine.streams.close()
    assert await waiting == []
    stand.engine.streams = Streams()
    stand.view.run = msgspec.structs.replace(stand.view.run, status=RunStatus.CANCELLED)
    ((name, at, _),) = await stand.events()
    assert (name, at) == ("error", "end")


async def test_a_failed_request_is_an_error_event(stand: Stand) -> None:
    stand.record(b"")
    stand.view.steps[STEP] = msgspec.structs.replace(
        stand.view.steps[STEP], memo=b'{"error":{"name":"FetchError","message":"no","kind":"dns"}}'
    )
    ((name, at, data),) = await stand.events()
    assert (name, at, data["result"]["error"]["kind"]) == ("error", "end", "dns")


@pytest.mark.parametrize(
    ("path", "status"),
    [("steps/nope/stream", 404), (f"steps/{STEP}/stream?offset=x", 400), (f"steps/{1:040x}/stream", 400)],
)
async def test_what_can_not_be_streamed(stand: Stand, path: str, status: int) -> None:
    stand.view.steps[f"{1:040x}"] = finished_step(RUN, 1)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(stand.app), base_url="http://s") as client:
        assert (await client.get(f"/v1/runs/{RUN}/{path}")).status_code == status
    assert (await stand.ask(**{"last-event-id": "of another stream"})).status_code == 400


async def test_needs_the_signing_key_in_production(stand: Stand) -> None:
    stand.app = create_app(stand.engine, Settings(kind="cloud", signing_key="signkey-test-abc123"), lambda: NOW)
    assert (await stand.ask()).status_code == 401
