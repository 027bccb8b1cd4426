"""The plain part of the sample API: text files, and failures and delays on request."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from examples.sample_api import ai
from examples.sample_api.stats import STATS, Stats, count
from examples.sample_api.texts import text_of


@dataclass
class Memory:
    """What the endpoints with a memory remember until ``/reset``."""

    delay_ms: int = 0
    tries: Counter[str] = field(default_factory=Counter[str])
    charges: dict[str, dict[str, object]] = field(default_factory=dict[str, dict[str, object]])


PAGE = Path(__file__).with_name("live.html")
MEMORY = web.AppKey("memory", Memory)
routes = web.RouteTableDef()


def number(request: web.Request, name: str, default: int) -> int:
    """A whole number from the query; a bad one is answered with 400."""
    try:
        return int(request.query.get(name, default))
    except ValueError as error:
        raise web.HTTPBadRequest(text=f"{name} must be a whole number") from error


def nth_try(request: web.Request) -> int:
    """How often this was asked for, this time included: by ``key``, else Idempotency-Key, else the path."""
    key = request.query.get("key") or request.headers.get("Idempotency-Key") or ""
    tries = request.app[MEMORY].tries
    tries[request.path + key] += 1
    return tries[request.path + key]


@routes.get("/files/{name}")
async def files(request: web.Request) -> web.Response:
    """A text file; the same name has the same text. ``delay_ms`` makes it slow; names with "missing" are not there."""
    await asyncio.sleep(number(request, "delay_ms", request.app[MEMORY].delay_ms) / 1000)
    name = request.match_info["name"]
    if "missing" in name:
        raise web.HTTPNotFound(text=f"there is no file {name}")
    return web.Response(text=text_of(name))


@routes.get("/flaky/{failures}")
async def flaky(request: web.Request) -> web.Response:
    """503 for the first ``failures`` tries, then 200."""
    failures, tried = int(request.match_info["failures"]), nth_try(request)
    if tried <= failures:
        raise web.HTTPServiceUnavailable(text=f"failure {tried} of {failures}")
    return web.json_response({"ok": True, "tries": tried})


@routes.get("/rate-limited")
async def rate_limited(request: web.Request) -> web.Response:
    """429 with ``Retry-After: after`` (seconds, default 1) for the first ``times`` tries (default 1), then 200."""
    tried = nth_try(request)
    if tried <= number(request, "times", 1):
        raise web.HTTPTooManyRequests(headers={"Retry-After": str(number(request, "after", 1))}, text="slow down")
    return web.json_response({"ok": True, "tries": tried})


@routes.get("/slow")
async def slow(request: web.Request) -> web.Response:
    """Answers after ``ms`` (default 1000)."""
    wait = number(request, "ms", 1000)
    await asyncio.sleep(wait / 1000)
    return web.json_response({"ok": True, "ms": wait})


@routes.post("/charge")
async def charge(request: web.Request) -> web.Response:
    """A charge: a second request with the same Idempotency-Key gets the first one's answer, and charges nothing."""
    key = request.headers.get("Idempotency-Key", "")
    charges = request.app[MEMORY].charges
    if key and key in charges:
        return web.json_response(charges[key] | {"replayed": True})
    made: dict[str, object] = {"id": f"ch_{len(charges) + 1}", "key": key, "body": await request.text()}
    charges[key or str(made["id"])] = made
    return web.json_response(made | {"replayed": False}, status=201)


@routes.get("/charges")
async def charged(request: web.Request) -> web.Response:
    """Every charge that was really made."""
    return web.json_response(list(request.app[MEMORY].charges.values()))


@routes.get("/weather")
async def weather(request: web.Request) -> web.Response:
    """The weather of ``city``: always the same one, so that examples can be checked."""
    city = request.query.get("city", "Oslo")
    return web.json_response({"city": city, "celsius": 3 + len(city), "sky": "clear"})


@routes.route("*", "/echo")
async def echo(request: web.Request) -> web.Response:
    """What was received: method, headers in order, body as text."""
    headers = [[name, value] for name, value in request.headers.items()]
    return web.json_response({"method": request.method, "headers": headers, "body": await request.text()})


@routes.get("/live")
async def live(_request: web.Request) -> web.StreamResponse:
    """The page of the example ``live_answer.py``."""
    return web.FileResponse(PAGE)


@routes.get("/stats")
async def stats(request: web.Request) -> web.Response:
    """The counters of what came in."""
    return web.json_response(request.app[STATS].report())


@routes.post("/reset")
async def reset(request: web.Request) -> web.Response:
    """Forget counters, tries and charges."""
    request.app[STATS].reset()
    request.app[MEMORY].tries.clear()
    request.app[MEMORY].charges.clear()
    return web.json_response({"ok": True})


@routes.get("/health")
async def health(_request: web.Request) -> web.Response:
    """Says that the server is up."""
    return web.json_response({"ok": True})


def make_app(*, delay_ms: int = 0) -> web.Application:
    """The whole sample API, the AI part included. ``delay_ms``: time that each file takes unless its URL says."""
    app = web.Application(middlewares=[count], client_max_size=64 * 1024 * 1024)
    app[STATS] = Stats()
    app[MEMORY] = Memory(delay_ms=delay_ms)
    app.add_routes(routes)
    app.add_routes(ai.routes())
    return app
