"""Starts the run of ``stepwell fetch``, follows it to its end and writes out the answer."""

import asyncio
import sys
from typing import cast

import msgspec

from stepwell.cli.errors import CliError
from stepwell.cli.platform import Platform
from stepwell.cli.progress import Progress
from stepwell.cli.resume import Bookmark
from stepwell.wire.builtins import FETCH_EVENT, FETCH_FUNCTION
from stepwell.wire.constants import MAX_FETCH_BODY
from stepwell.wire.encodings import CannotDecode, decode
from stepwell.wire.fetch import FetchResponse
from stepwell.wire.fetch_headers import find_all
from stepwell.wire.gateway import parse_memo

Json = dict[str, object]
LOOK_S = 0.5
"""How often the progress is looked at, seconds; the end is seen at once."""
_ENDED = ("Completed", "Failed", "Cancelled", "Skipped")


class RequestFailed(CliError):
    """The run is over and there is no answer: going on with it is no use."""


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


async def deliver(platform: Platform, steps: list[Json], *, include: bool) -> int:
    """Write the answer to stdout. 0, or 1 when its status is 400 or above."""
    response, ref = parse_memo(msgspec.json.encode({"data": _outputs(steps)[-1]}))
    raw = response.body if ref is None else await platform.body(ref)
    try:
        body = decode(raw, find_all(response.headers, "content-encoding"), MAX_FETCH_BODY)
    except CannotDecode as error:
        raise CliError(f"The answer of status {response.status} arrived, but {error}.") from error
    _write((_head(response) if include else b"") + body)
    if response.status >= 400:
        print(f"The server answered {response.status}.", file=sys.stderr)
        return 1
    return 0


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


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
