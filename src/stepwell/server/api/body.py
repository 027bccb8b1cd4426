"""Reading a request body: bounded in size and in time; and the JSON of it."""

import asyncio
from typing import TypeVar, cast

from starlette.types import Receive, Scope

from stepwell.server.api.problems import Problem
from stepwell.wire.jsons import decode_as

T = TypeVar("T")

READ_TIMEOUT_S = 60.0
"""How long a client may take to send its body, seconds."""


class ClientGone(Exception):
    """The client hung up before its request was whole; nobody is there to read an answer."""


def header(scope: Scope, name: str) -> str | None:
    """One request header, by its lower-case name."""
    wanted = name.encode()
    for key, value in cast("list[tuple[bytes, bytes]]", scope["headers"]):
        if key == wanted:
            return value.decode("latin-1")
    return None


async def read_body(scope: Scope, receive: Receive, limit: int, timeout_s: float = READ_TIMEOUT_S) -> bytes:
    """The whole body. Raises :class:`Problem` 413 above ``limit`` bytes, 408 when it takes too long."""
    announced = header(scope, "content-length")
    if announced is not None and announced.isdigit() and int(announced) > limit:
        raise _too_large(limit)
    try:
        async with asyncio.timeout(timeout_s):
            return await _collect(receive, limit)
    except TimeoutError:
        raise Problem(408, f"The request body did not arrive within {timeout_s:g} seconds.") from None


def parse(body: bytes, kind: type[T], what: str, way_out: str = "") -> T:
    """The JSON of a body. Raises :class:`Problem` 400 with a sentence: ``what`` (``The pause is``) not understood, and why."""
    try:
        return decode_as(body, kind)
    except ValueError as problem:
        raise Problem(400, f"{what} not understood: {problem}{way_out}.") from None


async def _collect(receive: Receive, limit: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk = cast("bytes", message.get("body", b""))
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(limit: int) -> Problem:
    return Problem(413, f"The request body is larger than the {limit >> 20} MiB that are allowed; send less at once.")
