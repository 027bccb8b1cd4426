"""The real OpenAI and Anthropic SDKs, made durable, against a server that speaks their APIs."""

import asyncio
import hashlib
import json
from types import ModuleType
from typing import Any

import httpx
import openai
import pytest
from anthropic import Anthropic, AsyncAnthropic
from openai import AsyncOpenAI, OpenAI

import stepwell
from stepwell.transports import _stainless
from stepwell.transports.anthropic import durable_anthropic
from stepwell.transports.openai import durable_openai

ASK = "What is the weather in Oslo and Rome?"
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL: Any = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
CLAUDE_TOOL: Any = {"name": "weather", "input_schema": SCHEMA}
HELLO: list[Any] = [{"role": "user", "content": "Hello you"}]
CHAT = "/v1/chat/completions"


@pytest.fixture
def gpt(api: Any) -> AsyncOpenAI:
    return durable_openai(AsyncOpenAI(api_key="sk-test", base_url=f"{api.url}/v1"))


@pytest.fixture
def claude(api: Any) -> AsyncAnthropic:
    return durable_anthropic(AsyncAnthropic(api_key="sk-test", base_url=api.url))


@pytest.mark.parametrize(
    ("durable", "made"),
    [
        (durable_openai, OpenAI),
        (durable_openai, AsyncOpenAI),
        (durable_anthropic, Anthropic),
        (durable_anthropic, AsyncAnthropic),
    ],
)
async def test_the_copies_have_no_retries_and_keep_the_rest(durable: Any, made: Any) -> None:
    copy = durable(made(api_key="sk-test", base_url="http://127.0.0.1:1/v1", timeout=7, max_retries=3))
    assert type(copy) is made
    assert (copy.max_retries, copy.timeout, str(copy.base_url)) == (0, 7, "http://127.0.0.1:1/v1/")
    assert copy._client.follow_redirects
    assert getattr(copy, "_platform", "known") is not None, "found out now, not in a thread at the first request"


def test_only_a_client_of_the_sdk_has_a_durable_copy() -> None:
    with pytest.raises(TypeError, match="a client of the anthropic SDK is needed, not str"):
        durable_anthropic("sk-test")


class Older:
    """What the one-liners ask of a client, as releases of the SDKs have it whose clients are made with httpx."""

    def __init__(self, http_client: Any = None, max_retries: int = 2) -> None:
        self.http, self.max_retries = http_client, max_retries

    def with_options(self, **options: Any) -> Any:
        return type(self)(**options)


class OlderAsync(Older):
    async def __aenter__(self) -> Any:
        return self


async def test_an_sdk_whose_clients_are_made_with_httpx(run: Any, api: Any) -> None:
    sdk: Any = ModuleType("older")
    sdk.DefaultAsyncHttpxClient, sdk.DefaultHttpxClient = httpx.AsyncClient, httpx.Client
    later = _stainless.durable(OlderAsync(), sdk, OSError, fallback=None)
    now = _stainless.durable(Older(), sdk, OSError, fallback=None)

    async def f(ctx: stepwell.Context) -> Any:
        return [(await later.http.get(f"{api.url}/weather")).status_code, later.max_retries]

    def g(ctx: stepwell.ContextSync) -> Any:
        return [now.http.get(f"{api.url}/weather").status_code, now.max_retries]

    assert [(await run(f)).output, (await run(g)).output] == [[200, 0]] * 2
    assert api.stats.paths == {"/weather": 2}
    with pytest.raises(OSError, match="outside of a run") as caught:
        await later.http.get(api.url)
    assert isinstance(caught.value, stepwell.StepUsageError)


async def test_chat_with_tools(run: Any, api: Any, gpt: AsyncOpenAI, replay: bool) -> None:
    async def f(ctx: stepwell.Context) -> Any:
        messages: list[Any] = [{"role": "user", "content": ASK}]
        first = await gpt.chat.completions.create(model="sample", messages=messages, tools=[TOOL])
        calls: list[Any] = first.choices[0].message.tool_calls or []
        messages.append(first.choices[0].message)
        cities = [json.loads(call.function.arguments)["city"] for call in calls]
        found = await asyncio.gather(*(stepwell.fetch(f"{api.url}/weather", params={"city": c}) for c in cities))
        pairs = zip(calls, found, strict=True)
        messages += [{"role": "tool", "tool_call_id": call.id, "content": got.text} for call, got in pairs]
        return (await gpt.chat.completions.create(model="sample", messages=messages)).choices[0].message.content

    result = await run(f, always_replay=replay)
    assert result.status == "completed", result.output
    assert result.output.startswith("The weather: ")
    assert result.output.index("Oslo") < result.output.index("Rome")
    assert api.stats.paths == {CHAT: 2, "/weather": 2}
    assert len(set(api.keys(CHAT))) == 2
    assert None not in api.keys(CHAT)


async def test_parallel_first_chats_keep_their_answers(run: Any, api: Any, gpt: AsyncOpenAI, replay: bool) -> None:
    async def ask(number: int) -> str | None:
        messages: list[Any] = [{"role": "user", "content": f"Number {number}"}]
        answer = await gpt.chat.completions.create(model="sample", messages=messages)
        return answer.choices[0].message.content

    async def f(ctx: stepwell.Context) -> Any:
        return await asyncio.gather(*(ask(number) for number in range(5)))

    result = await run(f, always_replay=replay)
    assert result.output == [f"You said: Number {number}" for number in range(5)]
    assert api.stats.paths == {CHAT: 5}


async def test_openai_streams_the_record(run: Any, api: Any, gpt: AsyncOpenAI, replay: bool) -> None:
    async def f(ctx: stepwell.Context) -> Any:
        stream = await gpt.chat.completions.create(model="sample", messages=HELLO, stream=True)
        pieces = [chunk.choices[0].delta.content async for chunk in stream if chunk.choices]
        async with gpt.responses.stream(model="sample", input="Hello you") as text:
            final = await text.get_final_response()
        return [pieces, final.output_text]

    result = await run(f, always_replay=replay)
    pieces, final = result.output
    assert len(pieces) > 3
    assert "".join(piece or "" for piece in pieces) == final == "You said: Hello you"
    assert api.stats.paths == {CHAT: 1, "/v1/responses": 1}


async def test_claude_with_tools_and_streams(run: Any, api: Any, claude: AsyncAnthropic, replay: bool) -> None:
    async def f(ctx: stepwell.Context) -> Any:
        messages: list[Any] = [{"role": "user", "content": ASK}]
        first = await claude.messages.create(model="sample", max_tokens=99, messages=messages, tools=[CLAUDE_TOOL])
        calls = [block for block in first.content if block.type == "tool_use"]
        results = [{"type": "tool_result", "tool_use_id": call.id, "content": "clear"} for call in calls]
        messages += [{"role": "assistant", "content": first.content}, {"role": "user", "content": results}]
        second = await claude.messages.create(model="sample", max_tokens=99, messages=messages, tools=[CLAUDE_TOOL])
        async with claude.messages.stream(model="sample", max_tokens=99, messages=HELLO) as text:
            streamed = "".join([piece async for piece in text.text_stream])
        return ["".join(block.text for block in second.content if block.type == "text"), streamed]

    result = await run(f, always_replay=replay)
    assert result.output == ["The weather: clear; clear", "You said: Hello you"]
    assert api.stats.paths == {"/v1/messages": 3}


async def test_embeddings_and_a_file(run: Any, api: Any, gpt: AsyncOpenAI, replay: bool) -> None:
    content = bytes(range(256)) * 40

    async def f(ctx: stepwell.Context) -> Any:
        vectors = await gpt.embeddings.create(model="sample", input=["a", "b"])
        made: Any = await gpt.files.create(file=("all.bin", content), purpose="user_data")
        return [[len(item.embedding) for item in vectors.data], made.bytes, made.sha256]

    result = await run(f, always_replay=replay)
    assert result.output == [[8, 8], 10_240, hashlib.sha256(content).hexdigest()]
    assert api.stats.paths == {"/v1/embeddings": 1, "/v1/files": 1}


async def test_sync_clients_in_a_sync_function(run: Any, api: Any) -> None:
    gpt = durable_openai(OpenAI(api_key="sk-test", base_url=f"{api.url}/v1"))
    claude = durable_anthropic(Anthropic(api_key="sk-test", base_url=api.url))
    passes: list[int] = []

    def f(ctx: stepwell.ContextSync) -> Any:
        passes.append(1)
        chat = gpt.chat.completions.create(model="sample", messages=HELLO)
        stream = gpt.chat.completions.create(model="sample", messages=HELLO, stream=True)
        streamed = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
        message = claude.messages.create(model="sample", max_tokens=99, messages=HELLO)
        texts = [block.text for block in message.content if block.type == "text"]
        return [chat.choices[0].message.content, streamed, *texts]

    result = await run(f)
    assert result.output == ["You said: Hello you"] * 3
    assert api.stats.paths == {CHAT: 2, "/v1/messages": 1}
    assert len(passes) == 4


async def test_429_is_retried_by_the_platform_alone(run: Any, api: Any) -> None:
    gpt = durable_openai(AsyncOpenAI(api_key="sk-test", base_url=f"{api.url}/v1/busy"), retry=3)
    calls: list[int] = []

    async def f(ctx: stepwell.Context) -> Any:
        calls.append(1)
        answer = await gpt.chat.completions.create(model="sample", messages=HELLO)
        return answer.choices[0].message.content

    result = await run(f)
    assert result.output == "You said: Hello you"
    assert len(calls) == 1
    keys = api.keys("/v1/busy/chat/completions")
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert {headers["x-stainless-retry-count"] for _, headers in api.seen} == {"0"}


async def test_refusals_are_the_sdks_own_errors(run: Any, api: Any, refused: str) -> None:
    lost = durable_openai(AsyncOpenAI(api_key="sk-test", base_url=f"{refused}/v1"), retry=1)
    busy = durable_openai(AsyncOpenAI(api_key="sk-test", base_url=f"{api.url}/v1/busy"), retry=1)

    async def f(ctx: stepwell.Context) -> Any:
        with pytest.raises(openai.RateLimitError):
            await busy.chat.completions.create(model="sample", messages=HELLO)
        with pytest.raises(openai.APIConnectionError) as caught:
            await lost.chat.completions.create(model="sample", messages=HELLO)
        transport_error = caught.value.__cause__
        assert transport_error is not None
        return [type(transport_error).__name__, type(transport_error.__cause__).__name__]

    result = await run(f)
    assert result.output == ["ConnectError", "FetchError"]


async def test_what_can_not_be_durable_is_said_in_the_first_error(run: Any, api: Any) -> None:
    gpt = durable_openai(AsyncOpenAI(api_key="sk-test", base_url=f"{api.url}/v1"), fallback=None)
    claude = durable_anthropic(AsyncAnthropic(api_key="sk-test", base_url=api.url), fallback=None)
    asking: list[Any] = [
        lambda: gpt.chat.completions.create(model="sample", messages=HELLO),
        lambda: claude.messages.create(model="sample", max_tokens=99, messages=HELLO),
    ]

    for ask in asking:

        async def f(ctx: stepwell.Context, ask: Any = ask) -> Any:
            await ctx.step.run("ask", ask)

        result = await run(f, retries=3)
        assert (result.status, result.output["name"]) == ("failed", "StepUsageError")
        assert "made inside the step 'ask', where it can not be durable" in result.output["message"]


async def test_plain_inside_of_a_step_and_outside_of_a_run(run: Any, api: Any, gpt: AsyncOpenAI) -> None:
    async def ask() -> str | None:
        return (await gpt.chat.completions.create(model="sample", messages=HELLO)).choices[0].message.content

    async def f(ctx: stepwell.Context) -> Any:
        return [await ctx.step.run("ask", ask), await ask()]

    assert await ask() == "You said: Hello you"
    result = await run(f)
    await gpt.close()
    assert result.output == ["You said: Hello you"] * 2
    durable = [key is not None for key in api.keys(CHAT)]
    assert durable == [False, False, True]
