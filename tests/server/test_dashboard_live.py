"""Which runs changed: the list in memory, the stream that can be resumed, and that the engine tells of every transition."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import msgspec
from hypothesis import given
from hypothesis import strategies as st

import stepwell
from stepwell.server.changes import KEPT, Changes
from tests.e2e.ugly import platform

Event = tuple[str, str, dict[str, list[str] | None]]


@given(st.lists(st.sampled_from("abc"), max_size=30), st.integers(0, 30))
def test_what_changed_since_a_number(noted: list[str], since: int) -> None:
    changes = Changes()
    for run_id in noted:
        changes.note(run_id)
    assert changes.last == len(noted)
    assert changes.since(since) == (set(noted[since:]) if since <= len(noted) else None)


def test_who_was_away_for_too_long_is_told_so() -> None:
    changes = Changes()
    for number in range(KEPT + 5):
        changes.note(str(number))
    assert changes.since(4) is None
    assert changes.since(changes.last - KEPT) == {str(number) for number in range(5, KEPT + 5)}


async def test_a_change_wakes_who_waits_and_so_does_the_end() -> None:
    changes = Changes()
    waiting = asyncio.create_task(changes.wait(0, 30))
    await asyncio.sleep(0)
    changes.note("a")
    await asyncio.wait_for(waiting, 5)
    waiting = asyncio.create_task(changes.wait(1, 30))
    await asyncio.sleep(0)
    changes.close()
    await asyncio.wait_for(waiting, 5)
    await asyncio.wait_for(changes.wait(1, 30), 5)
    await Changes().wait(0, 0.001)


async def read(response: aiohttp.ClientResponse) -> AsyncIterator[Event]:
    """The events of a stream: name, id, data."""
    fields: dict[str, str] = {}
    async for line in response.content:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name:
            fields[name] = value
        elif "event" in fields:
            yield fields["event"], fields["id"], msgspec.json.decode(fields["data"])
            fields = {}


async def changed(events: AsyncIterator[Event]) -> Event:
    async with asyncio.timeout(15):
        return await anext(events)


async def test_the_stream_tells_of_runs_and_goes_on_where_a_reader_was(tmp_path: Path) -> None:
    client = stepwell.Client(app_id="app")

    @client.create_function(fn_id="f", trigger=stepwell.TriggerEvent(event="go"))
    async def f(ctx: stepwell.Context) -> None:
        await ctx.step.sleep("nap", 1)

    async with platform(tmp_path, client) as running, aiohttp.ClientSession() as session:
        url = f"{running.url}/live"
        async with session.get(url) as stream:
            events = read(stream)
            name, first_id, _ = await changed(events)
            assert name == "ready"
            event_id = await running.send("go")
            _, _, data = await changed(events)
            (result,) = await running.wait(event_id)
            assert data["runs"] == [result.run_id]
        async with session.get(url, headers={"Last-Event-ID": first_id}) as stream:
            events = read(stream)
            await changed(events)
            _, last_id, data = await changed(events)
            assert data["runs"] == [result.run_id]
        other = await running.send("go")
        (second,) = await running.wait(other)
        async with session.get(f"{url}?run={second.run_id}", headers={"Last-Event-ID": first_id}) as stream:
            events = read(stream)
            await changed(events)
            assert (await changed(events))[2]["runs"] == [second.run_id]
        async with session.get(url, headers={"Last-Event-ID": f"of-another-process-{last_id}"}) as stream:
            events = read(stream)
            await changed(events)
            assert (await changed(events))[2]["runs"] is None


async def test_an_open_stream_does_not_hold_up_the_end_of_the_platform(tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as session:
        async with platform(tmp_path) as running:
            stream = await session.get(f"{running.url}/live")
            await changed(read(stream))
        async with asyncio.timeout(30):
            await stream.content.read()
        assert stream.content.at_eof()
        stream.close()


async def test_a_run_that_a_step_invoked_lies_under_it(tmp_path: Path) -> None:
    client = stepwell.Client(app_id="app")

    @client.create_function(fn_id="child", trigger=stepwell.TriggerEvent(event="unused"))
    async def child(ctx: stepwell.Context) -> int:
        return await ctx.step.run("work", lambda: 7)

    @client.create_function(fn_id="parent", trigger=stepwell.TriggerEvent(event="go"))
    async def parent(ctx: stepwell.Context) -> object:
        return await ctx.step.invoke("call", function=child)

    async with platform(tmp_path, client) as running, aiohttp.ClientSession() as session:
        (result,) = await running.wait(await running.send("go"))
        async with session.get(f"{running.url}/runs/{result.run_id}") as answer:
            page = await answer.text()
        (below,) = re.findall(r'<li id="s-\w+" data-live class="depth-1">\s*<a href="\.\./runs/(\w+)"', page)
        async with session.get(f"{running.url}/runs/{below}") as answer:
            assert f'Invoked by</dt><dd><a href="../runs/{result.run_id}?step=' in await answer.text()
