"""``POST /v1/chat/completions`` of the OpenAI API: text, tool calls, streaming."""

import json
import time
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from examples.sample_api.ai.brain import Call, Reply, Talk, Tool, new_id, pieces, think, tokens
from examples.sample_api.ai.web_parts import Event, has_key, read_json, stream, text_of


def failure(status: int, message: str) -> web.Response:
    """An error in this API's shape."""
    kind = "invalid_request_error"
    return web.json_response({"error": {"message": message, "type": kind, "param": None, "code": None}}, status=status)


def talk_of(body: dict[str, Any]) -> Talk:
    """The last prompt, the tools, and the tool results that came after the prompt."""
    prompt, results = "", list[str]()
    for message in body["messages"]:
        if message["role"] == "user":
            prompt, results = text_of(message["content"]), []
        elif message["role"] == "tool":
            results.append(text_of(message["content"]))
    functions = [tool["function"] for tool in body.get("tools", ()) if tool["type"] == "function"]
    tools = tuple(Tool(function["name"], function.get("parameters", {})) for function in functions)
    return Talk(prompt, tools, tuple(results))


def call_json(call: Call) -> dict[str, Any]:
    """A tool call as this API writes it: the arguments are a JSON string."""
    function = {"name": call.name, "arguments": json.dumps(call.arguments)}
    return {"id": call.id, "type": "function", "function": function}


def usage_of(talk: Talk, reply: Reply) -> dict[str, int]:
    """What the answer cost."""
    asked, answered = tokens(talk.prompt), tokens(reply.text)
    return {"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered}


def head(body: dict[str, Any], kind: str) -> dict[str, Any]:
    """The fields that an answer and each of its chunks begin with."""
    return {
        "id": new_id("chatcmpl-"),
        "object": kind,
        "created": int(time.time()),
        "model": body.get("model", "sample"),
    }


def completion(body: dict[str, Any], talk: Talk, reply: Reply) -> dict[str, Any]:
    """The whole answer."""
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None, "refusal": None}
    if reply.calls:
        message["tool_calls"] = [call_json(call) for call in reply.calls]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish(reply)}
    return head(body, "chat.completion") | {"choices": [choice], "usage": usage_of(talk, reply)}


def finish(reply: Reply) -> str:
    """Why the answer ended."""
    return "tool_calls" if reply.calls else "stop"


def deltas(reply: Reply) -> Iterator[dict[str, Any]]:
    """The answer's message in pieces."""
    yield {"role": "assistant", "content": None if reply.calls else ""}
    for index, call in enumerate(reply.calls):
        whole = call_json(call)
        text = whole["function"]["arguments"]
        yield {"tool_calls": [whole | {"index": index, "function": {"name": call.name, "arguments": ""}}]}
        for part in (text[: len(text) // 2], text[len(text) // 2 :]):
            yield {"tool_calls": [{"index": index, "function": {"arguments": part}}]}
    yield from ({"content": piece} for piece in (() if reply.calls else pieces(reply.text)))


def events(body: dict[str, Any], talk: Talk, reply: Reply) -> Iterator[Event]:
    """The same answer as a stream of chunks."""
    base = head(body, "chat.completion.chunk")
    for delta in deltas(reply):
        yield None, base | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield None, base | {"choices": [{"index": 0, "delta": {}, "finish_reason": finish(reply)}]}
    if (body.get("stream_options") or {}).get("include_usage"):
        yield None, base | {"choices": [], "usage": usage_of(talk, reply)}
    yield None, "[DONE]"


async def completions(request: web.Request) -> web.StreamResponse:
    """Answer a chat, streamed when ``stream`` is set."""
    body = await read_json(request)
    if not has_key(request):
        return failure(401, "You didn't provide an API key.")
    if body is None or not isinstance(body.get("messages"), list):
        return failure(400, "messages must be a list")
    talk = talk_of(body)
    reply = think(talk, id_prefix="call_")
    if body.get("stream"):
        return await stream(request, events(body, talk, reply))
    return web.json_response(completion(body, talk, reply))
