"""``step.ai.infer`` from our SDK: async and sync, against the sample provider and a scripted one."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from inngest.experimental.ai import gemini

import stepwell
from examples.sample_api.app import make_app
from stepwell import ai
from stepwell.embed import Embedded, embedded

client = stepwell.Client("models")
TALK: list[dict[str, Any]] = [{"role": "user", "content": "Hello you"}]
ADAPTERS: dict[str, Any] = {
    "openai": ai.OpenAI,
    "anthropic": ai.Anthropic,
    "gemini": ai.Gemini,
    "grok": ai.Grok,
    "deepseek": ai.DeepSeek,
}


class Provider:
    """Gives the answers it is told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.seen: list[tuple[str, list[tuple[str, str]], Any]] = []
        self.answers: list[web.Response] = []

    async def handle(self, request: web.Request) -> web.Response:
        headers = [(name.lower(), value) for name, value in request.headers.items()]
        self.seen.append((request.path_qs, headers, await request.json()))
        return self.answers.pop(0) if self.answers else web.json_response({"ok": True})

    def sent(self, name: str) -> list[str]:
        return [value for header, value in self.seen[-1][1] if header == name]


def asking(ctx: Any) -> Any:
    data = ctx.event.data
    key = stepwell.secret(data["secret"]) if "secret" in data else "sk-1"
    headers = {"stepwell-retries": str(data.get("retries", 2)), **data.get("headers", {})}
    adapter = ADAPTERS[data["kind"]](model="sample", auth_key=key, base_url=data["url"], headers=headers)
    return ctx.step.ai.infer("ask", adapter=adapter, body=data["body"])


def told(error: stepwell.StepError) -> dict[str, Any]:
    return {"name": error.name, "message": error.message, "data": error.data}


@client.create_function(fn_id="async", trigger=stepwell.TriggerEvent("async"))
async def model_async(ctx: stepwell.Context) -> Any:
    try:
        return await asking(ctx)
    except stepwell.StepError as error:
        return told(error)


@client.create_function(fn_id="sync", trigger=stepwell.TriggerEvent("sync"))
def model_sync(ctx: stepwell.ContextSync) -> Any:
    try:
        return asking(ctx)
    except stepwell.StepError as error:
        return told(error)


@client.create_function(fn_id="many", trigger=stepwell.TriggerEvent("many"))
async def many(ctx: stepwell.Context) -> list[dict[str, Any]]:
    adapter = ai.OpenAI(model="sample", auth_key="", base_url=ctx.event.data["url"])
    calls = [ctx.step.ai.infer(f"ask {n}", adapter=adapter, body={"n": n}) for n in range(5)]
    return list(await asyncio.gather(*calls))


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    made = Provider()
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", made.handle)
    async with TestServer(app) as server:
        made.url = str(server.make_url("")).rstrip("/")
        yield made


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Embedded]:
    db = f"sqlite:///{tmp_path / 'a.db'}"
    async with embedded(client, db=db, retry_interval=0.01, drain=1) as running:
        yield running


async def ask(platform: Embedded, name: str, **data: Any) -> Any:
    [result] = await platform.send_and_wait(name, {"kind": "openai", "body": {"messages": TALK}, **data}, timeout=30)
    assert result.status == "completed", result
    return result.output


@pytest.mark.parametrize("name", ["async", "sync"])
async def test_the_sample_provider_answers(platform: Embedded, name: str) -> None:
    async with TestServer(make_app()) as server:
        base = str(server.make_url("/v1"))
        chat = await ask(platform, name, url=base)
        assert chat["choices"][0]["message"]["content"] == "You said: Hello you"
        assert chat["model"] == "sample"
        message = await ask(platform, name, url=base, kind="anthropic", body={"messages": TALK, "max_tokens": 9})
        assert message["content"][0]["text"] == "You said: Hello you"


@pytest.mark.parametrize(
    ("kind", "path", "header", "value"),
    [
        ("openai", "/chat/completions", "authorization", "Bearer sk-1"),
        ("grok", "/chat/completions", "authorization", "Bearer sk-1"),
        ("deepseek", "/chat/completions", "authorization", "Bearer sk-1"),
        ("anthropic", "/messages", "x-api-key", "sk-1"),
        ("gemini", "/models/sample:generateContent?key=sk-1", "authorization", None),
    ],
)
async def test_each_provider_gets_its_request(
    platform: Embedded, provider: Provider, kind: str, path: str, header: str, value: str | None
) -> None:
    assert await ask(platform, "async", url=provider.url, kind=kind) == {"ok": True}
    asked, headers, body = provider.seen[0]
    assert asked == path
    assert provider.sent(header) == ([] if value is None else [value])
    assert provider.sent("content-type") == ["application/json"]
    assert provider.sent("anthropic-version") == (["2023-06-01"] if kind == "anthropic" else [])
    assert len({name for name, _ in headers}) == len(headers)
    assert body == {"messages": TALK} | ({} if kind == "gemini" else {"model": "sample"})


@pytest.mark.parametrize("name", ["async", "sync"])
async def test_statuses_are_tried_again_and_the_last_is_an_error(
    platform: Embedded, provider: Provider, name: str
) -> None:
    provider.answers = [web.Response(status=503), web.Response(status=429), web.json_response({"ok": 3})]
    assert await ask(platform, name, url=provider.url) == {"ok": 3}
    keys = {value for _, headers, _ in provider.seen for header, value in headers if header == "idempotency-key"}
    assert (len(provider.seen), len(keys)) == (3, 1)
    provider.answers = [web.json_response({"error": {"message": "slow"}}, status=429) for _ in range(3)]
    assert await ask(platform, name, url=provider.url) == {
        "name": "AIGatewayError",
        "message": "Error making AI request: unsuccessful status code: 429",
        "data": {"error": {"message": "slow"}},
    }
    assert len(provider.seen) == 6


async def test_what_can_not_be_cured_is_not_tried_again(platform: Embedded, provider: Provider) -> None:
    provider.answers = [web.Response(status=401, text="no")]
    assert "401" in (await ask(platform, "async", url=provider.url))["message"]
    provider.answers = [web.Response(text="<html>", content_type="text/html")]
    assert "text/html" in (await ask(platform, "async", url=provider.url))["message"]
    assert len(provider.seen) == 2
    assert "This request" in (await ask(platform, "async", url="nowhere"))["message"]
    metadata = await ask(platform, "async", url="http://169.254.169.254/v1", retries=0)
    assert metadata["name"] == "AIGatewayError"
    assert "169.254.169.254" in metadata["message"]
    assert len(provider.seen) == 2


async def test_a_secret_is_filled_in_on_the_way(
    monkeypatch: pytest.MonkeyPatch, provider: Provider, tmp_path: Path
) -> None:
    monkeypatch.setenv("STEPWELL_SECRET_MODEL_KEY", "sk-by-reference")
    monkeypatch.setenv("STEPWELL_SECRETS_HOSTS", "MODEL_KEY=127.0.0.1")
    async with embedded(client, db=f"sqlite:///{tmp_path / 's.db'}", drain=1) as platform:
        for kind, header in (("openai", "authorization"), ("anthropic", "x-api-key")):
            await ask(platform, "async", url=provider.url, kind=kind, secret="MODEL_KEY")
            assert provider.sent(header)[0].endswith("sk-by-reference")
        await ask(platform, "async", url=provider.url, kind="gemini", secret="MODEL_KEY")
        assert provider.seen[-1][0].endswith("?key=sk-by-reference")


async def test_parallel_questions_are_parallel_requests(platform: Embedded, provider: Provider) -> None:
    assert await ask(platform, "many", url=provider.url) == [{"ok": True}] * 5
    assert sorted(body["n"] for _, _, body in provider.seen) == list(range(5))
    view = await platform.view_of(await platform.send("many", {"url": provider.url}))
    assert view is None or all(b"sk-1" not in (step.info or b"") for step in view.steps.values())


async def test_adapters_of_the_official_sdk_are_taken_too(provider: Provider) -> None:
    theirs = stepwell.Client("theirs")
    adapter = gemini.Adapter(auth_key="k", model="m", base_url=provider.url)

    @theirs.create_function(fn_id="f", trigger=stepwell.TriggerEvent("f"))
    async def f(ctx: stepwell.Context) -> Any:
        return await ctx.step.ai.infer("ask", adapter=adapter, body={"contents": []})

    async with embedded(theirs, db="memory:", drain=1) as running:
        [result] = await running.send_and_wait("f")
    assert result.output == {"ok": True}
    assert provider.seen[0][0] == "/models/m:generateContent?key=k"
