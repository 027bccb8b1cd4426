"""The way to each host: through which proxy, and with which certificates."""

import ssl
from collections.abc import Iterable
from dataclasses import dataclass

from yarl import URL

from stepwell.core.flow.hosts import closest, host_of
from stepwell.core.networks import Network
from stepwell.server.fetcher.guard import Guard
from stepwell.server.fetcher.tls import client_context
from stepwell.wire.hosts import ascii_host, literal


class BadNetwork(ValueError):
    """A network can not be used; one sentence that says which, and what to do."""


@dataclass(frozen=True, slots=True)
class Route:
    """What a request is sent with. ``tls`` None: the usual context."""

    proxy: URL | None = None
    tls: ssl.SSLContext | None = None


DIRECT = Route()


class Networks:
    """The routes of all hosts. Reads the files once. Raises :class:`BadNetwork`."""

    def __init__(self, networks: Iterable[Network] = ()) -> None:
        self._routes = {network.pattern: _route(network) for network in networks}

    def route(self, url: str) -> Route:
        """How the request to this URL is sent."""
        return closest(self._routes, host_of(url)) or DIRECT if self._routes else DIRECT


def check_proxies(networks: Iterable[Network], guard: Guard) -> None:
    """Raise :class:`BadNetwork` for a proxy that is not on the guard's allow-list, whatever its address is."""
    for network in networks:
        place = network.proxy_place
        if place is None:
            continue
        host, port = place
        if not guard.admits(ascii_host(host).rstrip("."), literal(host), port):
            shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            raise BadNetwork(
                f"The proxy {shown} of host {network.pattern} is not on the guard's allow-list: add {shown} to "
                "STEPWELL_FETCH_ALLOW."
            )


def _route(network: Network) -> Route:
    proxy = None if network.proxy is None else URL(network.proxy)
    if network.ca is None and network.cert is None:
        return Route(proxy)
    try:
        return Route(proxy, client_context(network.ca, network.cert, network.key))
    except OSError as error:
        files = ", ".join(file for file in (network.ca, network.cert, network.key) if file)
        raise BadNetwork(f"The network of host {network.pattern}: {files} can not be used ({_words(error)}).") from None


def _words(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).lower().replace("_", " ")
    return (error.strerror or type(error).__name__).lower()
