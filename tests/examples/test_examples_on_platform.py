"""The three examples, in both languages, for real: processes, HTTP, a SQLite file."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from tests.examples.platform_process import output, platform, send
from tests.examples.typescript_app import typescript_app
from tests.ports import free_port

FILES = [f"{n}.txt?delay_ms=60" for n in range(30)]


@pytest.fixture
async def python(tmp_path: Path, sample_api: str) -> AsyncIterator[httpx2.AsyncClient]:
    """The platform with the Python examples in its own process."""
    async with platform(tmp_path / "p.db", sample_api, "examples/python/app.py") as http:
        yield http


@pytest.fixture
async def typescript(tmp_path: Path, sample_api: str) -> AsyncIterator[httpx2.AsyncClient]:
    """The platform that calls the TypeScript examples over HTTP."""
    port = free_port()
    async with (
        typescript_app(platform=f"http://127.0.0.1:{port}", sample_api=sample_api) as url,
        platform(tmp_path / "t.db", sample_api, "-u", url, port=port) as http,
    ):
        assert (await http.put(url)).status_code == 200  # the app registers itself: nothing to wait for afterwards
        yield http


async def retrieve(http: httpx2.AsyncClient, event: str) -> None:
    result = await output(http, await send(http, event, {"word": "well"}))
    assert result == {"name": "stepwell.txt", "word": "well", "count": 2}


async def process(http: httpx2.AsyncClient, event: str, sample_api: str) -> None:
    result = await output(http, await send(http, event, {"files": FILES}))
    assert result["files"] == len(FILES)
    assert result["words"] > len(FILES) * 60
    async with httpx2.AsyncClient(trust_env=False) as client:
        stats = (await client.get(f"{sample_api}/stats")).json()
    assert stats["total"] == len(FILES)
    assert 5 <= stats["max_in_flight"] <= 10


async def weather(http: httpx2.AsyncClient, event: str) -> None:
    result = await output(http, await send(http, event, {}))
    assert result["answer"].count("celsius") == 2
    assert result["summary"] == f"You said: Say this shorter: {result['answer']}"


async def test_python_retrieve_text_file(python: httpx2.AsyncClient) -> None:
    await retrieve(python, "file.wanted")


async def test_python_process_files(python: httpx2.AsyncClient, sample_api: str) -> None:
    await process(python, "files.wanted", sample_api)


async def test_python_weather_function(python: httpx2.AsyncClient) -> None:
    await weather(python, "weather.asked")


@pytest.mark.node
async def test_typescript_retrieve_text_file(typescript: httpx2.AsyncClient) -> None:
    await retrieve(typescript, "ts/file.wanted")


@pytest.mark.node
async def test_typescript_process_files(typescript: httpx2.AsyncClient, sample_api: str) -> None:
    await process(typescript, "ts/files.wanted", sample_api)


@pytest.mark.node
async def test_typescript_weather_function(typescript: httpx2.AsyncClient) -> None:
    await weather(typescript, "ts/weather.asked")
