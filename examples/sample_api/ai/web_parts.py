"""What the endpoints share: reading JSON, the API key check, and server-sent events."""

import asyncio
import json
from collections.abc import Iterable
from typing import Any

from aiohttp import web

Event = tuple[str | None, Any]
"""The event's name (None: no name is sent) and its data (a string is sent as it is)."""

CHUNK_PAUSE_S = 0.002


def has_key(request: web.Request) -> bool:
    """Whether any credentials came with the request; which ones is not checked."""
    return bool(request.headers.get("x-api-key") or request.headers.get("authorization", "").partition(" ")[2])


async def read_json(request: web.Request) -> dict[str, Any] | None:
    """The body as a JSON object, or None when it is something else."""
    try:
        body = json.loads(await request.read())
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def encode(event: Event) -> bytes:
    """One server-sent event."""
    name, data = event
    text = data if isinstance(data, str) else json.dumps(data)
    return ((f"event: {name}\n" if name else "") + f"data: {text}\n\n").encode()


async def stream(request: web.Request, events: Iterable[Event]) -> web.StreamResponse:
    """Send the events with a small pause after each, as a model that is thinking would."""
    headers = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    for event in events:
        await response.write(encode(event))
        await asyncio.sleep(CHUNK_PAUSE_S)
    await response.write_eof()
    return response


def text_of(content: Any) -> str:
    """The text of a message's content: a string, or the text parts of a list."""
    if isinstance(content, str):
        return content
    parts = [part for part in content or () if isinstance(part, dict)]
    return " ".join(part["text"] for part in parts if isinstance(part.get("text"), str))
