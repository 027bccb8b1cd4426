"""Whether settings make sense together. Pure."""

import re

from stepwell.core.retention import MIN_KEEP_MS
from stepwell.server.settings.model import Settings, SettingsError, database_path, is_postgres

MAX_WAIT_S = 86_400.0
_KEY = re.compile(r"(?:signkey-\w+-)?(?:[0-9a-fA-F]{2})+")
_PLACE = re.compile(r"(?:\[[^\]]+\]|[^:\[\]]*)(?::\d+)?")
_HOST_NAMES = re.compile(r"[A-Za-z0-9_.:\-\[\]%]+")


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
    if settings.max_body < 1:
        raise SettingsError("The largest body must be at least one byte; 64 MiB are the default.")
    if settings.keep_ms is not None and settings.keep_ms < MIN_KEEP_MS:
        raise SettingsError("Runs must be kept for a day or longer: for so long their event ids start no second one.")
    if settings.body_memory < 1:
        raise SettingsError("The memory for bodies must be at least one byte; 256 MiB are the default.")
    database_path(settings.db)
    for url in filter(None, (settings.db, settings.db_listen)):
        _check_places(url)
    if settings.db_listen is not None and not is_postgres(settings.db_listen):
        raise SettingsError("STEPWELL_DB_LISTEN must be a postgresql:// URL: the way to the database past its proxy.")
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


def _check_places(url: str) -> None:
    """Raise :class:`SettingsError` for a URL of PostgreSQL whose hosts can not be found in it."""
    authority = re.split("[/?#]", url.partition("://")[2], maxsplit=1)[0]
    if is_postgres(url) and not all(map(_PLACE.fullmatch, authority.rpartition("@")[2].split(","))):
        raise SettingsError(
            "The URL of the PostgreSQL database can not be read: what follows a host's colon is no port; in a user or a "
            "password the characters / ? # @ : must be percent-encoded."
        )


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
