"""Starts the run of ``stepwell fetch``, follows it to its end and writes out the answer."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import httpx2
import msgspec

from stepwell.cli.errors import CliError
from stepwell.cli.platform import Platform
from stepwell.cli.progress import Bar, Progress
from stepwell.cli.resume import Bookmark
from stepwell.sdk.streamed import AsyncBody
from stepwell.wire.builtins import FETCH_EVENT, FETCH_FUNCTION
from stepwell.wire.constants import MAX_FETCH_BODY
from stepwell.wire.encodings import CannotDecode, decode
from stepwell.wire.fetch import FetchResponse
from stepwell.wire.fetch_headers import find_all
from stepwell.wire.memos import parse_memo

Json = dict[str, object]
LOOK_S = 0.5
"""How often the progress is looked at, seconds; the end is seen at once."""
_ENDED = ("Completed", "Failed", "Cancelled", "Skipped")


class RequestFailed(CliError):
    """The run is over and there is no answer: going on with it is no use."""


class NotDelivered(CliError):
    """There is an answer, and it could not be written out: one can go on with the run."""


async def start(platform: Platform, request: Json, bookmark: Bookmark, progress: Progress) -> str:
    """The run of the request: the one that is under way, or a new one."""
    found = [] if bookmark.fresh else await platform.runs_of(bookmark.event_id)
    if not found:
        bookmark.keep()
        event_id = await platform.send({"name": FETCH_EVENT, "data": request}, bookmark.seed)
        found = await platform.runs_of(event_id)
    else:
        progress.say("This request is under way already; going on with it (--new sends it anew).")
    if not found:
        bookmark.drop()
        raise CliError(f"The platform at {platform.address} does not host {FETCH_FUNCTION}; `stepwell dev` does.")
    run_id = str(found[0]["run_id"])
    progress.say(f"{request['method']} {_shown(str(request['url']))}  run {run_id}")
    return run_id


async def follow(platform: Platform, run_id: str, progress: Progress) -> list[Json]:
    """Wait for the end of the run, and tell about it; its steps. Raises RequestFailed."""
    while True:
        run, steps = await platform.steps(run_id, wait=LOOK_S, outputs=False)
        progress.look(run, steps)
        if run["status"] in _ENDED:
            break
        await asyncio.sleep(0.02)
    run, steps = await platform.steps(run_id)
    if run["status"] == "Cancelled":
        raise RequestFailed(f"The run {run_id} was cancelled.")
    if not _outputs(steps):
        raise RequestFailed(_reason(run, steps))
    return steps


async def deliver(platform: Platform, steps: list[Json], *, include: bool, file: str | None) -> int:
    """Write the answer to ``file``, or stdout. 0, or 1 when its status is 400 or above."""
    response = await write(platform, _outputs(steps)[-1], file, sys.stdout.buffer, include=include)
    if response.status >= 400:
        print(f"The server answered {response.status}.", file=sys.stderr)
        return 1
    return 0


async def write(
    platform: Platform, output: object, file: str | None, out: BinaryIO, *, include: bool = False
) -> FetchResponse:
    """Write the body in a step's ``output`` to ``file``, or ``out`` where there is none; the response. Raises CliError."""
    response, ref = parse_memo(msgspec.json.encode({"data": output}))
    parts = await _parts(platform, response, ref, bar := Bar(response.stored or 0, shown=file is not None))
    with _opened(file, out) as to, bar:
        to.write(_head(response) if include else b"")
        async with aclosing(parts):
            async for part in parts:
                to.write(part)
        to.flush()
    return response


@contextmanager
def _opened(file: str | None, otherwise: BinaryIO) -> Generator[BinaryIO]:
    if file is None:
        yield otherwise
        return
    try:
        with Path(file).open("wb") as out:
            yield out
    except OSError as error:
        raise NotDelivered(f"{file} can not be written: {error.strerror}.") from error


async def _parts(platform: Platform, response: FetchResponse, ref: str | None, bar: Bar) -> AsyncGenerator[bytes]:
    """The decoded body: a large one part by part. Raises RequestFailed where it can not be decoded, for a small one at once."""
    codings = find_all(response.headers, "content-encoding")
    try:
        small = decode(response.body, codings, MAX_FETCH_BODY)
    except CannotDecode as error:
        raise RequestFailed(f"The answer of status {response.status} arrived, but {error}.") from error
    return _given(small) if ref is None else _decoded(_whole(platform, ref, response.stored or 0, bar), codings)


async def _given(data: bytes) -> AsyncGenerator[bytes]:
    yield data


async def _whole(platform: Platform, ref: str, size: int, bar: Bar) -> AsyncGenerator[bytes]:
    """The body as it was received. Raises NotDelivered where some of it is missing."""
    async with aclosing(platform.body(ref)) as parts:
        async for part in parts:
            size -= len(part)
            bar.update(len(part))
            yield part
    if size > 0:
        raise NotDelivered(f"The last {size} bytes of the response's body are missing.")


async def _decoded(parts: AsyncGenerator[bytes], codings: list[str]) -> AsyncGenerator[bytes]:
    headers = [("content-encoding", coding) for coding in codings]
    response = httpx2.Response(200, headers=headers, stream=AsyncBody(lambda: parts))
    try:
        async with aclosing(parts):  # by itself it is not closed when nobody reads on
            async for part in response.aiter_bytes():
                yield part
    except httpx2.DecodingError as error:
        raise RequestFailed("The response's body arrived, but it is damaged: it can not be decoded.") from error


def _head(response: FetchResponse) -> bytes:
    lines = [f"HTTP/{response.http_version} {response.status}"]
    lines += [f"{name}: {value}" for name, value in response.headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _outputs(steps: list[Json]) -> list[object]:
    return [step["output"] for step in steps if step["op"] == "Gateway" and step.get("output") is not None]


def _reason(run: Json, steps: list[Json]) -> str:
    for error in [*(step.get("error") for step in steps), run.get("output")]:
        if isinstance(error, dict):
            return str(cast("Json", error).get("message") or "The request failed.")
    return "That run made no request." if run["status"] == "Completed" else "The request failed."


def _shown(url: str) -> str:
    """The URL without its query, which may hold secrets, and without credentials."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2].split('?')[0]}{slash}{path.split('?')[0].split('#')[0]}"
