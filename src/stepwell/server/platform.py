"""The whole platform on one loop: engine, API and app discovery, started and stopped in the right order."""

import asyncio
import logging
import socket
from collections.abc import Sequence
from functools import partial

from stepwell.core.flow.hosts import HostRules
from stepwell.core.propagation import Traced
from stepwell.server.api.app import create_app
from stepwell.server.api.counting import Counting
from stepwell.server.api.metrics import families
from stepwell.server.api.realtime_runs import RunTopics
from stepwell.server.caller.base import Caller
from stepwell.server.dashboard.app import with_dashboard
from stepwell.server.discovery import Discovery
from stepwell.server.listen import Listener
from stepwell.server.runtime.engine import Engine
from stepwell.server.runtime.loops import end
from stepwell.server.settings import Settings
from stepwell.server.telemetry.metrics import Metrics
from stepwell.server.telemetry.setup import observers, pushed, pusher, traced
from stepwell.wire.constants import IN_PROCESS_URL
from stepwell.wire.functions import Registration

logger = logging.getLogger("stepwell")


class Platform:
    """An engine and what is around it. All methods belong to the engine's loop."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine = engine
        self._settings = settings
        self._metrics: Metrics | None = None
        self._counting = Counting(engine, engine.now)
        self._listener: Listener | None = None
        self._discovery: asyncio.Task[None] | None = None

    async def start(
        self, apps: Sequence[tuple[Registration, Caller]] = (), listener: socket.socket | None = None
    ) -> None:
        """Open the store, take over the apps of this process, begin to work, then listen. Raises StoreError."""
        self._observe(metrics=listener is not None)
        await self.engine.open()
        try:
            self._push()
            for registration, caller in apps:
                await self.engine.register(registration, caller)
            await self.engine.start()
            if listener is not None:
                api = create_app(self.engine, self._settings, metrics=self._metrics, counting=self._counting)
                self._listener = Listener(with_dashboard(api, self.engine, self._settings), listener)
                await self._listener.start()
        except BaseException:
            await self.engine.close()
            raise
        if listener is not None and (self._settings.app_urls or self._settings.discovery):
            looking = Discovery(self.engine, self._settings, states=self.engine.syncs.states).run()
            self._discovery = asyncio.get_running_loop().create_task(looking, name="stepwell-discovery")

    def _observe(self, *, metrics: bool) -> None:
        self.engine.observers.add(RunTopics(self.engine.realtime, self.engine.now))
        if metrics or pushed(self._settings) is not None:
            self._metrics = Metrics(HostRules(self._settings.hosts))
            self.engine.observers.add(self._metrics)
        for observer in observers(self._settings, self._address):
            self.engine.observers.add(observer)
        if traced(self._settings):
            self.engine.propagate(Traced())

    def _push(self) -> None:
        endpoint = pushed(self._settings)
        if endpoint is not None and self._metrics is not None:
            read = partial(families, self._counting, self._metrics)
            self.engine.observers.add(pusher(endpoint, self._metrics, read))

    def _address(self, app_id: str) -> str:
        app = self.engine.registry.get(app_id)
        return "" if app is None or app.url.startswith(IN_PROCESS_URL) else app.url

    async def stop(self, drain_s: float | None = None) -> bool:
        """Listen no more, drain the engine, let go of everything. Whether all that was in flight ended in time."""
        if self._discovery is not None:
            await end([self._discovery])
        drained = await self.engine.drain(self._settings.drain_s if drain_s is None else drain_s)
        if self._listener is not None:
            await self._listener.stop()
        await self.engine.close()
        return drained
