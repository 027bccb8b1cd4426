"""The API as one ASGI application: hot paths by hand, the rest through Starlette; headers and errors in one place."""

import logging
import time
from collections.abc import Callable
from typing import cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stepwell.server.api.apps import Apps
from stepwell.server.api.bodies import Bodies
from stepwell.server.api.body import ClientGone
from stepwell.server.api.callbacks import Callbacks
from stepwell.server.api.cancellations import Cancellations
from stepwell.server.api.checkpoint import Checkpoint
from stepwell.server.api.counting import Counting
from stepwell.server.api.events import Events
from stepwell.server.api.facade import EngineFacade
from stepwell.server.api.functions import Functions
from stepwell.server.api.health import Health
from stepwell.server.api.ingest import Ingest
from stepwell.server.api.invoke import Invoke
from stepwell.server.api.metrics import MetricsPage
from stepwell.server.api.openapi.document import route as openapi
from stepwell.server.api.problems import Problem, unavailable
from stepwell.server.api.realtime import Realtime
from stepwell.server.api.register import Register
from stepwell.server.api.reruns import Reruns
from stepwell.server.api.runs import Runs
from stepwell.server.api.signals import Signals
from stepwell.server.api.sinks import Sinks
from stepwell.server.api.state import State
from stepwell.server.api.strangers import refuse_strangers
from stepwell.server.api.streams import StepStreams
from stepwell.server.api.workers import Workers
from stepwell.server.clock import SystemClock
from stepwell.server.settings import Settings
from stepwell.server.store.base import StoreError
from stepwell.server.telemetry.metrics import Metrics
from stepwell.wire.constants import H_SERVER_KIND

_log = logging.getLogger("stepwell.api")
_CHECKPOINTS = ("/v1/checkpoint/", "/v1/http/runs/")
_JSON = (b"content-type", b"application/json")
_ALLOW_ANY = (b"access-control-allow-origin", b"*")
_FAILED = Problem(500, "The platform failed to answer; its log says why.")
_METHODS = b"GET, POST, PUT, DELETE, OPTIONS"


def create_app(
    engine: EngineFacade,
    settings: Settings,
    now: Callable[[], int] | None = None,
    metrics: Metrics | None = None,
    counting: Counting | None = None,
) -> ASGIApp:
    """The API of ``engine``. ``now`` gives the time in ms since the epoch (default: the system's clock).

    ``metrics``: what ``/metrics`` shows; None: there is no such page. ``counting``: what counts the
    store for it, and for others.

    It has no lifespan work of its own: who starts the engine also stops it.
    """
    now = now or SystemClock().now
    return _Api(engine, settings, now, metrics, counting or Counting(engine, now))


class _Api:
    def __init__(
        self,
        engine: EngineFacade,
        settings: Settings,
        now: Callable[[], int],
        metrics: Metrics | None,
        counting: Counting,
    ) -> None:
        self._ingest = Ingest(engine, settings, now)
        self._checkpoint = Checkpoint(engine, settings)
        self._rest = _rest(engine, settings, now, metrics, counting)
        self._settings = settings
        self._metrics = metrics
        self._headers = [(H_SERVER_KIND.encode(), settings.kind.encode()), _ALLOW_ANY]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            marked = _Marked(send, self._headers)
            began = time.perf_counter()
            try:
                await self._http(scope, receive, marked)
            finally:
                if self._metrics is not None:
                    route = marked.route or getattr(scope.get("route"), "path_format", "")
                    taken = time.perf_counter() - began
                    self._metrics.answered(scope["method"], scope.get("scheme", "http"), route, marked.status, taken)
        elif scope["type"] == "websocket":
            await self._rest(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: "_Marked") -> None:
        try:
            await self._dispatch(scope, receive, send)
        except ClientGone:
            return
        except Problem as problem:
            await send.problem(problem)
        except StoreError as error:
            await send.problem(unavailable(error))
        except Exception:  # noqa: BLE001 - the client gets an answer, the log the rest
            place = send.route or getattr(scope.get("route"), "path_format", scope["path"])  # without keys and tokens
            _log.exception("A request to %s failed", place)
            await send.problem(_FAILED)

    async def _dispatch(self, scope: Scope, receive: Receive, send: "_Marked") -> None:
        method, path = cast("str", scope["method"]), cast("str", scope["path"])
        if method == "OPTIONS":
            await send.preflight(scope)
            return
        refuse_strangers(self._settings, scope)
        if method == "POST":
            if path.startswith("/e/"):
                send.route = "/e/{key}"
                await send.json(*await self._ingest(scope, receive, path[3:]))
                return
            prefix, run_id = _checkpointed(path)
            if prefix:
                send.route = f"{prefix}{{run_id}}/async"
                await self._checkpoint(scope, receive, run_id)
                await send.json(200, b"{}", {})
                return
        await self._rest(scope, receive, send)


class _Marked:
    """A ``send`` that adds the headers that every response has.

    ``status``: of the response, once it has begun. ``route``: of a hot path; "" for all others.
    """

    def __init__(self, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        self._send = send
        self._headers = headers
        self.status: int | None = None
        self.route = ""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *self._headers]
        await self._send(message)

    async def json(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        """A whole JSON response."""
        more = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        length = (b"content-length", str(len(body)).encode())
        await self({"type": "http.response.start", "status": status, "headers": [_JSON, length, *more]})
        await self({"type": "http.response.body", "body": body})

    async def problem(self, problem: Problem) -> None:
        """An error, unless the response is under way already."""
        if self.status is None:
            await self.json(problem.status, problem.body(), problem.headers)

    async def preflight(self, scope: Scope) -> None:
        """Any origin may ask anything, without credentials (protocol section 1)."""
        asked = dict(cast("list[tuple[bytes, bytes]]", scope["headers"])).get(b"access-control-request-headers", b"*")
        headers = [
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-allow-headers", asked),
            (b"access-control-max-age", b"600"),
        ]
        await self({"type": "http.response.start", "status": 204, "headers": headers})
        await self({"type": "http.response.body", "body": b""})


def _checkpointed(path: str) -> tuple[str, str]:
    """Which of the prefixes, and the run's id; "" for both where it is another path."""
    if path.endswith("/async"):
        for prefix in _CHECKPOINTS:
            if path.startswith(prefix):
                return prefix, path[len(prefix) : -len("/async")]
    return "", ""


def _rest(
    engine: EngineFacade,
    settings: Settings,
    now: Callable[[], int],
    metrics: Metrics | None,
    counting: Counting,
) -> Starlette:
    health = Health(engine, settings, counting)
    register = Register(engine, settings)
    bodies = Bodies(engine, settings)
    routes: list[BaseRoute] = [
        Route("/e/{key:path}", _hot, methods=["POST"]),
        *(Route(f"{prefix}{{run_id:str}}/async", _hot, methods=["POST"]) for prefix in _CHECKPOINTS),
        Route("/fn/register", register.post, methods=["POST", "PUT"]),
        openapi(),
        Route("/health", health.health),
        Route("/dev", health.dev),
        Route("/v1/bodies/{ref:path}", bodies.get),
        Route("/v1/runs/{run_id:str}/steps/{step:path}/stream", StepStreams(engine, settings).get),
        Callbacks(engine).route(),
        Signals(engine, settings).route(),
        Invoke(engine, settings, now).route(),
        *Realtime(engine, settings, now).routes(),
        *Sinks(settings).routes(),
        *Cancellations(engine, settings, now).routes(),
        *Runs(engine, settings, now).routes(),
        Reruns(engine, settings).route(),
        *State(engine, settings).routes(),
        *Events(engine, settings).routes(),
        *Apps(engine, settings).routes(),
        *Workers(engine, settings, now).routes(),
        *Functions(engine, settings).routes(),
    ]
    if metrics is not None:
        routes.append(MetricsPage(settings, metrics, counting).route())
    handlers = {HTTPException: _http_error, Problem: _problem, StoreError: _store_error, Exception: _failed}
    made = Starlette(routes=routes, exception_handlers=handlers)
    made.router.redirect_slashes = False
    return made


async def _hot(request: Request) -> Response:
    """What a hot path answers before this is asked; the route is there for the methods that it does not have."""
    raise Problem(404, f"There is nothing at {request.url.path}.")


async def _problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response()


async def _store_error(_request: Request, error: Exception) -> Response:
    return unavailable(error).response()


async def _failed(_request: Request, _error: Exception) -> Response:
    return _FAILED.response()


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return Problem(404, f"There is nothing at {request.url.path}.").response()
    if error.status_code == 405:
        message = f"{request.method} is not allowed at {request.url.path}."
        return Problem(405, message, headers=dict(error.headers or {})).response()
    return Problem(error.status_code, error.detail).response()


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
