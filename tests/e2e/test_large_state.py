"""More than a call can carry is asked for; more than a run may keep ends the run with a reason."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from stepwell import Client, Context, ContextSync, TriggerEvent
from tests.e2e.ugly import Call, api, bare, finish, ops, platform, returned, sdk_app, step_run, sync, until

MIB = 1 << 20


def large(client: Client) -> None:
    """Functions whose steps return 8 MiB together, in a row, side by side, and from a sync function."""

    def part() -> str:
        return "x" * (2 * MIB)

    @client.create_function(fn_id="row", trigger=TriggerEvent("row"))
    async def row(ctx: Context) -> list[int]:
        found = [len(await ctx.step.run(f"p{n}", part)) for n in range(4)]
        await ctx.step.sleep("nap", 20)
        return [*found, len(ctx.event.data["x"])]

    @client.create_function(fn_id="side", trigger=TriggerEvent("side"))
    async def side(ctx: Context) -> list[int]:
        parts = await asyncio.gather(*(ctx.step.run(f"p{n}", part) for n in range(4)))
        last = await ctx.step.run("last", part)
        return [*map(len, parts), len(last)]

    @client.create_function(fn_id="sync", trigger=TriggerEvent("sync"))
    def sync_row(ctx: ContextSync) -> list[int]:
        return [len(ctx.step.run(f"p{n}", part)) for n in range(4)]


@pytest.mark.parametrize(
    ("name", "lengths"), [("row", [2 * MIB] * 4 + [3_000_000]), ("side", [2 * MIB] * 5), ("sync", [2 * MIB] * 4)]
)
async def test_our_sdk_asks_for_what_no_call_can_carry(name: str, lengths: list[int], tmp_path: Path) -> None:
    """Over HTTP, with every call replayed, so that each of them has to ask."""
    async with platform(tmp_path, always_replay=True) as running:
        client = Client("large", is_production=False, api_base_url=running.url)
        large(client)
        async with sdk_app(client) as url:
            await sync(running, client, url)
            data = {"x": "x" * 3_000_000} if name == "row" else {}
            result = await finish(running, await running.send(name, data), 40)
            assert (result.status, result.output) == ("completed", lengths)


async def test_no_call_is_larger_than_an_app_has_to_take(tmp_path: Path) -> None:
    """An event of almost 3 MiB is in a call once; what the app then asks for has it, too."""
    sizes: list[int] = []

    async def answer(call: Call, request: web.Request) -> web.StreamResponse:
        sizes.append(len(await request.read()))
        assert (call["use_api"], call["ctx"]["use_api"], call["events"], call["steps"]) == (True, True, [], {})
        assert len(call["event"]["data"]["x"]) == 3_000_000
        done = call["ctx"]["stack"]["current"]
        return ops(step_run(f"s{done}", "x" * MIB)) if done < 3 else returned(done)

    async with bare(tmp_path, answer) as rig:
        result = await finish(rig.platform, await rig.platform.send("go", {"x": "x" * 3_000_000}))
        assert result.output == 3
        status, _, events = await api(rig.platform, "GET", f"/v0/runs/{result.run_id}/batch")
        assert (status, [len(event["data"]["x"]) for event in events]) == (200, [3_000_000])
    assert max(sizes) < 4 * MIB


async def keeps_too_much(call: Call, request: web.Request) -> web.StreamResponse:
    done = call["ctx"]["stack"]["current"]
    return ops(step_run(f"s{done}", "x" * (4 * MIB - 2)))


async def test_a_run_that_keeps_more_than_32_mib_ends(tmp_path: Path) -> None:
    async with bare(tmp_path, keeps_too_much) as rig:
        result = await rig.run(40)
        assert (result.status, result.output["name"]) == ("failed", "StateTooLarge")
        assert "more than the 33554432 that a run may keep" in result.output["message"]
        assert "return references" in result.output["message"]
        assert len(rig.endpoint.calls) == 8, "the app is not called again"
        _, _, steps = await api(rig.platform, "GET", f"/v1/runs/{result.run_id}/steps?outputs=false")
        assert [step["status"] for step in steps["data"]] == ["Completed"] * 8
        assert (await api(rig.platform, "GET", f"/v1/runs/{result.run_id}/jobs"))[2]["data"] == []


async def test_checkpoints_that_keep_too_much_end_the_run(tmp_path: Path) -> None:
    """The call in flight is given up then, and what it would have answered changes nothing."""
    said: list[int] = []

    async def answer(call: Call, request: web.Request) -> web.StreamResponse:
        run_id = call["ctx"]["run_id"]
        for n in range(12):
            body = {"steps": [step_run(f"s{n}", "x" * (4 * MIB - 2))], "generation_id": call["ctx"]["generation_id"]}
            data = msgspec.json.encode(body)
            status, _, _ = await api(rig.platform, "POST", f"/v1/checkpoint/{run_id}/async", data=data)
            said.append(status)
            if status != 200:
                break
        return returned("never")

    async with bare(tmp_path, answer) as rig:
        result = await rig.run(40)
        assert (result.status, result.output["name"]) == ("failed", "StateTooLarge")
        assert said == [200] * len(said)
        assert len(said) in (7, 8), "the call is given up before or after the app has read the last answer"
        assert len(rig.endpoint.calls) == 1


async def test_an_answer_of_more_than_8_mib_is_not_asked_for_again(tmp_path: Path) -> None:
    async def answer(call: Call, request: web.Request) -> web.StreamResponse:
        return ops(*(step_run(f"s{n}", "x" * (3 * MIB)) for n in range(3)))

    async with bare(tmp_path, answer) as rig:
        result = await rig.run()
        assert result.status == "failed"
        assert "more than 8388608 bytes" in result.output["message"]
        assert len(rig.endpoint.calls) == 1


async def test_what_is_asked_for_is_what_the_call_names_whatever_has_ended_since(tmp_path: Path) -> None:
    """The app holds its second call until another step has ended, and asks then."""
    race = {"parallelMode": "race"}
    asked: list[tuple[list[str], list[str]]] = []

    async def answer(call: Call, request: web.Request) -> web.StreamResponse:
        stack = call["ctx"]["stack"]["stack"]
        if not stack:
            return ops(*({"op": "Sleep", "id": f"{ms}", "name": f"{ms}ms", "opts": race} for ms in (1, 50)))
        if not asked:
            run = f"runs/{call['ctx']['run_id']}"

            async def both() -> bool:
                steps = (await api(rig.platform, "GET", f"/v1/{run}/steps"))[2]["data"]
                return all(step["status"] == "Completed" for step in steps)

            await until(both)
            asked.append((stack, list((await api(rig.platform, "GET", f"/v0/{run}/actions"))[2])))
            return ops()
        return returned(list(call["steps"]))

    async with bare(tmp_path, answer) as rig:
        assert (await rig.run()).output == ["1", "50"]
        assert asked == [(["1"], ["1"])]


async def test_a_state_that_is_gone_is_a_410(tmp_path: Path) -> None:
    async def answer(call: Call, request: web.Request) -> web.StreamResponse:
        return returned()

    async with bare(tmp_path, answer) as rig:
        for what in ("actions", "batch"):
            found: tuple[int, Any, Any] = await api(rig.platform, "GET", f"/v0/runs/01JQDAE4RQF8MBCR55T5AK4KXS/{what}")
            assert (found[0], found[2]["status"], found[2]["code"]) == (410, 410, "state_gone")
            assert (await api(rig.platform, "GET", f"/v0/runs/x/{what}"))[0] == 400
