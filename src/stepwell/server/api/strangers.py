"""What a browser on this machine may be made to ask. A development platform asks for no key, so it looks at who asks.

A page of any site can send requests to ``localhost``, and a name of any site can be made to lead there (DNS rebinding). Either
could read runs, and have the platform make requests inside of the network.
"""

from functools import lru_cache
from urllib.parse import urlsplit

from starlette.types import Scope

from stepwell.server.api.body import header
from stepwell.server.api.problems import Problem
from stepwell.server.settings import Settings
from stepwell.wire.hosts import literal

_FOR_ALL = ("/e/", "/v1/realtime/sse", "/v1/realtime/connect", "/v1/openapi.json", "/health")
_NO_SITES = (".localhost", ".local", ".localdomain", ".internal", ".test", ".lan", ".home.arpa")
"""Names that no public name server knows."""


def refuse_strangers(settings: Settings, scope: Scope) -> None:
    """Raise :class:`Problem` 403 for a name that leads here, and for what a page of another site may not ask."""
    if not settings.dev:
        return
    host = header(scope, "host") or ""
    if _is_loopback(settings.host) and not _leads_home(host) and not _same(host, settings.public_url):
        raise Problem(
            403,
            f"{host} leads to a development platform, which is for this machine: use localhost, or set STEPWELL_PUBLIC_URL.",
        )
    if not str(scope["path"]).startswith(_FOR_ALL) and from_elsewhere(settings, scope):
        raise Problem(403, "A page of another site may send events to a development platform, and ask it nothing else.")


def from_elsewhere(settings: Settings, scope: Scope) -> bool:
    """Whether a browser says that the page of another site sent this, which is neither ours nor on this network."""
    origin = header(scope, "origin")
    if origin is None:
        return False
    place = origin.partition("://")[2]
    ours = place in (header(scope, "host"), header(scope, "x-forwarded-host")) or _same(place, settings.public_url)
    return not ours and not _is_near(origin)


@lru_cache(maxsize=256)
def _leads_home(host: str) -> bool:
    """Whether no site can have this name: an address, one without a dot, one of special use."""
    name = _name(f"//{host}")
    return name is not None and (literal(name) is not None or "." not in name or name.endswith(_NO_SITES))


@lru_cache(maxsize=256)
def _is_near(origin: str) -> bool:
    """Whether a page of this origin comes from this machine or network."""
    name = _name(origin)
    address = literal(name or "")
    if address is not None:
        return address.is_private
    return bool(name) and _leads_home(str(name))


def _name(url: str) -> str | None:
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return None


def _same(place: str, public_url: str | None) -> bool:
    return public_url is not None and place == urlsplit(public_url).netloc


def _is_loopback(host: str) -> bool:
    address = literal(host)
    return host == "localhost" if address is None else address.is_loopback
