"""The stand-in AI provider, held to what the providers' own SDKs accept: they parse its answers strictly enough."""

import hashlib
import json
from typing import Any

import anthropic
import openai
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

ASK = "What is the weather in Oslo and Rome?"
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}
CHAT_TOOL: Any = {"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}
RESPONSES_TOOL: Any = {"type": "function", "name": "get_weather", "parameters": SCHEMA, "strict": False}
CLAUDE_TOOL: Any = {"name": "get_weather", "input_schema": SCHEMA}
CITIES = [{"place": "Oslo"}, {"place": "Rome"}]


@pytest.fixture
async def gpt(sample_api: str):
    async with AsyncOpenAI(api_key="sk-test", base_url=f"{sample_api}/v1", max_retries=0) as client:
        yield client


@pytest.fixture
async def claude(sample_api: str):
    async with AsyncAnthropic(api_key="sk-test", base_url=sample_api, max_retries=0) as client:
        yield client


async def test_chat_with_tools(gpt: AsyncOpenAI) -> None:
    messages: list[Any] = [{"role": "user", "content": ASK}]
    first = await gpt.chat.completions.create(model="sample", messages=messages, tools=[CHAT_TOOL])
    calls: list[Any] = first.choices[0].message.tool_calls or []
    assert first.choices[0].finish_reason == "tool_calls"
    assert [json.loads(call.function.arguments) for call in calls] == CITIES
    messages.append(first.choices[0].message)
    messages += [{"role": "tool", "tool_call_id": call.id, "content": f"{n} degrees"} for n, call in enumerate(calls)]
    second = await gpt.chat.completions.create(model="sample", messages=messages, tools=[CHAT_TOOL])
    assert second.choices[0].message.content == "The weather: 0 degrees; 1 degrees"


async def test_chat_streams_text_and_tool_calls(gpt: AsyncOpenAI) -> None:
    async with gpt.chat.completions.stream(model="sample", messages=[{"role": "user", "content": "Hello you"}]) as text:
        done = await text.get_final_completion()
    assert done.choices[0].message.content == "You said: Hello you"
    async with gpt.chat.completions.stream(
        model="sample",
        messages=[{"role": "user", "content": ASK}],
        tools=[CHAT_TOOL],
        stream_options={"include_usage": True},
    ) as calls:
        final = await calls.get_final_completion()
    tools: list[Any] = final.choices[0].message.tool_calls or []
    assert [json.loads(call.function.arguments) for call in tools] == CITIES
    assert final.usage is not None
    assert final.usage.total_tokens > 0


async def test_responses_with_tools(gpt: AsyncOpenAI) -> None:
    items: list[Any] = [{"role": "user", "content": ASK}]
    first = await gpt.responses.create(model="sample", input=items, tools=[RESPONSES_TOOL])
    calls: list[Any] = [item for item in first.output if item.type == "function_call"]
    assert [json.loads(call.arguments) for call in calls] == CITIES
    items += calls
    items += [{"type": "function_call_output", "call_id": call.call_id, "output": "clear"} for call in calls]
    second = await gpt.responses.create(model="sample", input=items, tools=[RESPONSES_TOOL])
    assert second.output_text == "The weather: clear; clear"


async def test_responses_stream(gpt: AsyncOpenAI) -> None:
    async with gpt.responses.stream(model="sample", input="Hello you") as text:
        seen = [event.delta async for event in text if event.type == "response.output_text.delta"]
        final = await text.get_final_response()
    assert "".join(seen) == final.output_text == "You said: Hello you"
    async with gpt.responses.stream(model="sample", input=ASK, tools=[RESPONSES_TOOL]) as calls:
        done = await calls.get_final_response()
    assert [json.loads(item.arguments) for item in done.output if item.type == "function_call"] == CITIES


async def test_messages_with_tools(claude: AsyncAnthropic) -> None:
    messages: list[Any] = [{"role": "user", "content": ASK}]
    first = await claude.messages.create(model="sample", max_tokens=99, messages=messages, tools=[CLAUDE_TOOL])
    calls = [block for block in first.content if block.type == "tool_use"]
    assert first.stop_reason == "tool_use"
    assert [call.input for call in calls] == CITIES
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "clear"} for call in calls]
    messages += [{"role": "assistant", "content": first.content}, {"role": "user", "content": results}]
    second = await claude.messages.create(model="sample", max_tokens=99, messages=messages, tools=[CLAUDE_TOOL])
    assert [block.text for block in second.content if block.type == "text"] == ["The weather: clear; clear"]


async def test_messages_stream(claude: AsyncAnthropic) -> None:
    hello: list[Any] = [{"role": "user", "content": [{"type": "text", "text": "Hello you"}]}]
    async with claude.messages.stream(model="sample", max_tokens=99, messages=hello) as text:
        assert "".join([piece async for piece in text.text_stream]) == "You said: Hello you"
    ask: list[Any] = [{"role": "user", "content": ASK}]
    async with claude.messages.stream(model="sample", max_tokens=99, messages=ask, tools=[CLAUDE_TOOL]) as calls:
        final = await calls.get_final_message()
    assert [block.input for block in final.content if block.type == "tool_use"] == CITIES


async def test_embeddings_in_both_encodings(gpt: AsyncOpenAI) -> None:
    packed = await gpt.embeddings.create(model="sample", input=["a", "b"])
    plain = await gpt.embeddings.create(model="sample", input="b", encoding_format="float")
    assert [len(item.embedding) for item in packed.data] == [8, 8]
    assert packed.data[1].embedding == pytest.approx(plain.data[0].embedding)


async def test_a_file_arrives_whole(gpt: AsyncOpenAI) -> None:
    content = bytes(range(256)) * 40
    made: Any = await gpt.files.create(file=("all.bin", content), purpose="user_data")
    assert (made.bytes, made.filename, made.purpose) == (10_240, "all.bin", "user_data")
    assert made.sha256 == hashlib.sha256(content).hexdigest()


async def test_errors_have_the_shape_that_the_sdks_know(gpt: AsyncOpenAI, claude: AsyncAnthropic) -> None:
    with pytest.raises(openai.BadRequestError, match="input must be"):
        await gpt.responses.create(model="sample", input=None)  # pyright: ignore[reportArgumentType]
    with pytest.raises(anthropic.BadRequestError, match="max_tokens are required"):
        await claude.post("/v1/messages", cast_to=object, body={"model": "sample"})
