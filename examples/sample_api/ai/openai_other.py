"""The small endpoints of the OpenAI API: embeddings, file upload (multipart), the list of models."""

import base64
import hashlib
import struct
import time
from typing import Any

from aiohttp import web
from aiohttp.web_request import FileField

from examples.sample_api.ai.brain import new_id, tokens
from examples.sample_api.ai.openai_chat import failure
from examples.sample_api.ai.web_parts import has_key, read_json

DIMENSIONS = 8


def vector(text: str) -> list[float]:
    """Eight numbers between 0 and 1 that stand for the text: always the same ones."""
    return [byte / 256 for byte in hashlib.sha256(text.encode()).digest()[:DIMENSIONS]]


def embedding(index: int, text: str, encoding: str) -> dict[str, Any]:
    """One embedding; the SDK asks for base64 unless it is told otherwise."""
    numbers = vector(text)
    packed = base64.b64encode(struct.pack(f"<{DIMENSIONS}f", *numbers)).decode()
    return {"object": "embedding", "index": index, "embedding": packed if encoding == "base64" else numbers}


async def embeddings(request: web.Request) -> web.Response:
    """Embed a text or a list of texts."""
    body = await read_json(request)
    if not has_key(request):
        return failure(401, "You didn't provide an API key.")
    if body is None or not isinstance(body.get("input"), str | list):
        return failure(400, "input must be a string or a list of strings")
    texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
    encoding = body.get("encoding_format", "float")
    used = sum(map(tokens, texts))
    return web.json_response(
        {
            "object": "list",
            "model": body.get("model", "sample"),
            "data": [embedding(index, text, encoding) for index, text in enumerate(texts)],
            "usage": {"prompt_tokens": used, "total_tokens": used},
        }
    )


async def upload(request: web.Request) -> web.Response:
    """Take a file; its bytes are counted and hashed, and not kept."""
    if not has_key(request):
        return failure(401, "You didn't provide an API key.")
    if request.content_type != "multipart/form-data":
        return failure(400, "a multipart form is needed")
    form = await request.post()
    file, purpose = form.get("file"), form.get("purpose")
    if not isinstance(file, FileField) or not isinstance(purpose, str):
        return failure(400, "file and purpose are required")
    content = file.file.read()
    made = {"object": "file", "created_at": int(time.time()), "status": "processed", "purpose": purpose}
    made |= {"id": new_id("file-"), "bytes": len(content), "filename": file.filename}
    return web.json_response(made | {"sha256": hashlib.sha256(content).hexdigest()})


async def models(_request: web.Request) -> web.Response:
    """The one model that there is."""
    sample = {"id": "sample", "object": "model", "created": 0, "owned_by": "stepwell", "type": "model"}
    return web.json_response({"object": "list", "data": [sample], "has_more": False})
