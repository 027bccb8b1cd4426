"""JSON that is nested too deeply to be read: the caller's mistake, and one sentence says so."""

import pytest

from stepwell.server.api.problems import Problem
from stepwell.server.dashboard.run import parse_args
from tests.server.api_fakes import FakeEngine, api_client, new_ulid

DEEP = "[" * 100_000


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"/v1/runs/{new_ulid(1)}/rerun", f'{{"from_step": "s", "input": [{DEEP}'),
        ("/v1/signals", f'{{"signal": "s", "data": {DEEP}{DEEP.replace("[", "]")}}}'),
    ],
)
async def test_a_body_that_is_nested_too_deeply_is_a_400(path: str, body: str) -> None:
    async with api_client(FakeEngine()) as api:
        response = await api.post(path, content=body)
    assert (response.status_code, "nested too deeply" in response.json()["error"]) == (400, True)


async def test_so_is_the_metadata_of_a_message() -> None:
    async with api_client(FakeEngine()) as api:
        where = {"channel": "c", "topic": "t", "metadata": DEEP[:5_000]}
        response = await api.post("/v1/realtime/publish", params=where, content="1")
    assert (response.status_code, "metadata" in response.json()["error"]) == (400, True)


def test_so_is_the_input_of_a_step_in_a_form() -> None:
    with pytest.raises(Problem, match="nested too deeply") as found:
        parse_args(DEEP)
    assert found.value.status == 400
