"""Realtime from end to end: an SDK publishes, front ends read along over a WebSocket and server-sent events."""

import asyncio
import io
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import stepwell
from stepwell.embed import Embedded
from tests.e2e.ugly import api, platform, until

KEY = "signkey-test-abc123def456"
client = stepwell.Client("live")
HEARD = aiohttp.ClientWSTimeout(ws_receive=20)
WAIT = aiohttp.ClientTimeout(total=20)


@client.create_function(fn_id="tells", trigger=stepwell.TriggerEvent(event="tell"))
async def tells(ctx: stepwell.Context) -> str:
    await ctx.step.publish("first", channel="c", topic="progress", data={"done": 1})
    await ctx.step.publish(channel="c", topic="progress", data={"done": 2})
    await ctx.step.publish(channel="c", topic="progress", data=ctx.run_id)
    return "told"


@client.create_function(fn_id="tells-sync", trigger=stepwell.TriggerEvent(event="tell-sync"))
def tells_sync(ctx: stepwell.ContextSync) -> None:
    ctx.step.publish(channel="c", topic="progress", data="sync")


@client.create_function(fn_id="writes", trigger=stepwell.TriggerEvent(event="write"))
async def writes(ctx: stepwell.Context) -> list[object]:
    async def words() -> AsyncIterator[str]:
        made.append(ctx.run_id)
        yield "once "
        await asyncio.to_thread(gate.wait, 20)
        yield "upon "
        yield "é" * 3_000

    text = await ctx.step.publish("tell", channel="c", topic="story", stream=words)
    await ctx.step.run("work", lambda: None)
    return [len(text), text[:10]]


@client.create_function(fn_id="writes-sync", trigger=stepwell.TriggerEvent(event="write-sync"))
def writes_sync(ctx: stepwell.ContextSync) -> str:
    return ctx.step.publish("tell", channel="c", topic="story", stream=["a ", "b ", "c"])


@client.create_function(fn_id="breaks", trigger=stepwell.TriggerEvent(event="break"), retries=1)
async def breaks(ctx: stepwell.Context) -> str:
    async def words() -> AsyncIterator[str]:
        made.append(ctx.run_id)
        yield "begun"
        if len(made) == 1:
            raise OSError("the line was cut")

    return await ctx.step.publish(channel="c", topic="story", stream=words)


made: list[str] = []
gate = threading.Event()


def work(fail: bool) -> dict[str, int]:
    if fail:
        raise stepwell.NonRetriableError("no")
    return {"n": 1}


@client.create_function(fn_id="works", trigger=stepwell.TriggerEvent(event="work"), retries=0)
async def works(ctx: stepwell.Context) -> int:
    await ctx.step.wait_for_signal("gate", signal=str(ctx.event.data["gate"]), timeout="1m")
    await ctx.step.run("work", work, bool(ctx.event.data.get("fail")))
    return 7


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Embedded]:
    async with platform(tmp_path, client) as made:
        yield made


@asynccontextmanager
async def socket(running: Embedded, channel: str, *topics: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    url = f"{running.url}/v1/realtime/connect?token={await client.realtime_token(channel, topics)}"
    async with aiohttp.ClientSession(timeout=WAIT) as session, session.ws_connect(url, timeout=HEARD) as made:
        yield made


@asynccontextmanager
async def events(running: Embedded, channel: str, *topics: str) -> AsyncIterator[aiohttp.ClientResponse]:
    url = f"{running.url}/v1/realtime/sse?token={await client.realtime_token(channel, topics)}"
    async with aiohttp.ClientSession(timeout=WAIT) as session, session.get(url) as made:
        assert made.content_type == "text/event-stream"
        assert await made.content.readline() == b": ready\n"
        yield made


async def message(reader: aiohttp.ClientResponse) -> dict[str, Any]:
    async for line in reader.content:
        if line.startswith(b"data: "):
            return json.loads(line.removeprefix(b"data: "))
    raise AssertionError("the stream has ended")


async def test_steps_publish_to_both_kinds_of_readers(running: Embedded) -> None:
    async with socket(running, "c", "progress") as reader, events(running, "c", "progress") as other:
        (run,) = await running.send_and_wait("tell", timeout=20)
        assert run.output == "told"
        found = [await reader.receive_json() for _ in range(3)]
        assert found == [await message(other) for _ in range(3)]
    assert [each["data"] for each in found] == [{"done": 1}, {"done": 2}, run.run_id]
    first = found[0]
    assert (first["kind"], first["channel"], first["topic"]) == ("data", "c", "progress")
    assert first["run_id"] == run.run_id
    assert first.keys() == {"kind", "channel", "topic", "data", "created_at", "env_id", "run_id"}


async def test_functions_without_a_loop_and_clients_publish_as_well(running: Embedded) -> None:
    async with socket(running, "c", "progress") as reader:
        await running.send_and_wait("tell-sync", timeout=20)
        await asyncio.to_thread(client.publish_sync, "c", "progress", 2)
        await client.publish(channel="c", topic="progress", data=3)
        assert [(await reader.receive_json())["data"] for _ in range(3)] == ["sync", 2, 3]


async def test_over_http_a_client_does_the_same(running: Embedded) -> None:
    remote = stepwell.Client("remote", api_base_url=running.url, is_production=False)
    token = await asyncio.to_thread(remote.realtime_token_sync, "c", ["progress"])
    url = f"{running.url}/v1/realtime/connect?token={token}"
    async with aiohttp.ClientSession(timeout=WAIT) as session, session.ws_connect(url, timeout=HEARD) as reader:
        await remote.publish("c", "progress", {"a": None}, run_id="r")
        found = await reader.receive_json()
    assert (found["data"], found["run_id"]) == ({"a": None}, "r")


@pytest.fixture
def story() -> None:
    made.clear()
    gate.clear()


async def told(reader: aiohttp.ClientWebSocketResponse) -> list[dict[str, Any]]:
    """All of one text."""
    found = [await reader.receive_json()]
    while found[-1]["kind"] != "datastream-end":
        found.append(await reader.receive_json())
    return found


@pytest.mark.usefixtures("story")
async def test_a_step_publishes_a_text_as_it_comes(running: Embedded) -> None:
    """The first piece is read before the last one is made; the text is the step's result, and not made again at a replay."""
    async with socket(running, "c", "story") as reader:
        event_id = await running.send("write")
        begin, first = await reader.receive_json(), await reader.receive_json()
        assert (begin["kind"], first["data"]) == ("datastream-start", "once ")
        gate.set()
        *rest, end = await told(reader)
        (run,) = await running.wait(event_id, 20)
    assert "".join(each["data"] for each in rest) == "upon " + "é" * 3_000
    assert all(len(each["data"].encode()) <= 1024 for each in rest)
    assert {each["stream_id"] for each in (first, *rest)} == {begin["data"]} == {end["data"]}
    assert first["run_id"] == run.run_id
    assert run.output == [3_010, "once upon "]
    assert len(made) == 1


@pytest.mark.usefixtures("story")
async def test_functions_without_a_loop_publish_texts_as_well(running: Embedded) -> None:
    async with socket(running, "c", "story") as reader:
        (run,) = await running.send_and_wait("write-sync", timeout=20)
        assert "".join(each["data"] for each in (await told(reader))[1:-1]) == run.output == "a b c"
        assert await asyncio.to_thread(client.publish_stream_sync, "c", "story", iter(["x", "y"])) == "xy"
        assert "".join(each["data"] for each in (await told(reader))[1:-1]) == "xy"


@pytest.mark.usefixtures("story")
async def test_a_text_that_breaks_off_has_an_end_and_is_told_again(running: Embedded) -> None:
    async with socket(running, "c", "story") as reader:
        (run,) = await running.send_and_wait("break", timeout=20)
        texts = [[each["data"] for each in (await told(reader))[1:-1]] for _ in range(2)]
    assert texts == [["begun"], ["begun"]]
    assert run.output == "begun"


async def test_over_http_a_text_goes_out_as_it_comes(running: Embedded) -> None:
    remote = stepwell.Client("remote", api_base_url=running.url, is_production=False)
    more = asyncio.Event()

    async def words() -> AsyncIterator[str]:
        yield "one"
        await more.wait()
        yield "two"

    async with socket(running, "c", "story") as reader:
        sending = asyncio.create_task(remote.publish_stream("c", "story", words(), run_id="r"))
        begin, first = await reader.receive_json(), await reader.receive_json()
        assert (begin["kind"], first["data"], first["run_id"]) == ("datastream-start", "one", "r")
        more.set()
        assert await sending == "onetwo"
        assert [each["data"] for each in (await told(reader))[:-1]] == ["two"]


@pytest.mark.parametrize("stream", ["text", 7, b"x", [1], lambda: "text"])
async def test_what_is_no_stream_of_texts_is_told(running: Embedded, stream: Any) -> None:
    with pytest.raises(ValueError, match="stream"):
        await client.publish_stream("c", "story", stream)


@pytest.mark.parametrize(("channel", "topic"), [("", "a"), ("c", ""), ("c", "$run"), ("c", "$step"), ("c", "$stream")])
async def test_slips_are_told(running: Embedded, channel: str, topic: str) -> None:
    with pytest.raises(ValueError, match=r"say where|platform's own"):
        await client.publish(channel, topic, 1)
    query = {"channel": channel, "topic": topic}
    status, _, told = await api(running, "POST", "/v1/realtime/publish", params=query, data=b"1")
    assert status == 400, told


async def test_outputs_of_steps_and_the_result_of_the_run_are_published(running: Embedded) -> None:
    event = await running.send("work", {"gate": "g"})
    view = await running.view_of(event)
    assert view is not None
    async with socket(running, view.run.run_id, "$step", "$run", "work") as reader:
        await until(lambda: _opened("g"))
        found = [await reader.receive_json() for _ in range(4)]
    shown = [(each["kind"], each["topic"], each["metadata"]["status"], each["data"]) for each in found]
    assert shown == [
        ("step", "$step", "completed", {"signal": "g", "data": None}),
        ("step", "$step", "completed", {"n": 1}),
        ("step", "work", "completed", {"n": 1}),
        ("run", "$run", "completed", 7),
    ]
    assert {(each["fn_slug"], each["run_id"], each["channel"]) for each in found} == {
        ("live-works", view.run.run_id, view.run.run_id)
    }


async def test_a_failure_is_published_with_its_error(running: Embedded) -> None:
    event = await running.send("work", {"gate": "f", "fail": True})
    view = await running.view_of(event)
    assert view is not None
    async with socket(running, view.run.run_id, "work", "$run") as reader:
        await until(lambda: _opened("f"))
        found = [await reader.receive_json() for _ in range(2)]
    assert [each["metadata"]["status"] for each in found] == ["failed", "failed"]
    assert [each["data"]["message"] for each in found] == ["no", "no"]


async def test_a_cancellation_is_published(running: Embedded) -> None:
    event = await running.send("work", {"gate": "never"})
    view = await running.view_of(event)
    assert view is not None
    async with socket(running, view.run.run_id, "$run") as reader:
        await api(running, "DELETE", f"/v1/runs/{view.run.run_id}")
        found = await reader.receive_json()
    assert (found["kind"], found["metadata"]["status"]) == ("run", "cancelled")


async def _opened(gate: str) -> bool:
    return await client.send_signal(gate) is not None


async def test_a_stream_of_text_is_published_piece_by_piece(running: Embedded) -> None:
    more = asyncio.Event()

    async def text() -> AsyncIterator[bytes]:
        yield "é".encode()[:1]
        yield "é".encode()[1:] + b"one "
        await asyncio.wait_for(more.wait(), 20)
        yield b"x" * 2500

    url = f"{running.url}/v1/realtime/publish?channel=c&topic=answer&topic=copy"
    async with (
        socket(running, "c", "answer") as reader,
        events(running, "c", "copy") as other,
        aiohttp.ClientSession(timeout=WAIT) as session,
    ):
        sending = asyncio.create_task(session.post(url, data=text(), headers={"Content-Type": "text/stream"}))
        start, first = await reader.receive_json(), await reader.receive_json()
        assert (start["kind"], first["data"]) == ("datastream-start", "éone ")
        assert first == {
            "kind": "chunk",
            "channel": "c",
            "topic": "answer",
            "stream_id": start["data"],
            "data": "éone ",
        }
        more.set()
        found = [await reader.receive_json() for _ in range(4)]
        assert (await sending).status == 200
        assert "".join(each["data"] for each in found[:-1]) == "x" * 2500
        assert max(len(each["data"]) for each in found) <= 1024
        assert (found[-1]["kind"], found[-1]["data"]) == ("datastream-end", start["data"])
        assert [(await message(other))["kind"] for _ in range(3)] == ["datastream-start", "chunk", "chunk"]


async def test_a_stream_has_at_most_a_thousand_chunks_and_always_an_end(running: Embedded) -> None:
    url = f"{running.url}/v1/realtime/publish?channel=c&topic=answer"
    async with socket(running, "c", "answer") as reader, aiohttp.ClientSession(timeout=WAIT) as session:
        sending = asyncio.create_task(
            session.post(url, data=io.BytesIO(b"y" * 1_100_000), headers={"Content-Type": "text/stream"})
        )
        kinds = [(await reader.receive_json())["kind"] for _ in range(1002)]
        assert (kinds[0], kinds[-1], set(kinds[1:-1])) == ("datastream-start", "datastream-end", {"chunk"})
        assert (await sending).status == 413


async def test_text_that_is_no_json_is_a_text_and_metadata_goes_along(running: Embedded) -> None:
    query = {"channel": "c", "topic": "a", "metadata": '{"m": 1}', "run_id": "r"}
    async with events(running, "c", "a") as reader:
        await api(running, "POST", "/v1/realtime/publish", params=query, data=b"plain words")
        found = await message(reader)
    assert (found["data"], found["metadata"], found["run_id"]) == ("plain words", {"m": 1}, "r")
    status, _, _ = await api(running, "POST", "/v1/realtime/publish", params={**query, "metadata": "{"}, data=b"x")
    assert status == 400
    status, _, _ = await api(running, "POST", "/v1/realtime/publish", params=query, data=b"\xff")
    assert status == 400
    status, _, _ = await api(running, "POST", "/v1/realtime/publish", params=query, data=b"1" * (512 * 1024 + 1))
    assert status == 413


async def test_bytes_are_passed_on_as_they_are(running: Embedded) -> None:
    async with socket(running, "c", "a") as reader, events(running, "c", "b") as other:
        sent = b"event: mine\ndata: \xff\n\n"
        status, _, _ = await api(running, "POST", "/v1/realtime/publish/tee", params={"channel": "c"}, data=sent)
        assert (status, await reader.receive_bytes()) == (200, sent)
        assert b"event: mine\n" in [await other.content.readline() for _ in range(2)]
    status, _, _ = await api(running, "POST", "/v1/realtime/publish/tee", data=sent)
    assert status == 400


async def test_a_reader_that_does_not_read_is_sent_away_and_told_why(running: Embedded) -> None:
    async with socket(running, "c", "a") as reader, events(running, "c", "b") as other:
        for _ in range(40):
            query = {"channel": "c"}
            status, _, _ = await api(running, "POST", "/v1/realtime/publish/tee", params=query, data=bytes(900_000))
            assert status == 200
        while (got := await reader.receive(20)).type is aiohttp.WSMsgType.BINARY:
            assert not got.data.strip(b"\0")
        assert got.json()["data"] == "the reader was too slow: connect again"
        assert (await reader.receive(20)).type is aiohttp.WSMsgType.CLOSE
        rest = await other.content.read()
        assert b"the reader was too slow" in rest[-400:]


async def test_without_a_token_nobody_reads(running: Embedded) -> None:
    async with aiohttp.ClientSession(timeout=WAIT) as session:
        for query in ("", "?token=a.b.c"):
            answer = await session.get(f"{running.url}/v1/realtime/sse{query}")
            assert answer.status == 401
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await session.ws_connect(f"{running.url}/v1/realtime/connect{query}")
            assert refused.value.status == 401
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect(f"{running.url}/v1/elsewhere")


async def test_a_reader_is_told_that_the_platform_stops(tmp_path: Path) -> None:
    async with platform(tmp_path, client) as running, socket(running, "c", "a") as reader:
        stopping = asyncio.create_task(running.stop(0.1))
        last = await reader.receive_json()
        assert (last["kind"], last["data"]) == ("closing", "the platform stops: connect again")
        assert (await reader.receive()).type is aiohttp.WSMsgType.CLOSE
        await stopping
        running._platform = None


async def test_keys_are_asked_for_and_tokens_write_only_where_they_say(tmp_path: Path) -> None:
    async with platform(tmp_path, kind="cloud", signing_key=KEY) as running:
        bearer = {"Authorization": f"Bearer {KEY}"}
        topics = [{"channel": "c", "name": "a", "kind": "run"}]
        status, _, _ = await api(running, "POST", "/v1/realtime/token", json=topics)
        assert status == 401
        status, _, made = await api(running, "POST", "/v1/realtime/token", json=topics, headers=bearer)
        assert status == 201
        query = {"publish": "true"}
        _, _, write = await api(running, "POST", "/v1/realtime/token", json=topics, headers=bearer, params=query)

        async def publish(headers: dict[str, str], topic: str = "a", path: str = "") -> int:
            place = {"channel": "c", "topic": topic}
            status, _, _ = await api(
                running, "POST", f"/v1/realtime/publish{path}", params=place, data=b"1", headers=headers
            )
            return status

        assert await publish(bearer) == 200
        assert await publish({}) == 401
        assert await publish({"Authorization": f"Bearer {made['jwt']}"}) == 401
        writer = {"Authorization": f"Bearer {write['jwt']}"}
        assert await publish(writer) == 200
        assert await publish(writer, "b") == 401
        assert await publish(writer, path="/tee") == 401
        status, _, _ = await api(running, "GET", "/v1/realtime/sse", params={"token": write["jwt"]})
        assert status == 401


@pytest.mark.parametrize("body", ["", "{}", "[]", "[1]", '[{"channel": "", "name": "a"}]', '[{"name": "a"}]'])
async def test_a_token_names_topics(running: Embedded, body: str) -> None:
    status, _, told = await api(running, "POST", "/v1/realtime/token", data=body.encode())
    assert status == 400, told


async def test_a_token_for_nothing_is_refused_at_once() -> None:
    for topics in ([], [""], "progress"):
        with pytest.raises(ValueError, match="may be read"):
            await client.realtime_token("c", topics)
