"""Two engines on one PostgreSQL: what one does, the other takes into account."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
from aiohttp import web

from stepwell.core.model import Cancellation, RunStatus
from stepwell.server.build import build_engine
from stepwell.server.runtime import peers
from stepwell.server.runtime.engine import Engine
from stepwell.server.settings import Settings
from stepwell.testing.platform.postgres import clean_database
from stepwell.wire.answers import parse_ops
from stepwell.wire.events import parse_events
from stepwell.wire.functions import parse_registration
from tests.e2e.ugly import Call, Endpoint, ops, returned, step_run, until


@pytest.fixture
async def engines() -> AsyncIterator[list[Engine]]:
    url = await clean_database()
    settings = Settings(db=url, encryption_keys=("33" * 32,), port=0, retry_interval_ms=10)
    engines = [build_engine(settings), build_engine(settings)]
    for engine in engines:
        await engine.open()
        await engine.start()
    yield engines
    for engine in engines:
        await engine.drain(0.2)
        await engine.close()


def only(engines: list[Engine], turn: int) -> None:
    """From here on this one alone takes work."""
    for number, engine in enumerate(engines):
        engine._committer.claiming = number == turn  # pyright: ignore[reportPrivateUsage]
        engine._committer.wake()  # pyright: ignore[reportPrivateUsage]


async def register(engine: Engine, endpoint: Endpoint) -> None:
    body = {"appName": "bare", "url": endpoint.url, "sdk": "bare:v1", "framework": "", "v": "0.1"}
    body["functions"] = endpoint.functions(2)
    await engine.register(parse_registration(msgspec.json.encode(body)))


async def start(engine: Engine, name: str = "go") -> str:
    """Send an event; its run."""
    (event,) = parse_events(msgspec.json.encode([{"name": name, "data": {}}]), None, engine.now())
    (event_id,) = await engine.ingest([event], engine.new_ids(1))
    (run_id,) = await engine.runs_of(event_id)
    return run_id


async def test_a_call_has_what_the_other_process_recorded(engines: list[Engine]) -> None:
    """The run goes from one to the other and back: nobody calls the app with what it remembers from before."""
    seen: list[int] = []

    async def answer(call: Call, _: web.Request) -> web.StreamResponse:
        seen.append(len(call["steps"]))
        only(engines, len(seen) % 2)
        return ops(step_run(f"s{len(seen)}", len(seen))) if len(seen) < 6 else returned("end")

    only(engines, 0)
    async with Endpoint(answer).serving() as endpoint:
        await register(engines[0], endpoint)
        view = await engines[1].wait_run(await start(engines[0]), 20)
    assert view is not None
    assert view.run.status is RunStatus.COMPLETED
    assert seen == [0, 1, 2, 3, 4, 5]


async def test_an_app_that_was_synced_at_the_other_is_known(engines: list[Engine]) -> None:
    async def answer(_call: Call, _request: web.Request) -> web.StreamResponse:
        return returned(7)

    async with Endpoint(answer).serving() as endpoint:
        await register(engines[0], endpoint)
        await until(lambda: engines[1].registry.get("bare") is not None)
        view = await engines[1].wait_run(await start(engines[1]), 20)
    assert view is not None
    assert view.run.output == b"7"


async def test_a_run_that_the_other_ends_is_seen_to_end(engines: list[Engine]) -> None:
    held = asyncio.Event()

    async def answer(_call: Call, _request: web.Request) -> web.StreamResponse:
        await held.wait()
        return returned(None)

    only(engines, 0)
    async with Endpoint(answer).serving() as endpoint:
        await register(engines[0], endpoint)
        run_id = await start(engines[0])
        await until(lambda: bool(endpoint.calls))
        assert await engines[1].cancel(run_id)
        for engine in engines:
            view = await engine.wait_run(run_id, 20)
            assert view is not None
            assert view.run.status is RunStatus.CANCELLED
        held.set()
        assert not await engines[0].cancel(run_id)


async def test_steps_of_a_call_are_taken_by_the_process_that_did_not_make_it(engines: list[Engine]) -> None:
    held = asyncio.Event()

    async def answer(_call: Call, _request: web.Request) -> web.StreamResponse:
        await held.wait()
        return returned("end")

    only(engines, 0)
    async with Endpoint(answer).serving() as endpoint:
        await register(engines[0], endpoint)
        run_id = await start(engines[0])
        await until(lambda: bool(endpoint.calls))
        reported = parse_ops(msgspec.json.encode([step_run("early", 1)]))
        generation = (await engines[1].jobs(run_id))[0].claim
        assert await engines[1].checkpoint(run_id, reported, generation + 1) == "stale"
        assert await engines[1].checkpoint(run_id, reported, generation) == "ok"
        held.set()
        view = await engines[0].wait_run(run_id, 20)
    assert view is not None
    assert view.run.status is RunStatus.COMPLETED
    assert [step.name for step in view.steps.values()] == ["early"]


async def test_a_cancellation_at_the_other_is_looked_at_before_a_call_until_it_is_dropped(
    engines: list[Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "OTHERS_S", 3_600)  # who is not told does not look by itself
    one = Cancellation(cancellation_id="C1", created_at=1, app_id="bare", function_id="bare-f", started_before=2**50)
    only(engines, 2)  # nobody works on it
    await engines[0].cancelling.add(one)
    await until(lambda: "bare-f" in engines[1].cancelling._fresh)  # pyright: ignore[reportPrivateUsage]
    assert await engines[0].cancelling.drop("C1")
    await until(lambda: "bare-f" not in engines[1].cancelling._fresh)  # pyright: ignore[reportPrivateUsage]


async def test_a_function_that_is_paused_at_one_is_paused_at_the_other(engines: list[Engine]) -> None:
    async def answer(_call: Call, _request: web.Request) -> web.StreamResponse:
        return returned(7)

    async with Endpoint(answer).serving() as endpoint:
        await register(engines[0], endpoint)
        await engines[0].pausing.pause("bare-f")
        await until(lambda: engines[1].pausing.paused("bare-f"))
        view = await engines[1].view(await start(engines[1]))
        assert view is not None
        assert (view.run.status, view.run.skipped) == (RunStatus.SKIPPED, "paused")
        await engines[1].pausing.resume("bare-f")
        await until(lambda: not engines[0].pausing.paused("bare-f"))
        view = await engines[0].wait_run(await start(engines[0]), 20)
    assert view is not None
    assert view.run.output == b"7"
