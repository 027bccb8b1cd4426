"""Puts a client's functions and the engine together in one process.

``async with stepwell.embedded(client)`` is for people's own programs and tests; ``serve_forever`` is what ``stepwell dev`` and
``stepwell serve`` run. The engine has a thread and a loop of its own; functions run on the loop of the caller.
"""

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from stepwell.sdk.client import Client
from stepwell.sdk.drivers.aio import Executor
from stepwell.sdk.drivers.giveup import parked
from stepwell.sdk.realtime import Published
from stepwell.sdk.scope import TRACE
from stepwell.server.build import build_engine
from stepwell.server.caller.inprocess import InProcessCaller
from stepwell.server.host import Host, HostError, bind, new_loop
from stepwell.server.platform import Platform
from stepwell.server.realtime.texts import TextStream
from stepwell.server.realtime.tokens import Tokens
from stepwell.server.runtime.engine import Engine
from stepwell.server.settings import Settings, load_settings
from stepwell.server.stopping import leave, told_to_stop
from stepwell.server.store.base import StoreError
from stepwell.server.streams import Channel
from stepwell.wire.builtins import FETCH_FUNCTION
from stepwell.wire.constants import IN_PROCESS_URL
from stepwell.wire.events import event_ids, parse_events
from stepwell.wire.functions import Registration, parse_registration
from stepwell.wire.masks import mask_url
from stepwell.wire.realtime import Topic, message
from stepwell.wire.traces import context_of

if TYPE_CHECKING:
    import socket

    from stepwell.core.model import RunView

logger = logging.getLogger("stepwell")

_START_S = 60.0
_FROM_ENV = (
    "STEPWELL_HOSTS",
    "STEPWELL_NETWORKS",
    "STEPWELL_FETCH_ALLOW",
    "STEPWELL_MAX_BODY",
    "STEPWELL_BODY_MEMORY",
    "STEPWELL_ENCRYPTION_KEY",
    "STEPWELL_ENCRYPTION_KEYS",
    "STEPWELL_SECRETS_FILE",
    "STEPWELL_SECRETS_HOSTS",
    "STEPWELL_SENSITIVE_HEADERS",
    "STEPWELL_LOG_FORMAT",
    "STEPWELL_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
)
"""What a platform inside of a program takes from the environment."""


class Result(msgspec.Struct, frozen=True):
    """How a run stands. ``status`` is queued, running, completed, failed, cancelled or skipped; ``output`` decoded JSON."""

    run_id: str
    function_id: str
    status: str
    output: Any = None

    @property
    def ended(self) -> bool:
        """Whether the run is over."""
        return self.status in ("completed", "failed", "cancelled", "skipped")


class _Live:
    """A body that arrives on the engine's loop, read from the user's."""

    def __init__(self, host: Host, channel: Channel) -> None:
        self._host = host
        self._channel = channel
        self.head = channel.head

    @property
    def broken(self) -> str | None:
        return self._channel.broken

    async def read(self, offset: int) -> bytes:
        return await self._host.ask(self._channel.read(offset))


class _Realtime:
    """Publishes on the engine's loop, from the user's."""

    def __init__(self, host: Host, engine: Engine, settings: Settings) -> None:
        self._host = host
        self._engine = engine
        self._tokens = Tokens(settings.signing_keys, engine.now)

    async def publish(self, sent: Published) -> None:
        """Hand a message to the subscribers."""
        more = {"run_id": sent.run_id} if sent.run_id else {}
        data = msgspec.Raw(sent.body)
        made = message("data", sent.channel, sent.topic, data, self._engine.now(), **more)
        await self._host.ask(self._engine.realtime.tell(made))

    async def stream(self, channel: str, topic: str, run_id: str | None, pieces: AsyncIterator[str]) -> None:
        """Hand a text to them, piece by piece."""
        members = {"run_id": run_id} if run_id else {}
        sent = TextStream(self._engine.realtime, [Topic(channel, topic)], self._engine.now, members)
        await self._host.ask(sent.begin())
        try:
            async for piece in pieces:
                await self._host.ask(sent.piece(piece))
        finally:
            await self._host.ask(sent.end())

    async def token(self, topics: Sequence[Topic]) -> str:
        """A token to read the topics."""
        return self._tokens.make(topics)


class Embedded:
    """The platform inside of this program."""

    def __init__(self, settings: Settings, clients: Sequence[Client]) -> None:
        self.settings = settings
        self._clients = list(clients)
        self._host = Host(lambda: build_engine(settings))
        self._executors: list[Executor] = []
        self._platform: Platform | None = None

    @property
    def url(self) -> str:
        """Where the API listens; meaningful only when it was given a port."""
        return self.settings.url

    async def start(self, listener: "socket.socket | None" = None) -> None:
        """Begin. Raises StoreError when the database can not be used."""
        engine = self._host.begin()
        loop = asyncio.get_running_loop()
        platform = Platform(engine, self.settings)
        apps = [
            (registration(client, f"{IN_PROCESS_URL}{client.app_id}"), self._caller(client, loop))
            for client in self._clients
        ]
        try:
            await asyncio.wait_for(self._host.ask(platform.start(apps, listener)), _START_S)
        except BaseException:
            await asyncio.to_thread(self._host.end)
            raise
        self._platform = platform
        for client in self._clients:
            client._send_override = self._send  # noqa: SLF001 - the hook made for this  # pyright: ignore[reportPrivateUsage]
            client._realtime_override = _Realtime(self._host, engine, self.settings)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            client._signal_override = self._signal  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

    async def stop(self, drain_s: float | None = None) -> bool:
        """Drain and end; whether everything in flight ended in time."""
        for client in self._clients:
            client._send_override = None  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            client._realtime_override = None  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            client._signal_override = None  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        drained = True
        if self._platform is not None:
            drained = await self._host.ask(self._platform.stop(drain_s))
        for executor in self._executors:
            await executor.close()
        await asyncio.to_thread(self._host.end)
        return drained

    async def send(self, name: str, data: Mapping[str, Any] | None = None, *, id: str | None = None) -> str:  # noqa: A002
        """Send one event; its internal id. Raises ValueError for an event that is not one, StoreError."""
        event: dict[str, Any] = {"name": name, "data": dict(data or {})}
        if id is not None:
            event["id"] = id
        return (await self._send(msgspec.json.encode([event])))[0]

    async def signal(self, signal: str, data: Any = None) -> str | None:
        """Send a signal; the id of the run that waited for it, None where none did."""
        return await self._host.ask(self._host_engine().signal(signal, msgspec.json.encode(data)))

    async def sync(self, app_id: str, url: str, functions: Sequence[Mapping[str, Any]], sdk: str = "unknown") -> None:
        """Register an app that is called over HTTP at ``url``, with function configs as in the protocol's section 1.3."""
        body = {"appName": app_id, "url": url, "sdk": sdk, "framework": "", "v": "0.1", "functions": list(functions)}
        await self._host.ask(self._host_engine().register(parse_registration(msgspec.json.encode(body))))

    async def wait(self, event_id: str, timeout: float = 60.0) -> list[Result]:
        """The runs that an event started, once all of them have ended. Raises TimeoutError after ``timeout`` seconds."""
        views = await self._host.ask(self._wait(event_id, timeout))
        return [_result(view) for view in views]

    async def send_and_wait(
        self, name: str, data: Mapping[str, Any] | None = None, *, timeout: float = 60.0
    ) -> list[Result]:
        """Send one event and wait for the runs that it starts, as ``send`` and ``wait`` would."""
        body = msgspec.json.encode([{"name": name, "data": dict(data or {})}])

        async def both() -> "list[RunView]":
            return await self._wait((await self._ingest(body, None))[0], timeout)

        return [_result(view) for view in await self._host.ask(both())]

    async def run(self, run_id: str) -> Result | None:
        """How a run stands; None when it is unknown."""
        view = await self._host.ask(self._host_engine().view(run_id))
        return _result(view) if view is not None else None

    async def view_of(self, event_id: str) -> "RunView | None":
        """The first run that an event started, with its steps as they are now; None when it started none."""
        runs = await self._host.ask(self._host_engine().runs_of(event_id))
        return await self._host.ask(self._host_engine().view(runs[0])) if runs else None

    # inside

    def _host_engine(self) -> Any:
        if self._platform is None:
            raise RuntimeError("the platform has not been started")
        return self._platform.engine

    async def _wait(self, event_id: str, timeout: float) -> "list[RunView]":
        engine = self._host_engine()
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        views: list[RunView] = []
        for run in await engine.runs_of(event_id):
            view = await engine.wait_run(run, end - loop.time())
            if view is None or not view.run.status.ended:
                raise TimeoutError(f"the run {run} has not ended within {timeout:g} s")
            views.append(view)
        return views

    async def _send(self, body: bytes, seed: str | None = None) -> list[str]:
        trace = context_of(TRACE.get())
        return await self._host.ask(self._ingest(body, seed, "" if trace is None else trace.text))

    async def _signal(self, body: bytes) -> str | None:
        asked = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        name = msgspec.json.decode(asked["signal"], type=str)
        return await self._host.ask(self._host_engine().signal(name, bytes(asked["data"])))

    async def _ingest(self, body: bytes, seed: str | None, trace: str = "") -> list[str]:
        engine = self._host_engine()
        now = engine.now()
        events = [event._replace(trace=trace) for event in parse_events(body, "application/json", now)]
        ids = engine.new_ids(len(events)) if seed is None else event_ids(seed, len(events), now, [])
        return await engine.ingest(events, ids)

    def _caller(self, client: Client, loop: asyncio.AbstractEventLoop) -> InProcessCaller:
        executor = Executor(client, always_replay=self.settings.always_replay, on_late=self._poke, load_body=self._body)
        self._executors.append(executor)

        def arriving(run_id: str, step_id: str, channel: Channel) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(executor.offer, run_id, step_id, _Live(self._host, channel))

        self._host_engine_now().streams.listeners.append(arriving)
        return InProcessCaller(executor.execute, loop, executor.forget, self.settings.call_timeout_s)

    def _host_engine_now(self) -> Engine:
        engine = self._host.engine
        assert engine is not None, "the host has begun"
        return engine

    def _poke(self, run_id: str) -> None:
        if self._platform is not None:
            self._host.submit(self._platform.engine.poke(run_id))

    async def _body(self, ref: str, start: int, end: int) -> bytes:
        data = await self._host.ask(self._host_engine().body(ref, start, end))
        if data is None:
            raise LookupError(f"the recorded body {ref} is gone: it was pruned with its run")
        return data


def _result(view: "RunView") -> Result:
    run = view.run
    output = msgspec.json.decode(run.output) if run.output is not None else None
    return Result(run.run_id, run.function_id, run.status.value, output)


@asynccontextmanager
async def embedded(
    client: Client | Sequence[Client] = (),
    *,
    db: str = "sqlite:///.stepwell/stepwell.db",
    port: int | None = None,
    retry_interval: float | None = None,
    drain: float = 30.0,
    allow_private: bool = True,
    hosts: Mapping[str, Any] | None = None,
    networks: Mapping[str, Any] | None = None,
    allow: Sequence[str] = (),
    always_replay: bool = False,
) -> AsyncGenerator[Embedded, None]:
    """The platform in this process for as long as the block lasts.

    ``client``: one client or several; their functions run on the current loop. ``db``: ``sqlite:///path`` or ``memory:``.
    ``port``: also serve the API there, on 127.0.0.1. ``retry_interval``: seconds between attempts instead of the back-off.
    ``drain``: seconds that work in flight gets at the end. ``allow_private``: may functions fetch loopback and private
    addresses. ``always_replay``: replay the run at every call, so that a function that is not deterministic fails with an
    error that says so: for tests. ``hosts``: limits of hosts, as in
    ``{"api.example.com": {"concurrency": 10, "rate": "100/1m"}}``. ``networks``: the ways to hosts, as in
    ``{"*": {"proxy": "http://proxy.example:3128"}}``. ``allow``: what the guard admits besides. What is not given, keys
    and secrets are those of the environment (``STEPWELL_HOSTS``, ``STEPWELL_ENCRYPTION_KEYS``, ``STEPWELL_SECRETS_HOSTS``,
    ``STEPWELL_SECRETS_FILE``, ``STEPWELL_SENSITIVE_HEADERS``). Raises SettingsError for those, StoreError when the
    database can not be used, HostError when the port is taken.
    """
    rules = None if hosts is None else msgspec.json.encode(hosts).decode()
    ways = None if networks is None else msgspec.json.encode(networks).decode()
    env = {name: os.environ[name] for name in _FROM_ENV if name in os.environ}
    given = load_settings({"port": 0, "hosts": rules, "networks": ways, "allow": tuple(allow) or None}, env)
    settings = Settings(
        kind="dev" if allow_private else "cloud",
        db=db,
        port=port or 0,
        retry_interval_ms=None if retry_interval is None else int(retry_interval * 1000),
        drain_s=drain,
        always_replay=always_replay,
        discovery=False,
        encryption_keys=given.encryption_keys,
        hosts=given.hosts,
        networks=given.networks,
        allow=given.allow,
        max_body=given.max_body,
        body_memory=given.body_memory,
        secrets_hosts=given.secrets_hosts,
        secrets_file=given.secrets_file,
        sensitive_headers=given.sensitive_headers,
        log_format=given.log_format,
        otlp_endpoint=given.otlp_endpoint,
    )
    clients = [client] if isinstance(client, Client) else list(client)
    platform = Embedded(settings, clients)
    listener = bind(settings.host, port) if port is not None else None
    await platform.start(listener)
    try:
        yield platform
    finally:
        await platform.stop()


def registration(client: Client, url: str) -> Registration:
    """A client's functions as they register at the platform."""
    body = {
        "appName": client.app_id,
        "url": url,
        "sdk": "stepwell-py",
        "framework": "inprocess",
        "v": "0.1",
        "functions": [function.config(url) for function in client.functions],
    }
    return parse_registration(msgspec.json.encode(body))


def serve_forever(settings: Settings, clients: Sequence[Client]) -> int:
    """Run the platform until it is told to stop; the exit code. Errors are one line on standard error."""
    try:
        listener = bind(settings.host, settings.port)
    except HostError as problem:
        print(f"Error: {problem}", file=sys.stderr)
        return 1
    settings = replace(settings, port=listener.getsockname()[1])  # a free one was chosen where it was 0
    loop = new_loop()
    try:
        code = loop.run_until_complete(_serve(settings, clients, listener))
    finally:
        listener.close()
    if parked():
        leave(code)  # their code swallows every end, and would go on swallowing while Python takes everything down
    loop.close()
    return code


async def _serve(settings: Settings, clients: Sequence[Client], listener: "socket.socket") -> int:
    platform = Embedded(settings, clients)
    stop = asyncio.Event()
    try:
        with told_to_stop(stop, settings.drain_s):
            await platform.start(listener)
            _banner(settings, clients)
            await stop.wait()
            _tell(settings, "stopping: waiting for what is in flight (again to stop at once)")
            stop.clear()
            stopping = asyncio.ensure_future(platform.stop())
            again = asyncio.ensure_future(stop.wait())
            await asyncio.wait([stopping, again], return_when=asyncio.FIRST_COMPLETED)
            again.cancel()
            if not stopping.done():
                return 130
            if not stopping.result():
                _tell(settings, "some work did not end in time; it goes on at the next start")
    except StoreError as problem:
        print(f"Error: {problem}", file=sys.stderr)
        return 1
    return 0


def _tell(settings: Settings, text: str) -> None:
    if settings.log_format == "json":
        logger.info(text)
    else:
        print(text, file=sys.stderr)


def _banner(settings: Settings, clients: Sequence[Client]) -> None:
    """What runs where, on standard output: lines for people, or one JSON object."""
    names = [function.id for client in clients for function in client.functions if function.id != FETCH_FUNCTION]
    where = f"stepwell {settings.kind}: {settings.url}, state in {mask_url(settings.db)}"
    if settings.log_format == "json":
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "event": "platform.started",
            "message": where,
            "kind": settings.kind,
            "url": settings.url,
            "db": mask_url(settings.db),
            "functions": names,
        }
        print(msgspec.json.encode(line).decode(), flush=True)
        return
    print(where, flush=True)
    for name in names:
        print(f"  function {name}", flush=True)
