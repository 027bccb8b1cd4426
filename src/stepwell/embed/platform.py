"""The platform in this process: the engine on a thread and a loop of its own, functions on the loop of the caller."""

import asyncio
import contextlib
import socket
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from stepwell.core.model import RunView
from stepwell.embed.bridges import Live, Realtime
from stepwell.sdk.client import Client
from stepwell.sdk.drivers.aio import Executor
from stepwell.sdk.scope import TRACE
from stepwell.server.build import build_engine
from stepwell.server.caller.inprocess import InProcessCaller
from stepwell.server.host import Host
from stepwell.server.platform import Platform
from stepwell.server.runtime.engine import Engine
from stepwell.server.settings import Settings
from stepwell.server.streams import Channel
from stepwell.wire.constants import IN_PROCESS_URL
from stepwell.wire.events import event_ids, parse_events
from stepwell.wire.functions import Registration, parse_registration
from stepwell.wire.traces import context_of

_START_S = 60.0


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

    async def start(self, listener: socket.socket | None = None) -> None:
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
            client._realtime_override = Realtime(self._host, engine, self.settings)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
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

        async def both() -> list[RunView]:
            return await self._wait((await self._ingest(body, None))[0], timeout)

        return [_result(view) for view in await self._host.ask(both())]

    async def run(self, run_id: str) -> Result | None:
        """How a run stands; None when it is unknown."""
        view = await self._host.ask(self._host_engine().view(run_id))
        return _result(view) if view is not None else None

    async def view_of(self, event_id: str) -> RunView | None:
        """The first run that an event started, with its steps as they are now; None when it started none."""
        runs = await self._host.ask(self._host_engine().runs_of(event_id))
        return await self._host.ask(self._host_engine().view(runs[0])) if runs else None

    # inside

    def _host_engine(self) -> Any:
        if self._platform is None:
            raise RuntimeError("the platform has not been started")
        return self._platform.engine

    async def _wait(self, event_id: str, timeout: float) -> list[RunView]:
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
                loop.call_soon_threadsafe(executor.offer, run_id, step_id, Live(self._host, channel))

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


def _result(view: RunView) -> Result:
    run = view.run
    output = msgspec.json.decode(run.output) if run.output is not None else None
    return Result(run.run_id, run.function_id, run.status.value, output)


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
