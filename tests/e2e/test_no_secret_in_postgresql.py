"""Credentials that go out are in no row of a PostgreSQL database: neither while a request is under way nor afterwards."""

import asyncio
from pathlib import Path
from typing import Any

import openai

import stepwell
from stepwell.server.store.postgres.connect import connect
from stepwell.testing.platform.postgres import clean_database
from stepwell.transports.openai import durable_openai
from tests.e2e.test_no_secret_anywhere import BY_REFERENCE, COOKIE, OPENAI, Upstream, found_in, upstream
from tests.e2e.ugly import finish, platform

__all__ = ["upstream"]
LARGE = "x" * 400_000


async def rows(url: str) -> dict[str, bytes]:
    """All that is stored, by table."""
    conn = await connect(url)
    try:
        names = await conn.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'stepwell'")
        found: dict[str, bytes] = {}
        for (name,) in names:
            values = [value for row in await conn.fetch(f'SELECT * FROM stepwell."{name}"') for value in row.values()]
            found[name] = b"\0".join(value if isinstance(value, bytes) else str(value).encode() for value in values)
        return found
    finally:
        await conn.close()


def hits(found: dict[str, bytes]) -> dict[str, list[str]]:
    return {name: values for name, data in found.items() if (values := found_in(data))}


async def test_no_row_has_a_credential(tmp_path: Path, upstream: Upstream, monkeypatch: Any) -> None:
    monkeypatch.setenv("STEPWELL_SECRET_API_KEY", BY_REFERENCE)
    client = stepwell.Client("kept")
    key = stepwell.secret("API_KEY")

    @client.create_function(fn_id="f", trigger=stepwell.TriggerEvent(event="go"), retries=2)
    async def f(ctx: stepwell.Context) -> list[Any]:
        gpt = durable_openai(openai.AsyncOpenAI(api_key=OPENAI, base_url=f"{upstream.url}/v1"))
        answer = await gpt.chat.completions.create(model="sample", messages=[{"role": "user", "content": "Hello"}])
        headers = {"Authorization": f"Bearer {key}", "X-Api-Key": OPENAI}
        slow = await ctx.step.fetch(f"{upstream.url}/slow", method="POST", headers=headers, content=f"{OPENAI} {LARGE}")
        return [answer.choices[0].message.content, slow.status_code, slow.cookies["session"] == COOKIE]

    url = await clean_database()
    settings: dict[str, Any] = {"encryption_keys": ("11" * 32,), "secrets_hosts": "API_KEY=127.0.0.1"}
    async with platform(tmp_path, client, db=url, **settings) as running:
        event = await running.send("go", {})
        await asyncio.wait_for(upstream.asked.wait(), 20)
        assert hits(await rows(url)) == {}
        upstream.gate.set()
        assert (await finish(running, event)).output == ["Hello you", 200, True]
        stored = await rows(url)
    assert hits(stored) == {}
    assert all(stored[name] for name in ("runs", "steps", "events"))
    sent = "\n".join(upstream.seen)
    assert BY_REFERENCE in sent
    assert OPENAI in sent
