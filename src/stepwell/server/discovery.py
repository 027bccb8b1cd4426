"""Finds apps and keeps them in sync: the URLs that it is given, or the usual ports of this machine (protocol 1.3)."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol
from urllib.parse import urlsplit

import aiohttp

from stepwell.server.runtime.syncs import AppState
from stepwell.server.settings import Settings
from stepwell.server.store.base import StoreError
from stepwell.server.syncing import NotAnApp, Synced, sync_app
from stepwell.wire.constants import H_SDK, H_SERVER_KIND
from stepwell.wire.functions import BadRegistration, Registration
from stepwell.wire.masks import mask_text

_log = logging.getLogger("stepwell.discovery")

INTERVAL_S = 5.0
"""How often an app is asked for its functions, seconds."""
AWAY_S = 1.0
"""How often while an app that was asked for does not answer."""
PROBE_TIMEOUT_S = 1.0
PORTS = (3000, 5000, 8000, 8080)
PATHS = ("/api/stepwell", "/api/inngest", "/x/inngest")


class Registrar(Protocol):
    """The part of the engine that takes functions over."""

    async def register(self, registration: Registration) -> tuple[bool, str]:
        """Whether it changed anything, and the app's UUID."""
        ...


class Discovery:
    """Syncs each app when it appears, changes or comes back. ``states`` says how each URL is doing."""

    def __init__(
        self,
        engine: Registrar,
        settings: Settings,
        *,
        interval_s: float | None = None,
        probes: Sequence[str] | None = None,
        states: dict[str, AppState] | None = None,
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._interval_s = INTERVAL_S if interval_s is None else interval_s
        self._probes = tuple(probes) if probes is not None else usual_places(settings.port)
        self.states: dict[str, AppState] = {} if states is None else states
        self.states.update({url: AppState(url) for url in settings.app_urls})

    @property
    def probing(self) -> bool:
        """Whether it looks for apps by itself."""
        return self._settings.discovery and self._settings.dev and not self._settings.app_urls

    async def run(self) -> None:
        """Go on until cancelled: each URL by itself, so that none waits for another. Returns where there is nothing to do."""
        ports: dict[str, list[str]] = {}
        for url in self._probes if self.probing else ():
            ports.setdefault(urlsplit(url).netloc, []).append(url)
        async with (
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
            asyncio.TaskGroup() as looking,
        ):
            for state in list(self.states.values()):
                looking.create_task(self._keep(session, state))
            for urls in ports.values():
                looking.create_task(self._find(session, urls, looking))

    async def _keep(self, session: aiohttp.ClientSession, state: AppState) -> None:
        """Keep one app in sync, until it is forgotten."""
        while self.states.get(state.url) is state:
            await self.sync(session, state)
            await asyncio.sleep(self._interval_s if state.connected else min(AWAY_S, self._interval_s))

    async def _find(self, session: aiohttp.ClientSession, urls: Sequence[str], looking: asyncio.TaskGroup) -> None:
        """Look for an app at one port."""
        while True:
            found = await self.probe(session, urls)
            if found is not None:
                looking.create_task(self._keep(session, found))
            await asyncio.sleep(self._interval_s)

    async def probe(self, session: aiohttp.ClientSession, urls: Sequence[str]) -> AppState | None:
        """The state of an app that is behind the first of ``urls`` (of one host), where it was not known yet."""
        url = await first_app(session, urls, self._settings)
        if url is None or url in self.states:
            return None
        found = self.states[url] = AppState(url, found=True)
        return found

    async def sync(self, session: aiohttp.ClientSession, state: AppState) -> None:
        """One look at one app."""
        try:
            await self._take(state, await sync_app(session, state.url, self._settings, state.mode))
        except (NotAnApp, StoreError) as error:
            self._lost(state, str(error))
        except BadRegistration as error:
            self._lost(state, f"The app at {state.url} was not accepted: {error}")
        except Exception as error:  # noqa: BLE001 - one app must not keep the others from being synced
            _log.debug("Syncing %s failed", state.url, exc_info=True)
            self._lost(state, f"The app at {state.url} could not be synced: {type(error).__name__}: {error}")

    async def _take(self, state: AppState, synced: Synced) -> None:
        changed = synced.modified
        registration = synced.registration
        if registration is not None and (registration.checksum != state.fingerprint or not state.connected):
            changed, _ = await self._engine.register(registration)
            state.app, state.fingerprint = registration.app_name, registration.checksum
        state.mode = synced.mode
        if not state.connected or changed:
            name = f"{state.app} at {state.url}" if state.app else f"at {state.url}"
            many = len(registration.functions) if registration is not None else None
            count = "" if many is None else f", {many} function{'' if many == 1 else 's'}"
            _log.info("App %s %s%s", name, "is in sync" if not state.connected else "has changed and is in sync", count)
        state.connected, state.error = True, None

    def _lost(self, state: AppState, error: str) -> None:
        error = mask_text(error)
        if state.found and state.app is None:
            self.states.pop(state.url, None)
        elif error != state.error and not state.found:
            _log.warning("%s It is tried again until that changes.", error)
        state.connected, state.error, state.mode = False, error, None


def usual_places(own_port: int) -> tuple[str, ...]:
    """The URLs on this machine where apps usually are, without the platform's own port."""
    return tuple(f"http://localhost:{port}{path}" for port in PORTS if port != own_port for path in PATHS)


async def first_app(session: aiohttp.ClientSession, urls: Sequence[str], settings: Settings) -> str | None:
    """The first of ``urls`` (of one host) behind which an SDK answers. Quiet about everything else."""
    headers = {H_SERVER_KIND: settings.kind}
    timeout = aiohttp.ClientTimeout(total=PROBE_TIMEOUT_S)
    for url in urls:
        try:
            async with session.get(url, headers=headers, timeout=timeout, allow_redirects=False) as response:
                if H_SDK in response.headers:
                    return url
        except aiohttp.ClientConnectorError:
            return None
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            continue
    return None
