"""Example 3: AI clients made durable by handing them our HTTP client. Their code, and ours, knows nothing of steps."""

import asyncio
import json
from typing import Any

import httpx2
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

import stepwell
from example_client import SAMPLE_API, client
from stepwell.transports.httpx2 import AsyncDurableTransport

# Inside a function every request of this client is a durable step; outside it is a plain one. The AI clients' own
# retries are off: there is one layer of retries, and that is the platform's.
http = httpx2.AsyncClient(transport=AsyncDurableTransport())
openai = AsyncOpenAI(api_key="sample", base_url=f"{SAMPLE_API}/v1", http_client=http, max_retries=0)
anthropic = AsyncAnthropic(api_key="sample", base_url=SAMPLE_API, http_client=http, max_retries=0)

TOOL: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The current weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


async def weather(city: str) -> str:
    """The tool: a durable request as well, because ``stepwell.fetch`` finds the running function by itself."""
    response = await stepwell.fetch(f"{SAMPLE_API}/weather", params={"city": city})
    return response.raise_for_status().text


async def ask_openai(question: str) -> str:
    """A conversation with tool calls, written as it would be without Stepwell."""
    messages: list[Any] = [{"role": "user", "content": question}]
    while True:
        completion = await openai.chat.completions.create(model="sample", messages=messages, tools=[TOOL])
        message: Any = completion.choices[0].message
        if not message.tool_calls:
            return message.content or ""
        messages.append(message)
        cities = [json.loads(call.function.arguments)["city"] for call in message.tool_calls]
        found = await asyncio.gather(*(weather(city) for city in cities))
        messages += [
            {"role": "tool", "tool_call_id": call.id, "content": text}
            for call, text in zip(message.tool_calls, found, strict=True)
        ]


async def ask_anthropic(question: str) -> str:
    """One question, one answer."""
    message = await anthropic.messages.create(
        model="sample", max_tokens=1024, messages=[{"role": "user", "content": question}]
    )
    return "".join(block.text for block in message.content if block.type == "text")


@client.create_function(fn_id="weather-function", trigger=stepwell.TriggerEvent(event="weather.asked"))
async def weather_function(ctx: stepwell.Context) -> dict[str, str]:
    """Event data: ``question``, optional."""
    question = str(ctx.event.data.get("question", "What is the weather in Oslo and Rome?"))
    answer = await ask_openai(question)
    summary = await ask_anthropic(f"Say this shorter: {answer}")
    return {"answer": answer, "summary": summary}
