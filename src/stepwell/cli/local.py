"""Where no platform runs: opens the database file in this process, to read it or to go on with what is in it."""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from msgspec.structs import replace

from stepwell.cli.errors import CliError
from stepwell.cli.platform import Platform, is_running, remote
from stepwell.server.settings import Settings

if TYPE_CHECKING:
    from stepwell.server.api.facade import EngineFacade


@asynccontextmanager
async def reading(settings: Settings, url: str | None) -> AsyncGenerator[Platform]:
    """The platform at ``url``, the one that runs on this machine, or else the database file, for reading."""
    if url or await is_running(settings):
        async with remote(settings, url or settings.url) as platform:
            yield platform
        return
    path = settings.db_path
    if not settings.postgres and (path is None or not await asyncio.to_thread(os.path.exists, path)):
        raise CliError(
            f"No platform answers at {settings.url}, and there is no database {path or 'file'} either; "
            "start one with `stepwell dev`."
        )
    from stepwell.cli.offline import OfflineEngine
    from stepwell.server.build import open_store

    store = open_store(settings.db, keys=settings.encryption_keys, listen=settings.db_listen, seals=False)
    await store.open()
    try:
        async with _in_process(OfflineEngine(store), settings) as platform:
            yield platform
    finally:
        await store.close()


@asynccontextmanager
async def working(settings: Settings, url: str | None) -> AsyncGenerator[Platform]:
    """The platform at ``url``, the one that runs on this machine, or else one of our own on the database file."""
    if url or await is_running(settings):
        async with remote(settings, url or settings.url) as platform:
            yield platform
        return
    async with _own(settings) as platform:
        yield platform


@asynccontextmanager
async def _own(settings: Settings) -> AsyncGenerator[Platform]:
    from stepwell.builtin import client
    from stepwell.embed import Embedded
    from stepwell.server.host import bind

    listener = bind("127.0.0.1", 0)
    port = int(listener.getsockname()[1])
    own = replace(settings, host="127.0.0.1", port=port, discovery=False, app_urls=())
    embedded = Embedded(own, [client])
    await embedded.start(listener)
    try:
        async with remote(own, own.url) as platform:
            platform.running = False
            yield platform
    finally:
        await embedded.stop(0)


@asynccontextmanager
async def _in_process(engine: "EngineFacade", settings: Settings) -> AsyncGenerator[Platform]:
    import httpx2

    from stepwell.server.api.app import create_app

    transport = httpx2.ASGITransport(create_app(engine, replace(settings, kind="dev")))
    async with httpx2.AsyncClient(transport=transport, base_url="http://stepwell", timeout=90.0) as client:
        yield Platform(client, settings, running=False)
