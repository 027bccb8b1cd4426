"""``async with stepwell.embedded(client)``: for people's own programs and tests."""

import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from msgspec.structs import replace

from stepwell.embed.platform import Embedded
from stepwell.sdk.client import Client
from stepwell.server.host import bind
from stepwell.server.settings import load_settings

_FROM_ENV = (
    "STEPWELL_HOSTS",
    "STEPWELL_NETWORKS",
    "STEPWELL_FETCH_ALLOW",
    "STEPWELL_MAX_BODY",
    "STEPWELL_BODY_MEMORY",
    "STEPWELL_KEEP",
    "STEPWELL_ENCRYPTION_KEY",
    "STEPWELL_ENCRYPTION_KEYS",
    "STEPWELL_SECRETS_FILE",
    "STEPWELL_SECRETS_HOSTS",
    "STEPWELL_SECRETS_PROVIDER",
    "STEPWELL_SENSITIVE_HEADERS",
    "STEPWELL_LOG_FORMAT",
    "STEPWELL_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
)
"""What a platform inside of a program takes from the environment."""


@asynccontextmanager
async def embedded(
    client: Client | Sequence[Client] = (),
    *,
    db: str = "sqlite:///.stepwell/stepwell.db",
    port: int | None = None,
    retry_interval: float | None = None,
    drain: float = 30.0,
    keep: str | None = None,
    allow_private: bool = True,
    hosts: Mapping[str, Any] | None = None,
    networks: Mapping[str, Any] | None = None,
    allow: Sequence[str] = (),
    always_replay: bool = False,
) -> AsyncGenerator[Embedded, None]:
    """The platform in this process for as long as the block lasts.

    ``client``: one client or several; their functions run on the current loop. ``db``: ``sqlite:///path`` or ``memory:``.
    ``port``: also serve the API there, on 127.0.0.1. ``retry_interval``: seconds between attempts instead of the back-off.
    ``drain``: seconds that work in flight gets at the end. ``keep``: how long runs are kept after their end, and events: a day
    or more, as in ``7d``, or ``forever``, the default. ``allow_private``: may functions fetch loopback and private addresses.
    ``always_replay``: replay the run at every call, so that a function that is not deterministic fails with an error that says
    so: for tests. ``hosts``: limits of hosts, as in ``{"api.example.com": {"concurrency": 10, "rate": "100/1m"}}``.
    ``networks``: the ways to hosts, as in ``{"*": {"proxy": "http://proxy.example:3128"}}``. ``allow``: what the guard admits
    besides. What is not given, keys and secrets are those of the environment (``STEPWELL_HOSTS``, ``STEPWELL_KEEP``,
    ``STEPWELL_ENCRYPTION_KEYS``, ``STEPWELL_SECRETS_HOSTS``, ``STEPWELL_SECRETS_FILE``, ``STEPWELL_SENSITIVE_HEADERS``). Raises
    SettingsError for those, StoreError when the database can not be used, HostError when the port is taken.
    """
    rules = None if hosts is None else msgspec.json.encode(hosts).decode()
    ways = None if networks is None else msgspec.json.encode(networks).decode()
    env = {name: os.environ[name] for name in _FROM_ENV if name in os.environ}
    flags = {"port": 0, "hosts": rules, "networks": ways, "allow": tuple(allow) or None, "keep_ms": keep}
    given = load_settings(flags, env)
    settings = replace(
        given,
        kind="dev" if allow_private else "cloud",
        db=db,
        port=port or 0,
        retry_interval_ms=None if retry_interval is None else int(retry_interval * 1000),
        drain_s=drain,
        always_replay=always_replay,
        discovery=False,
    )
    clients = [client] if isinstance(client, Client) else list(client)
    platform = Embedded(settings, clients)
    listener = bind(settings.host, port) if port is not None else None
    await platform.start(listener)
    try:
        yield platform
    finally:
        await platform.stop()
