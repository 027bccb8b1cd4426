"""Makes an engine from its settings."""

from collections.abc import Sequence
from pathlib import Path

from stepwell.core.flow.hosts import HostRules
from stepwell.server.caller.http import HttpCaller
from stepwell.server.clock import SystemClock
from stepwell.server.crypto.keys import KeyFile, KeyProblem, parse_keys
from stepwell.server.crypto.seal import Sealer
from stepwell.server.fetcher.client import AiohttpFetcher, Limits
from stepwell.server.fetcher.guard import Guard
from stepwell.server.fetcher.networks import BadNetwork, Networks, check_proxies
from stepwell.server.runtime.engine import Engine
from stepwell.server.secrets.config import build_vault
from stepwell.server.secrets.fetcher import SecretFetcher
from stepwell.server.settings import Settings, SettingsError, database_path, is_postgres
from stepwell.server.store.auditing import Audited
from stepwell.server.store.base import Store, StoreError
from stepwell.server.store.memory import MemoryStore
from stepwell.server.store.sealed import SealedStore
from stepwell.server.store.sqlite import SQLiteStore
from stepwell.server.store.sqlite.audit import SQLiteAudit
from stepwell.wire.fetch_headers import also_sensitive


def open_store(
    url: str, note: str = "", keys: Sequence[str] = (), listen: str | None = None, *, seals: bool = True
) -> Store:
    """The store behind ``memory:``, ``sqlite:///path`` or ``postgresql://…``. ``note`` tells later openers of a file.

    A file is encrypted, with ``keys`` (the newest first), or else with the one in ``<path>.key``, which is made when it is
    missing; PostgreSQL with ``keys`` alone, as every process must have them. ``seals``: false for who stores nothing. Raises
    SettingsError for anything else.
    """
    if is_postgres(url):
        return SealedStore(_postgres(url, listen), keys, seals=seals)
    path = database_path(url)
    if path is None:
        return MemoryStore()
    file = KeyFile(Path(f"{path}.key").absolute())
    return SealedStore(SQLiteStore(Path(path), note=note), keys, file, seals=seals)


async def open_audit(url: str, keys: Sequence[str] = ()) -> tuple[Audited, Sealer | None]:
    """The file or PostgreSQL database at ``url``, to be looked at, and what opens its values. Raises StoreError, SettingsError.

    Nobody is in the way of the platform that works on it, and nothing is changed.
    """
    path = database_path(url)
    try:
        found = parse_keys(keys) + (KeyFile(Path(f"{path}.key")).load() if path is not None else [])
    except KeyProblem as problem:
        raise StoreError(str(problem)) from None
    if path is not None:
        source = SQLiteAudit(Path(path))
    else:
        from stepwell.server.store.postgres.audit import PostgresAudit

        source = PostgresAudit(url)
    await source.open()
    return source, Sealer(found) if found else None


def _postgres(url: str, listen: str | None) -> Store:
    try:
        from stepwell.server.store.postgres import PostgresStore
    except ModuleNotFoundError as missing:
        if missing.name != "asyncpg":
            raise
        raise SettingsError("PostgreSQL needs one more package: pip install 'stepwell[postgres]'.") from None
    return PostgresStore(url, listen_url=listen)


def _fetcher(settings: Settings) -> AiohttpFetcher:
    guard = Guard(allow_private=settings.kind == "dev", allow=settings.allow)
    try:
        check_proxies(settings.networks, guard)
        return AiohttpFetcher(
            guard,
            Limits(max_body=settings.max_body, arriving=settings.body_memory),
            networks=Networks(settings.networks),
        )
    except BadNetwork as problem:
        raise SettingsError(str(problem)) from None


def build_engine(settings: Settings) -> Engine:
    """An engine that has not been started. Belongs to the running loop. Raises SettingsError."""
    clock = SystemClock()
    fetcher = _fetcher(settings)
    also_sensitive(settings.sensitive_headers)
    return Engine(
        open_store(settings.db, settings.url if settings.port else "", settings.encryption_keys, settings.db_listen),
        SecretFetcher(fetcher, build_vault(settings, fetcher, clock)),
        HttpCaller(
            clock,
            kind=settings.kind,
            signing_key=settings.signing_key,
            fallback=settings.signing_key_fallback,
            timeout_s=settings.call_timeout_s,
        ),
        clock=clock,
        retry_interval_ms=settings.retry_interval_ms,
        hosts=HostRules(settings.hosts),
        public_url=settings.public_url or (settings.url if settings.port else ""),
        keep_ms=settings.keep_ms,
    )
