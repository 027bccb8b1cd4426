"""Whatever is sent, the API answers in JSON, blames the right side, and keeps nothing of what it refused."""

import asyncio
from urllib.parse import quote

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.server.api_fakes import FakeEngine, api_client, new_ulid

JSONS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
KEYS = st.sampled_from(
    ["name", "data", "id", "ts", "user", "v", "meta", "steps", "op", "url", "appName", "functions", "run_id"]
)
NEAR = st.dictionaries(KEYS, JSONS | st.lists(st.dictionaries(KEYS, JSONS, max_size=4), max_size=3), max_size=6)
BODIES = st.binary(max_size=200) | (JSONS | NEAR | st.lists(NEAR, max_size=3)).map(msgspec.json.encode)
PATHS = st.sampled_from(
    ["/e/k", "/fn/register", f"/v1/checkpoint/{new_ulid(1)}/async", f"/v1/http/runs/{new_ulid(1)}/async"]
)
TYPES = st.sampled_from(
    [None, "application/json", "application/x-www-form-urlencoded", "multipart/form-data", "text/plain", "\xff"]
)


@settings(max_examples=200, deadline=None)
@given(PATHS, BODIES, TYPES)
def test_any_body(path: str, body: bytes, kind: str | None) -> None:
    asyncio.run(post(path, body, kind))


async def post(path: str, body: bytes, kind: str | None) -> None:
    engine = FakeEngine()
    headers = {} if kind is None else {b"content-type": kind.encode("latin-1")}
    async with api_client(engine) as api:
        response = await api.post(path, content=body, headers=headers)
    assert response.status_code in (200, 400)
    answer = msgspec.json.decode(response.content)
    if response.status_code == 400:
        assert answer["status"] == 400
        assert isinstance(answer["error"], str)
        assert answer["error"]
        assert not (engine.events)
        assert not (engine.registrations)
        assert not (engine.checkpoints)
    elif path == "/e/k":
        assert list(engine.events) == answer["ids"]


@settings(max_examples=100, deadline=None)
@given(
    st.text(max_size=40),
    st.text(max_size=20),
    st.sampled_from(["/v1/runs/{}", "/v1/runs/{}/steps", "/v1/events/{}", "/v1/bodies/{}"]),
)
def test_any_path_and_query(part: str, query: str, path: str) -> None:
    async def get() -> None:
        async with api_client(FakeEngine()) as api:
            response = await api.get(
                path.format(quote(part, safe="")), params={"wait": query, "limit": query, "outputs": query}
            )
        assert response.status_code in (400, 404, 200)
        assert isinstance(msgspec.json.decode(response.content), dict)

    asyncio.run(get())
