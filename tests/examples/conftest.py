"""The sample API as a real server on a free port of this machine."""

from collections.abc import AsyncIterator

import pytest
from aiohttp.test_utils import TestServer

from examples.sample_api import make_app


@pytest.fixture
async def sample_api() -> AsyncIterator[str]:
    """The base URL of a sample API of the test's own."""
    async with TestServer(make_app()) as server:
        yield str(server.make_url("")).rstrip("/")
