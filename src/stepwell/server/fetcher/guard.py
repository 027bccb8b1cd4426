"""The guard: which hosts, addresses and ports a durable request may go to. Decides; the connector asks it."""

import errno
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from urllib.parse import urlsplit

from stepwell.server.fetcher.addresses import forbidden
from stepwell.wire.fetch_urls import DEFAULT_PORTS
from stepwell.wire.hosts import Address, ascii_host, literal

_AT_HOME = frozenset({"loopback", "private", "unspecified"})
"""What ``allow_private`` admits: never link-local, where metadata services live."""

_METADATA_NAMES = frozenset(
    {
        "metadata",
        "metadata.goog",
        "metadata.google.internal",
        "metadata.azure.internal",
        "metadata.platformequinix.com",
        "instance-data",
        "instance-data.ec2.internal",
    }
)

_AT_THE_PROXY = (".localhost", ".local", ".localdomain", ".internal", ".home.arpa")
"""Names of special use (RFC 6761, 6762, 8375) and their like, which no public name server knows."""

_BAD_PORTS = frozenset(
    {1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109, 110}
    | {
        111,
        113,
        115,
        117,
        119,
        123,
        135,
        137,
        139,
        143,
        161,
        179,
        389,
        427,
        445,
        465,
        512,
        513,
        514,
        515,
        526,
        530,
        531,
    }
    | {532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060}
    | {5061, 6000, 6379, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080, 11211}
)
"""Ports of protocols that a crafted request can talk to: the Fetch standard's list, SMB, Redis and memcached."""

Network = IPv4Network | IPv6Network


class GuardDenied(OSError):
    """The guard said no; ``str()`` is the sentence for people. An OSError, so that connection code passes it on."""

    def __init__(self, message: str) -> None:
        super().__init__(errno.EACCES, message)
        self.message = message

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True)
class _Pattern:
    """One entry of the allow-list: a host (``*.`` for its subdomains), a network, or any; and a port, or any."""

    host: str | None
    network: Network | None
    port: int | None

    def covers(self, host: str | None, address: Address | None, port: int) -> bool:
        if self.port is not None and self.port != port:
            return False
        if self.network is not None:
            return address is not None and address in self.network
        return self.host is None or (host is not None and self._names(host))

    def is_port(self, port: int) -> bool:
        """Whether this entry is about that port alone."""
        return self.host is None and self.network is None and self.port == port

    def _names(self, host: str) -> bool:
        if self.host is not None and self.host.startswith("*."):
            return host.endswith(self.host[1:])
        return host == self.host


def _pattern(text: str) -> _Pattern:
    """``host``, ``*.host``, ``10.0.0.0/8``, ``[fd00::]/8``, with ``:port`` or without; ``*:port`` for a port alone."""
    rest, port = text.strip().lower(), None
    head, colon, tail = rest.rpartition(":")
    if colon and tail.isdigit() and (head.count(":") == 0 or "]" in head):
        rest, port = head, int(tail)
    bare = rest.replace("[", "").replace("]", "")
    if not bare or (bare == "*" and port is None) or (port is not None and not 0 < port < 65_536):
        raise ValueError(f"{text!r} is no entry for the guard's allow-list: write a host, a network, or *:port")
    if bare == "*":
        return _Pattern(None, None, port)
    if bare.isdigit() and int(bare) < 65_536:  # as an address it would be one of 0.0.0.0/16
        raise ValueError(f"{text!r} is no host and no address; a port alone is written *:6379")
    try:
        return _Pattern(None, ip_network(literal(bare) or bare, strict=False), port)
    except ValueError:
        if "/" in bare:
            raise ValueError(f"{text!r} is no network that the guard's allow-list can hold") from None
    under = "*." if bare.startswith("*.") else ""
    try:
        return _Pattern(under + ascii_host(bare.removeprefix(under)).rstrip("."), None, port)
    except ValueError:
        raise ValueError(f"{text!r} is no host that the guard's allow-list can hold") from None


@dataclass(frozen=True, slots=True)
class Guard:
    """Rules for outbound requests. Raises ``ValueError`` for an allow-list that can not be read.

    ``allow_private`` (development) admits loopback and private addresses, never link-local or metadata ones.
    ``allow`` names hosts, networks and ports that are admitted whatever they are: ``api.internal``, ``*.corp``,
    ``10.1.0.0/16:8080``, ``*:6379``.
    """

    allow_private: bool = False
    allow: tuple[str, ...] = ()
    _patterns: tuple[_Pattern, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_patterns", tuple(map(_pattern, self.allow)))

    def check_url(self, url: str, *, proxied: bool = False) -> None:
        """Judge what can be judged before a look-up: scheme, port, name, literal address. Raises ``GuardDenied``.

        ``proxied``: there will be no look-up here, so names that mean the proxy's own machine are judged too.
        """
        host, address, port = _goal(url)
        if self.admits(host, address, port):
            return
        if port in _BAD_PORTS and not any(pattern.is_port(port) for pattern in self._patterns):
            raise GuardDenied(f"port {port} belongs to another protocol; the guard's allow-list can admit it")
        if host in _METADATA_NAMES:
            raise GuardDenied(f"{host} is a metadata service, which no request may reach")
        if address is not None:
            self.check_address(None, address, port)
        elif proxied and not self.allow_private and (host == "localhost" or host.endswith(_AT_THE_PROXY)):
            raise GuardDenied(f"{host} is the proxy's own machine or network; the guard's allow-list can admit it")

    def check_address(self, host: str | None, address: Address, port: int) -> None:
        """Judge one address that is about to be connected, found under the name ``host``. Raises ``GuardDenied``."""
        why = forbidden(address)
        if why is None or (self.allow_private and why in _AT_HOME) or self.admits(host, address, port):
            return
        shown = f"{host} leads to {address}, which" if host else str(address)
        raise GuardDenied(f"{shown} is a {why} address, closed to requests; the guard's allow-list can admit it")

    def admits(self, host: str | None, address: Address | None, port: int) -> bool:
        """Whether the allow-list names this host or address (an entry for a port alone admits no address)."""
        if not self._patterns:
            return False
        named = (p for p in self._patterns if p.host is not None or p.network is not None)
        return any(pattern.covers(host, address, port) for pattern in named)


@lru_cache(maxsize=1_024)
def _goal(url: str) -> tuple[str, Address | None, int]:
    """Host, literal address and port of a URL. Raises ``GuardDenied``."""
    parts = urlsplit(url)
    named = parts.hostname
    if parts.scheme not in DEFAULT_PORTS or not named:
        raise GuardDenied("only http and https URLs with a host can be requested")
    return named.rstrip("."), literal(named), parts.port or DEFAULT_PORTS[parts.scheme]
