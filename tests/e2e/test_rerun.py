"""Runs made anew on a real platform with its state on disk: what is called again, and what it is told."""

from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

import stepwell
from stepwell.embed import Embedded
from stepwell.wire.ids import step_hash
from tests.e2e.ugly import Call, Rig, api, bare, finish, ops, platform, returned, step_run

MIB = 1 << 20


async def again(running: Embedded, run_id: str, wanted: dict[str, Any] | None = None) -> str:
    """Ask for a re-run; the new run's id."""
    status, _, said = await api(running, "POST", f"/v1/runs/{run_id}/rerun", json=wanted or {})
    assert status == 201, said
    assert said["data"]["original_run_id"] == run_id
    return said["data"]["run_id"]


async def ended(running: Embedded, run_id: str) -> dict[str, Any]:
    """The run once it has ended."""
    status, _, said = await api(running, "GET", f"/v1/runs/{run_id}?wait=15")
    assert status == 200
    assert said["data"]["ended_at"], said
    return said["data"]


async def three_steps(call: Call, request: web.Request) -> web.StreamResponse:
    """Steps a, b, c, one after the other; each returns how often it was run, or what its input says."""
    done = call["ctx"]["stack"]["current"]
    if done == 3:
        return returned([call["steps"][name]["data"] for name in "abc"])
    name = "abc"[done]
    edited = call["steps"].get(name, {}).get("input")
    return ops(step_run(name, edited or f"{name} of {call['ctx']['run_id']}"))


async def first(rig: Rig) -> str:
    result = await rig.run()
    assert result.status == "completed"
    rig.endpoint.calls.clear()
    return result.run_id


async def test_from_the_start(tmp_path: Path) -> None:
    async with bare(tmp_path, three_steps) as rig:
        old = await first(rig)
        new = await again(rig.platform, old)
        run = await ended(rig.platform, new)
        assert run["output"] == [f"{name} of {new}" for name in "abc"]
        assert run["original_run_id"] == old
        assert rig.endpoint.calls[0]["version"] == -1
        _, _, runs = await api(rig.platform, "GET", f"/v1/events/{run['event_id']}/runs")
        assert [each["run_id"] for each in runs["data"]] == [new, old]
        assert "original_run_id" not in (await ended(rig.platform, old))


@pytest.mark.parametrize("step", ["b", step_hash("b")])
async def test_from_a_step_with_its_input_edited(tmp_path: Path, step: str) -> None:
    """What ended before is sent as it is; the step's input only while it is unfinished, and never in the stack."""

    async def hashed(call: Call, request: web.Request) -> web.StreamResponse:
        done = call["ctx"]["stack"]["current"]
        if done == 3:
            return returned([call["steps"][step_hash(name)]["data"] for name in "abc"])
        name = "abc"[done]
        edited = call["steps"].get(step_hash(name), {}).get("input")
        op = step_run(step_hash(name), edited or f"{name} of {call['ctx']['run_id']}")
        return ops({**op, "displayName": name})

    async with bare(tmp_path, hashed) as rig:
        old = await first(rig)
        new = await again(rig.platform, old, {"from_step": step, "input": [{"n": 5}, "two"]})
        run = await ended(rig.platform, new)
        assert run["output"] == [f"a of {old}", [{"n": 5}, "two"], f"c of {new}"]
        calls = rig.endpoint.calls
        assert [call["ctx"]["stack"]["current"] for call in calls] == [1, 2, 3]
        assert calls[0]["steps"] == {
            step_hash("a"): {"data": f"a of {old}"},
            step_hash("b"): {"input": [{"n": 5}, "two"]},
        }
        assert calls[0]["ctx"]["stack"]["stack"] == [step_hash("a")]
        assert "input" not in calls[1]["steps"][step_hash("b")]
        assert calls[0]["version"] == 2, "the app's version of the protocol is known"


async def test_a_run_that_failed_goes_on_where_it_failed(tmp_path: Path) -> None:
    """Nobody runs again what is on record."""
    broken = True

    async def answer(call: Call, request: web.Request) -> web.StreamResponse:
        done = call["ctx"]["stack"]["current"]
        if done == 1 and broken:
            return web.json_response({"name": "E", "message": "no"}, status=400, headers={"x-inngest-sdk": "bare:v1"})
        return await three_steps(call, request)

    async with bare(tmp_path, answer, retries=0) as rig:
        old = await rig.run()
        assert old.status == "failed"
        broken = False
        status, _, said = await api(rig.platform, "POST", f"/v1/runs/{old.run_id}/rerun", json={"from_step": "b"})
        assert (status, said["error"]) == (409, "The run has no step 'b'.")
        new = await again(rig.platform, old.run_id, {"from_step": "a"})
        assert (await ended(rig.platform, new))["output"] == [f"{name} of {new}" for name in "abc"]


async def test_what_can_not_be_run_again(tmp_path: Path) -> None:
    async with bare(tmp_path, three_steps) as rig:
        old = await first(rig)
        path = f"/v1/runs/{old}/rerun"
        status, _, said = await api(rig.platform, "POST", path, json={"input": [1]})
        assert (status, said["code"]) == (409, "cannot_rerun")
        await rig.platform.sync("bare", rig.endpoint.url, [])
        status, _, said = await api(rig.platform, "POST", path)
        assert status == 409
        assert "bare-f is not registered" in said["error"]
        assert not rig.endpoint.calls


async def test_requests_of_a_rerun_are_its_own_and_kept_bodies_can_be_read(tmp_path: Path) -> None:
    """The kept answer, whose body lies beside the state, is not asked for again; the other has another idempotency key."""
    keys: list[tuple[str, str]] = []

    async def upstream(request: web.Request) -> web.Response:
        keys.append((request.path, request.headers.get("Idempotency-Key", "")))
        return web.Response(body=b"x" * MIB if request.path == "/large" else b"small")

    app = web.Application()
    app.router.add_route("*", "/{name}", upstream)
    client = stepwell.Client(app_id="again")
    async with TestServer(app) as server:
        base = str(server.make_url("/"))

        @client.create_function(fn_id="f", trigger=stepwell.TriggerEvent(event="go"))
        async def f(ctx: stepwell.Context) -> list[object]:
            large = await ctx.step.fetch(f"{base}large", method="POST")
            small = await ctx.step.fetch(f"{base}small", method="POST")
            return [len(large.content), small.text, ctx.run_id]

        async with platform(tmp_path, client) as running:
            old = await finish(running, await running.send("go", {}))
            assert old.output == [MIB, "small", old.run_id]
            _, _, steps = await api(running, "GET", f"/v1/runs/{old.run_id}/steps")
            new = await again(running, old.run_id, {"from_step": steps["data"][1]["id"]})
            assert (await ended(running, new))["output"] == [MIB, "small", new]
    assert [path for path, _ in keys] == ["/large", "/small", "/small"]
    assert len({key for _, key in keys}) == 3
