"""Everything that a platform can be told, as one record; ``fields`` says how each value is given."""

import re
from typing import Literal

import msgspec

from stepwell.core.flow.hosts import HostRule
from stepwell.core.networks import Network
from stepwell.wire.constants import CALL_TIMEOUT_S, MAX_FETCH_BODY
from stepwell.wire.masks import mask_url

Kind = Literal["dev", "cloud"]
LogFormat = Literal["text", "json"]

DEFAULT_PORT = 8288
DEFAULT_DB = "sqlite:///.stepwell/stepwell.db"


class SettingsError(ValueError):
    """A setting makes no sense. One sentence: which, why, and what would."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a platform can be told.

    ``kind``: ``dev`` trusts everybody, ``cloud`` asks for keys. ``retry_interval_ms``: a flat delay between attempts,
    None for the usual back-off. ``drain_s``: how long work in flight may go on after a stop was asked for.
    ``discovery``: look for apps on the usual ports of this machine when no ``app_urls`` are given. ``allow``: hosts,
    networks (CIDR) and ports that functions may call although they are not public. ``fetch_function``: host the
    function behind ``stepwell fetch``. ``hosts``: limits of the hosts that functions call. ``public_url``: where upstreams
    reach the API, for call-backs; default: ``url``. ``call_timeout_s``: how long an app may take to answer one call, seconds.
    ``always_replay``: keep no suspended run in this process, so that every call replays its run: slow, and an error names
    what is not deterministic.
    """

    kind: Kind = "dev"
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    db: str = DEFAULT_DB
    db_listen: str | None = None
    """Given where ``db`` leads through a proxy that pools transactions: the way to the database that does not."""
    retry_interval_ms: int | None = None
    drain_s: float = 30.0
    keep_ms: int | None = None
    """How long runs are kept after their end, and events that started none; None: for ever (docs/retention.md)."""
    hosts: tuple[HostRule, ...] = ()
    networks: tuple[Network, ...] = ()
    """Proxies and certificates of the hosts that functions call."""
    signing_key: str | None = None
    signing_key_fallback: str | None = None
    event_keys: tuple[str, ...] = ()
    dashboard_password: str | None = None
    """Opens the dashboard, in place of the signing key."""
    discovery: bool = True
    app_urls: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    fetch_function: bool = True
    call_timeout_s: float = CALL_TIMEOUT_S
    public_url: str | None = None
    encryption_keys: tuple[str, ...] = ()
    """Keys that seal what is stored, the newest first; none: one is generated beside the database (docs/secrets.md)."""
    secrets_hosts: str = ""
    """Which secrets may go to which hosts: ``NAME=host,host; NAME=host`` (docs/secrets.md)."""
    secrets_file: str | None = None
    """A TOML or JSON file that describes secrets."""
    secrets_provider: str | None = None
    """``module:name`` of a class or function that makes a further source of secrets (docs/secrets.md)."""
    sensitive_headers: tuple[str, ...] = ()
    """Further headers whose values are credentials."""
    always_replay: bool = False
    max_body: int = MAX_FETCH_BODY
    """Bytes of a response's body, where the request itself does not say."""
    body_memory: int = 256 * 1024 * 1024
    """Bytes that large bodies may take in memory while they arrive, all together."""
    log_format: LogFormat = "text"
    otlp_endpoint: str | None = None
    """Where traces and metrics are sent, by OTLP over HTTP; None: nowhere."""

    @property
    def dev(self) -> bool:
        """Whether this is a development platform."""
        return self.kind == "dev"

    @property
    def db_path(self) -> str | None:
        """The path of the SQLite file; None for a store in memory, and for PostgreSQL."""
        return database_path(self.db)

    @property
    def postgres(self) -> bool:
        """Whether the state is kept in PostgreSQL."""
        return is_postgres(self.db)

    @property
    def url(self) -> str:
        """Where this machine reaches the API."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - read, not bound
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def signing_keys(self) -> tuple[str, ...]:
        """The configured signing keys, the current one first."""
        return tuple(key for key in (self.signing_key, self.signing_key_fallback) if key)


def is_postgres(db: str) -> bool:
    """Whether this is the URL of a PostgreSQL database."""
    return db.startswith(("postgresql://", "postgres://"))


def database_path(db: str) -> str | None:
    """The file in ``sqlite:///relative`` or ``sqlite:////absolute``; None for others. Raises SettingsError."""
    if is_postgres(db) or db in ("memory:", ":memory:", "sqlite://:memory:", "sqlite:///:memory:"):
        return None
    path = db.removeprefix("sqlite:///")
    if path == db or not path:
        shown = re.sub("[^/]*@", "***@", mask_url(db))
        raise SettingsError(
            f"The database {shown!r} is not understood; use sqlite:///path/to/file.db (four slashes for an "
            "absolute path), postgresql://user@host/name or memory:."
        )
    return path
