"""How requests reach which hosts: proxies, trusted certificates, client certificates, as people write them. Pure."""

from collections.abc import Mapping
from typing import cast
from urllib.parse import urlsplit

import msgspec

from stepwell.core.flow.host_rules import BadHostRule, check_once, host_pattern, members_of

_MEMBERS = ("proxy", "ca", "cert", "key")
_PORTS = {"http": 80, "https": 443}


class Network(msgspec.Struct, frozen=True, omit_defaults=True):
    """The way to the hosts that ``pattern`` names, as rules of limits name them; the closest one holds, alone.

    ``proxy``: its URL, with user and password where it asks for them. ``ca``: a PEM file, or a folder, of the certificates that
    are trusted instead of the system's. ``cert``, ``key``: PEM files of the client's certificate and its key.
    """

    pattern: str
    proxy: str | None = None
    ca: str | None = None
    cert: str | None = None
    key: str | None = None

    def __repr__(self) -> str:
        """Without the proxy's password: settings end up in logs."""
        return f"Network({self.pattern!r})"

    @property
    def proxy_place(self) -> tuple[str, int] | None:
        """The proxy's host and port."""
        if self.proxy is None:
            return None
        parts = urlsplit(self.proxy)
        return parts.hostname or "", parts.port or _PORTS[parts.scheme]


def parse_networks(value: object) -> tuple[Network, ...]:
    """Networks by pattern: ``{"*.corp.example": {"proxy": "http://proxy.example:3128", "ca": "/etc/corp.pem"}}``.

    Raises :class:`BadHostRule`.
    """
    if not isinstance(value, Mapping):
        raise BadHostRule('The networks must be an object such as {"*": {"proxy": "http://proxy.example:3128"}}.')
    given = cast("Mapping[str, object]", value).items()
    networks = tuple(_network(str(pattern), members) for pattern, members in given)
    check_once([network.pattern for network in networks])
    return networks


def _network(pattern: str, value: object) -> Network:
    name = host_pattern(pattern)
    where = f"The network of host {name}"
    members = members_of(where, value, _MEMBERS)
    for member, text in members.items():
        if not isinstance(text, str) or not text:
            raise BadHostRule(f"{where}: {member} must be a text.")
    found = Network(name, **cast("dict[str, str]", members))
    if found.key is not None and found.cert is None:
        raise BadHostRule(f"{where}: key needs cert, the certificate that it belongs to.")
    if found.proxy is not None:
        _check_proxy(where, found.proxy)
    return found


def _check_proxy(where: str, proxy: str) -> None:
    try:
        parts = urlsplit(proxy)
        good = parts.scheme in _PORTS and parts.hostname and parts.port != 0 and not parts.path.strip("/")
    except ValueError:
        good = False
    if not good:
        raise BadHostRule(f"{where}: proxy must be http://host:port or https://host:port.")
