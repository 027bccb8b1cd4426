"""The plain part of the sample API does what the examples and the benchmarks count on."""

import asyncio
import signal
import sys
from pathlib import Path

import httpx2
import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
async def http(sample_api: str):
    async with httpx2.AsyncClient(base_url=sample_api, trust_env=False) as client:
        yield client


async def test_a_file_has_always_the_same_text(http: httpx2.AsyncClient) -> None:
    first, second, other = [(await http.get(f"/files/{name}")).text for name in ("a.txt", "a.txt", "b.txt")]
    assert first == second != other
    assert (await http.get("/files/stepwell.txt")).text.lower().count("step") == 7
    assert (await http.get("/files/missing.txt")).status_code == 404


async def test_it_counts_what_is_in_flight(http: httpx2.AsyncClient) -> None:
    await asyncio.gather(*(http.get(f"/files/{n}.txt?delay_ms=100") for n in range(7)))
    stats = (await http.get("/stats")).json()
    assert (stats["max_in_flight"], stats["in_flight"], stats["total"]) == (7, 0, 7)
    assert stats["paths"]["/files/3.txt"] == 1
    await http.post("/reset")
    assert (await http.get("/stats")).json()["total"] == 0


async def test_flaky_fails_as_often_as_it_is_told(http: httpx2.AsyncClient) -> None:
    assert [(await http.get("/flaky/2?key=a")).status_code for _ in range(4)] == [503, 503, 200, 200]
    assert (await http.get("/flaky/2?key=b")).status_code == 503


async def test_rate_limited_says_when_to_come_back(http: httpx2.AsyncClient) -> None:
    refused, taken = await http.get("/rate-limited?after=3"), await http.get("/rate-limited")
    assert (refused.status_code, refused.headers["retry-after"], taken.status_code) == (429, "3", 200)


async def test_a_charge_with_the_same_key_is_made_once(http: httpx2.AsyncClient) -> None:
    key = {"Idempotency-Key": "order-42"}
    first, second = [(await http.post("/charge", json={"amount": 5}, headers=key)).json() for _ in range(2)]
    assert (first["id"], first["replayed"], second["id"], second["replayed"]) == ("ch_1", False, "ch_1", True)
    assert len((await http.get("/charges")).json()) == 1
    assert (await http.get("/stats")).json()["idempotency_keys"] == {"order-42": 2}


async def test_a_bad_number_is_an_error_that_names_it(http: httpx2.AsyncClient) -> None:
    response = await http.get("/slow?ms=soon")
    assert (response.status_code, response.text) == (400, "ms must be a whole number")


async def test_it_starts_as_a_program_and_ends_on_sigterm() -> None:
    command = [sys.executable, "-m", "examples.sample_api", "--port", "0", "--print-port"]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        port = int(await asyncio.wait_for(process.stdout.readline(), 20))
        async with httpx2.AsyncClient(trust_env=False) as client:
            assert (await client.get(f"http://127.0.0.1:{port}/health")).json() == {"ok": True}
    finally:
        process.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(process.wait(), 20)
    assert code == 0
