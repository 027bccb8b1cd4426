"""``POST /v1/messages`` of the Anthropic API: text, tool use, streaming."""

import json
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from examples.sample_api.ai.brain import Reply, Talk, Tool, new_id, pieces, think, tokens
from examples.sample_api.ai.web_parts import Event, has_key, read_json, stream, text_of


def failure(status: int, kind: str, message: str) -> web.Response:
    """An error in this API's shape."""
    return web.json_response({"type": "error", "error": {"type": kind, "message": message}}, status=status)


def talk_of(body: dict[str, Any]) -> Talk:
    """The last prompt, the tools, and the tool results that came after the prompt."""
    prompt, results = "", list[str]()
    for message in body["messages"]:
        if message["role"] != "user":
            continue
        content = message["content"]
        blocks = [] if isinstance(content, str) else [block for block in content if block["type"] == "tool_result"]
        if blocks:
            results += [text_of(block.get("content", "")) for block in blocks]
        else:
            prompt, results = text_of(content), []
    tools = tuple(Tool(tool["name"], tool.get("input_schema", {})) for tool in body.get("tools", ()))
    return Talk(prompt, tools, tuple(results))


def blocks_of(reply: Reply) -> list[dict[str, Any]]:
    """The content blocks of the answer."""
    if not reply.calls:
        return [{"type": "text", "text": reply.text}]
    return [{"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments} for call in reply.calls]


def message_of(body: dict[str, Any], talk: Talk, reply: Reply) -> dict[str, Any]:
    """The whole answer."""
    return {
        "id": new_id("msg_"),
        "type": "message",
        "role": "assistant",
        "model": body.get("model", "sample"),
        "content": blocks_of(reply),
        "stop_reason": "tool_use" if reply.calls else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": tokens(talk.prompt), "output_tokens": tokens(reply.text)},
    }


def block_events(index: int, block: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One content block: its empty start, its pieces, its end."""
    if block["type"] == "text":
        empty: dict[str, Any] = {"type": "text", "text": ""}
        deltas = [{"type": "text_delta", "text": piece} for piece in pieces(block["text"])]
    else:
        empty = block | {"input": {}}
        text = json.dumps(block["input"])
        parts = (text[: len(text) // 2], text[len(text) // 2 :])
        deltas = [{"type": "input_json_delta", "partial_json": part} for part in parts]
    yield {"type": "content_block_start", "index": index, "content_block": empty}
    yield from ({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas)
    yield {"type": "content_block_stop", "index": index}


def events(message: dict[str, Any]) -> Iterator[Event]:
    """The same answer as a stream of named events."""
    begun = message | {"content": [], "stop_reason": None, "usage": message["usage"] | {"output_tokens": 1}}
    yield "message_start", {"type": "message_start", "message": begun}
    yield "ping", {"type": "ping"}
    for index, block in enumerate(message["content"]):
        yield from ((event["type"], event) for event in block_events(index, block))
    delta = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    usage = {"output_tokens": message["usage"]["output_tokens"]}
    yield "message_delta", {"type": "message_delta", "delta": delta, "usage": usage}
    yield "message_stop", {"type": "message_stop"}


async def messages(request: web.Request) -> web.StreamResponse:
    """Answer a message, streamed when ``stream`` is set."""
    body = await read_json(request)
    if not has_key(request):
        return failure(401, "authentication_error", "x-api-key header is required")
    if body is None or not isinstance(body.get("messages"), list) or "max_tokens" not in body:
        return failure(400, "invalid_request_error", "messages and max_tokens are required")
    talk = talk_of(body)
    message = message_of(body, talk, think(talk, id_prefix="toolu_"))
    return await stream(request, events(message)) if body.get("stream") else web.json_response(message)
