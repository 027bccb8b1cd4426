"""``POST /v1/responses`` of the OpenAI API: text, function calls, streaming."""

import itertools
import json
import time
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from examples.sample_api.ai.brain import Reply, Talk, Tool, new_id, pieces, think, tokens
from examples.sample_api.ai.openai_chat import failure
from examples.sample_api.ai.web_parts import Event, has_key, read_json, stream, text_of


def talk_of(body: dict[str, Any]) -> Talk:
    """The last prompt, the tools, and the outputs of function calls that came after the prompt."""
    items = body["input"]
    if isinstance(items, str):
        items = [{"role": "user", "content": items}]
    prompt, results = "", list[str]()
    for item in items:
        if item.get("role") == "user":
            prompt, results = text_of(item["content"]), []
        elif item.get("type") == "function_call_output":
            results.append(text_of(item["output"]))
    functions = [tool for tool in body.get("tools", ()) if tool["type"] == "function"]
    return Talk(prompt, tuple(Tool(tool["name"], tool.get("parameters") or {}) for tool in functions), tuple(results))


def output_of(reply: Reply) -> list[dict[str, Any]]:
    """The output items of the answer."""
    if not reply.calls:
        content = [{"type": "output_text", "text": reply.text, "annotations": []}]
        return [
            {"type": "message", "id": new_id("msg_"), "status": "completed", "role": "assistant", "content": content}
        ]
    return [
        {
            "type": "function_call",
            "id": new_id("fc_"),
            "call_id": call.id,
            "name": call.name,
            "arguments": json.dumps(call.arguments),
            "status": "completed",
        }
        for call in reply.calls
    ]


def response_of(body: dict[str, Any], talk: Talk, reply: Reply) -> dict[str, Any]:
    """The whole answer."""
    asked, answered = tokens(talk.prompt), tokens(reply.text)
    usage = {
        "input_tokens": asked,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": answered,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": asked + answered,
    }
    fixed = {"object": "response", "status": "completed", "error": None, "incomplete_details": None, "metadata": {}}
    fixed |= {
        "instructions": None,
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "top_p": 1.0,
        "tool_choice": "auto",
    }
    return {
        "id": new_id("resp_"),
        "created_at": int(time.time()),
        "model": body.get("model", "sample"),
        "output": output_of(reply),
        "tools": body.get("tools", []),
        "usage": usage,
        **fixed,
    }


def text_events(index: int, item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The text of a message item, piece by piece."""
    at = {"item_id": item["id"], "output_index": index, "content_index": 0}
    part = item["content"][0]
    yield at | {"type": "response.content_part.added", "part": part | {"text": ""}}
    for piece in pieces(part["text"]):
        yield at | {"type": "response.output_text.delta", "delta": piece, "logprobs": []}
    yield at | {"type": "response.output_text.done", "text": part["text"], "logprobs": []}
    yield at | {"type": "response.content_part.done", "part": part}


def call_events(index: int, item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The arguments of a function call item."""
    at = {"item_id": item["id"], "output_index": index}
    yield at | {"type": "response.function_call_arguments.delta", "delta": item["arguments"]}
    done = {"type": "response.function_call_arguments.done", "arguments": item["arguments"], "name": item["name"]}
    yield at | done


def item_events(index: int, item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One output item: its empty start, its pieces, its end."""
    message = item["type"] == "message"
    empty = item | {"status": "in_progress"} | ({"content": []} if message else {"arguments": ""})
    yield {"type": "response.output_item.added", "output_index": index, "item": empty}
    yield from text_events(index, item) if message else call_events(index, item)
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def plain_events(response: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The answer's events, not yet numbered."""
    begun = response | {"status": "in_progress", "output": [], "usage": None}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(response["output"]):
        yield from item_events(index, item)
    yield {"type": "response.completed", "response": response}


def events(response: dict[str, Any]) -> Iterator[Event]:
    """The same answer as a stream of numbered events."""
    numbers = itertools.count()
    return ((event["type"], event | {"sequence_number": next(numbers)}) for event in plain_events(response))


async def responses(request: web.Request) -> web.StreamResponse:
    """Answer, streamed when ``stream`` is set."""
    body = await read_json(request)
    if not has_key(request):
        return failure(401, "You didn't provide an API key.")
    if body is None or not isinstance(body.get("input"), str | list):
        return failure(400, "input must be a string or a list")
    talk = talk_of(body)
    response = response_of(body, talk, think(talk, id_prefix="call_"))
    return await stream(request, events(response)) if body.get("stream") else web.json_response(response)
