"""Too large, or too many: one clear error, not retried, and nothing that was on record is lost."""

from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.e2e.ugly import Call, api, bare, finish, ops, platform, returned, step_run

MIB = 1 << 20
LARGE = "x" * (4 * MIB + 1)


async def test_a_step_result_above_4_mib_is_the_steps_error(tmp_path: Path) -> None:
    async def answer(call: Call, request: web.Request) -> web.StreamResponse:
        return returned(call["steps"]["big"]) if call["steps"] else ops(step_run("big", LARGE))

    async with bare(tmp_path, answer) as rig:
        result = await rig.run()
        assert result.status == "completed"
        error = result.output["error"]
        assert error["name"] == "OutputTooLarge"
        assert "step 'big' returned 4194307 bytes, more than the 4194304" in error["message"]
        assert "store the data elsewhere" in error["message"]
        assert len(rig.endpoint.calls) == 2, "it is not retried"


async def test_a_return_value_above_4_mib_fails_the_run(tmp_path: Path) -> None:
    async def answer(call: Call, request: web.Request) -> web.StreamResponse:
        return returned(LARGE) if call["steps"] else ops(step_run("a"))

    async with bare(tmp_path, answer) as rig:
        result = await rig.run()
        assert result.status == "failed"
        assert "the function returned 4194307 bytes, more than the 4194304" in result.output["message"]
        assert "store the data elsewhere" in result.output["message"]
        assert len(rig.endpoint.calls) == 2, "it is not retried"


async def test_a_run_complete_op_with_too_much_fails_the_run(tmp_path: Path) -> None:
    async def answer(call: Call, request: web.Request) -> web.StreamResponse:
        return ops({"op": "RunComplete", "id": "done", "data": LARGE})

    async with bare(tmp_path, answer) as rig:
        result = await rig.run()
        assert result.status == "failed"
        assert result.output["name"] == "OutputTooLarge"


async def test_a_state_that_no_call_can_carry_is_asked_for(tmp_path: Path) -> None:
    """Above 4 MiB of results the app is told to ask the platform; three steps of 2 MiB are fine."""

    async def answer(call: Call, request: web.Request) -> web.StreamResponse:
        done = call["ctx"]["stack"]["current"]
        if done < 3:
            return ops(step_run(f"part-{done}", "x" * (2 * MIB)))
        assert call["steps"] == {}
        assert call["use_api"] is True
        return returned(call["ctx"]["run_id"])

    async with bare(tmp_path, answer) as rig:
        result = await rig.run()
        assert result.status == "completed"
        status, _, steps = await api(rig.platform, "GET", f"/v0/runs/{result.run_id}/actions")
        assert status == 200
        assert [len(memo["data"]) for memo in steps.values()] == [2 * MIB] * 3


@pytest.mark.parametrize("size", [1_000, 10_001])
async def test_more_than_10_000_steps(size: int, tmp_path: Path) -> None:
    """Reported 1,000 an answer, or all in one: at the 10,001st the run fails and says why."""

    async def answer(call: Call, request: web.Request) -> web.StreamResponse:
        done = call["ctx"]["stack"]["current"]
        return ops(*(step_run(f"s{done + number}") for number in range(size)))

    async with bare(tmp_path, answer) as rig:
        result = await rig.run(30)
        assert result.status == "failed"
        assert "more than 10000 steps: split the work over several runs" in result.output["message"]
        status, _, body = await api(rig.platform, "GET", f"/v1/runs/{result.run_id}")
        assert status == 200
        assert body["data"]["steps_ended"] == (10_000 if size == 1_000 else 0), "what was recorded stays"


async def test_exactly_10_000_steps_are_fine(tmp_path: Path) -> None:
    async def answer(call: Call, request: web.Request) -> web.StreamResponse:
        done = call["ctx"]["stack"]["current"]
        return ops(*(step_run(f"s{done + number}") for number in range(2_500))) if done < 10_000 else returned(done)

    async with bare(tmp_path, answer) as rig:
        result = await rig.run(30)
        assert (result.status, result.output) == ("completed", 10_000)


EVENTS: dict[str, tuple[bytes, int, str]] = {
    "no json": (b"{oops", 400, "event 0: "),
    "cut off": (b'[{"name": "a"}, {"name": ', 400, "can not be read"),
    "not utf-8": (b'{"name": "\xff\xfe"}', 400, "event 0: "),
    "a number": (b"42", 400, "it has to be a JSON object"),
    "no name": (b'{"data": {}}', 400, "give it one as a string"),
    "a name that is none": (b'{"name": 7}', 400, "give it one as a string"),
    "reserved": (b'{"name": "inngest/x"}', 400, "reserved for the platform"),
    "data that is none": (b'{"name": "go", "data": [1]}', 400, "its data has to be a JSON object"),
    "a time in seconds": (b'{"name": "go", "ts": 1700000000}', 400, "milliseconds since 1970"),
    "one bad among good ones": (b'[{"name": "go"}, {"name": ""}]', 400, "event 1: it has no name"),
    "nested too deeply": (b'{"name": "go", "data": ' + b'{"a":' * 5_000 + b"1" + b"}" * 5_001, 400, "event 0: "),
    "a surrogate": (b'{"name": "go\\ud800"}', 400, "event 0: "),
    "too large": (b'{"name": "go", "data": {"x": "' + b"x" * (3 * MIB) + b'"}}', 400, "send a reference"),
    "too many": (b"[" + b",".join([b'{"name":"go"}'] * 5_001) + b"]", 400, "send them in parts"),
    "a body of 33 MiB": (b" " * (33 * MIB), 413, "larger than the 32 MiB"),
}


@pytest.mark.parametrize("name", EVENTS)
async def test_a_malformed_or_oversized_event(name: str, tmp_path: Path) -> None:
    """It is refused whole, with a reason; no run starts, and the next good event is taken."""
    body, expected, message = EVENTS[name]

    async def answer(call: Call, request: web.Request) -> web.StreamResponse:
        return returned(call["event"]["data"])

    async with bare(tmp_path, answer) as rig:
        status, _, said = await api(rig.platform, "POST", "/e/key", data=body)
        assert (status, said["ids"]) == (expected, [])
        assert message in said["error"]
        status, _, runs = await api(rig.platform, "GET", "/v1/runs")
        assert runs["data"] == []
        status, _, said = await api(rig.platform, "POST", "/e/key", json={"name": "go", "data": {"n": 1}})
        assert status == 200
        assert (await finish(rig.platform, said["ids"][0])).output == {"n": 1}


@pytest.mark.parametrize(
    "data",
    [{"n": 10**400}, {"n": 1e308}, {"": {"\x00": "\U0001f600"}}, {"a": [[[]]] * 100}],
    ids=["huge integer", "huge double", "odd keys", "lists"],
)
async def test_odd_but_valid_data_arrives_as_it_was_sent(data: dict[str, Any], tmp_path: Path) -> None:
    async def answer(call: Call, request: web.Request) -> web.StreamResponse:
        return returned(call["event"]["data"] == data)

    async with bare(tmp_path, answer) as rig:
        status, _, said = await api(rig.platform, "POST", "/e/key", json={"name": "go", "data": data})
        assert status == 200, said
        assert (await finish(rig.platform, said["ids"][0])).output is True


BAD_SYNCS: dict[str, tuple[bytes, int, str]] = {
    "no json": (b"<html>", 400, ""),
    "a list": (b"[]", 400, ""),
    "no app": (b"{}", 400, "app"),
    "too large": (b"[" * (9 * MIB), 413, "larger than the 8 MiB"),
}


@pytest.mark.parametrize("name", BAD_SYNCS)
async def test_a_malformed_registration(name: str, tmp_path: Path) -> None:
    body, expected, message = BAD_SYNCS[name]
    async with platform(tmp_path) as running:
        status, _, said = await api(running, "POST", "/fn/register", data=body)
        assert status == expected
        assert said["error"]
        assert message in said["error"]
        assert (await api(running, "GET", "/dev"))[2]["handlers"] == []
