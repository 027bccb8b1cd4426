"""What a platform is told at its start. Flags win over the environment, the environment over the defaults."""

import re
import tomllib
from collections.abc import Callable, Mapping
from typing import Literal, cast

import msgspec

from stepwell.core.flow.host_rules import BadHostRule, parse_hosts
from stepwell.core.flow.hosts import HostRule
from stepwell.wire.constants import CALL_TIMEOUT_S
from stepwell.wire.durations import parse_duration

Kind = Literal["dev", "cloud"]

DEFAULT_PORT = 8288
DEFAULT_DB = "sqlite:///.stepwell/stepwell.db"
MAX_WAIT_S = 86_400.0
_PREFIXES = ("STEPWELL_", "INNGEST_")
_KEY = re.compile(r"(?:signkey-\w+-)?(?:[0-9a-fA-F]{2})+")
_HOST_NAMES = re.compile(r"[A-Za-z0-9_.:\-\[\]%]+")


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
    retry_interval_ms: int | None = None
    drain_s: float = 30.0
    hosts: tuple[HostRule, ...] = ()
    signing_key: str | None = None
    signing_key_fallback: str | None = None
    event_keys: tuple[str, ...] = ()
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
    sensitive_headers: tuple[str, ...] = ()
    """Further headers whose values are credentials."""
    always_replay: bool = False

    @property
    def dev(self) -> bool:
        """Whether this is a development platform."""
        return self.kind == "dev"

    @property
    def db_path(self) -> str | None:
        """The path of the SQLite file; None for a store in memory."""
        return database_path(self.db)

    @property
    def url(self) -> str:
        """Where this machine reaches the API."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - read, not bound
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def signing_keys(self) -> tuple[str, ...]:
        """The configured signing keys, the current one first."""
        return tuple(key for key in (self.signing_key, self.signing_key_fallback) if key)


def database_path(db: str) -> str | None:
    """The file in ``sqlite:///relative`` or ``sqlite:////absolute``; None for ``memory:``. Raises SettingsError."""
    if db in ("memory:", ":memory:", "sqlite://:memory:", "sqlite:///:memory:"):
        return None
    path = db.removeprefix("sqlite:///")
    if path == db or not path:
        raise SettingsError(
            f"The database {db!r} is not understood; use sqlite:///path/to/file.db (four slashes for an absolute path) "
            "or memory:."
        )
    return path


def load_settings(flags: Mapping[str, object], env: Mapping[str, str]) -> Settings:
    """Settings from ``flags`` (field names; None and missing mean not given), then ``STEPWELL_*``, then ``INNGEST_*``,
    then the TOML file that ``config`` or ``STEPWELL_CONFIG`` names.

    Raises :class:`SettingsError` with one sentence about the first value that makes no sense.
    """
    values: dict[str, object] = {}
    path = flags.get("config") or _from_env(env, "CONFIG")
    file = _from_file(str(path)) if path else {}
    for field, read in _READERS.items():
        value = flags.get(field)
        if value is None:
            text = _from_env(env, *_ENV_NAMES.get(field, (field.upper(),)))
            value = file.get(field) if text is None else read(field, text)
        elif isinstance(value, str):
            value = read(field, value)
        if value is not None:
            values[field] = value
    return check(_convert(values))


def _convert(values: dict[str, object]) -> Settings:
    try:
        return msgspec.convert(values, Settings)
    except msgspec.ValidationError as error:
        raise SettingsError(f"A setting has the wrong type: {error}.") from None


def check(settings: Settings) -> Settings:
    """The settings themselves when they make sense together; else raises :class:`SettingsError`."""
    if not 0 <= settings.port <= 65535:
        raise SettingsError(f"Port {settings.port} does not exist; choose one from 1 to 65535, or 0 for any free one.")
    if not _HOST_NAMES.fullmatch(settings.host):
        raise SettingsError(f"Host {settings.host!r} is not a host name or address.")
    if not 0 <= settings.drain_s <= MAX_WAIT_S:
        raise SettingsError("The drain time must be from 0 s to 24 h; 30 s are the default.")
    if not 0 < settings.call_timeout_s <= MAX_WAIT_S:
        raise SettingsError("The call timeout must be longer than nothing and at most 24 h; two hours are the default.")
    database_path(settings.db)
    for key in settings.signing_keys:
        if not _KEY.fullmatch(key):
            raise SettingsError(
                "A signing key must look like signkey-prod-<hex>; `openssl rand -hex 32` makes the hex."
            )
    if settings.public_url is not None and not re.match(r"https?://[^/\s?#]+[^\s?#]*$", settings.public_url):
        raise SettingsError(
            f"The public URL {settings.public_url!r} must begin with http:// or https:// and name a host."
        )
    for url in settings.app_urls:
        if not re.match(r"https?://[^/\s]", url):
            raise SettingsError(f"The app URL {url!r} must begin with http:// or https:// and name a host.")
    return settings


def require_keys(settings: Settings) -> Settings:
    """The settings, when they hold the keys that a production platform needs; else raises :class:`SettingsError`."""
    if not settings.signing_key:
        raise SettingsError(
            "`stepwell serve` needs a signing key: set STEPWELL_SIGNING_KEY=signkey-prod-$(openssl rand -hex 32), "
            "the same here and in your apps."
        )
    if not settings.event_keys:
        raise SettingsError(
            "`stepwell serve` needs an event key: set STEPWELL_EVENT_KEY to a random text, here and in your apps."
        )
    return settings


def _from_env(env: Mapping[str, str], *names: str) -> str | None:
    for name in names:
        for prefix in _PREFIXES:
            value = env.get(prefix + name)
            if value:
                return value
    return None


def _from_file(path: str) -> dict[str, object]:
    """Values by field. In the file they have the names of the environment, in lower case, without the prefix."""
    try:
        with open(path, "rb") as file:
            found = tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"The configuration {path} can not be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"The configuration {path} is no TOML: {error}.") from None
    fields = {name.lower(): field for field in _READERS for name in _ENV_NAMES.get(field, (field.upper(),))}
    values: dict[str, object] = {}
    for name, value in found.items():
        if name not in fields:
            raise SettingsError(f"The configuration {path} has {name!r}, which is no setting.")
        field = fields[name]
        values[field] = _from_toml(field, value)
    return values


def _from_toml(field: str, value: object) -> object:
    read = _READERS[field]
    if read is _hosts:
        return _host_rules(value)
    if isinstance(value, list):
        return tuple(cast("list[object]", value))
    return value if isinstance(value, bool) else read(field, str(value))


def _hosts(_field: str, text: str) -> object:
    try:
        value: object = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise SettingsError(f"The rules of hosts (STEPWELL_HOSTS) are no JSON: {error}.") from None
    return _host_rules(value)


def _host_rules(value: object) -> tuple[HostRule, ...]:
    try:
        return parse_hosts(value)
    except BadHostRule as problem:
        raise SettingsError(str(problem)) from None


def _text(_field: str, text: str) -> object:
    return text


def _integer(field: str, text: str) -> object:
    try:
        return int(text)
    except ValueError:
        raise SettingsError(f"{_said(field)} must be a whole number, not {text!r}.") from None


def _seconds(field: str, text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return cast("int", _duration(field, text)) / 1000


def _duration(field: str, text: str) -> object:
    try:
        if text.strip():
            return (
                int(float(text) * 1000) if re.fullmatch(r"\d+(\.\d+)?", text.strip()) else parse_duration(text.strip())
            )
    except ValueError:
        pass
    raise SettingsError(f"{_said(field)} must be a duration such as 500ms, 1s or 2m, not {text!r}.")


def _flag(field: str, text: str) -> object:
    word = text.strip().lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off"):
        return False
    raise SettingsError(f"{_said(field)} must be true or false, not {text!r}.")


def _words(_field: str, text: str) -> object:
    return tuple(word for word in re.split(r"[,\s]+", text) if word)


def _said(field: str) -> str:
    return field.removesuffix("_ms").removesuffix("_s").replace("_", " ").capitalize()


_READERS: dict[str, Callable[[str, str], object]] = {
    "kind": _text,
    "host": _text,
    "port": _integer,
    "db": _text,
    "retry_interval_ms": _duration,
    "drain_s": _seconds,
    "hosts": _hosts,
    "signing_key": _text,
    "signing_key_fallback": _text,
    "event_keys": _words,
    "discovery": _flag,
    "app_urls": _words,
    "allow": _words,
    "fetch_function": _flag,
    "call_timeout_s": _seconds,
    "public_url": _text,
    "always_replay": _flag,
    "encryption_keys": _words,
    "secrets_hosts": _text,
    "secrets_file": _text,
    "sensitive_headers": _words,
}

_ENV_NAMES: dict[str, tuple[str, ...]] = {
    "retry_interval_ms": ("RETRY_INTERVAL",),
    "drain_s": ("DRAIN_SECONDS",),
    "call_timeout_s": ("CALL_TIMEOUT",),
    "event_keys": ("EVENT_KEYS", "EVENT_KEY"),
    "allow": ("FETCH_ALLOW",),
    "encryption_keys": ("ENCRYPTION_KEYS", "ENCRYPTION_KEY"),
}
