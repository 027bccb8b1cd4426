"""Which addresses are nobody's business: a pure table over every spelling of them (IANA special-purpose registries)."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from stepwell.wire.hosts import Address

_METADATA4 = frozenset(map(IPv4Address, ("169.254.169.254", "100.100.100.200", "192.0.0.192", "168.63.129.16")))
_METADATA6 = frozenset(map(IPv6Address, ("fd00:ec2::254", "fd20:ce::254")))

_TABLE4: tuple[tuple[IPv4Network, str], ...] = tuple(
    (IPv4Network(network), why)
    for network, why in (
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "carrier-grade NAT"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "reserved"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
)
_TABLE6: tuple[tuple[IPv6Network, str], ...] = tuple(
    (IPv6Network(network), why)
    for network, why in (
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("64:ff9b:1::/48", "reserved"),
        ("2001:2::/48", "benchmarking"),
        ("2001:db8::/32", "documentation"),
        ("2001:10::/28", "reserved"),
        ("2001:20::/28", "reserved"),
        ("3fff::/20", "documentation"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "private"),
        ("ff00::/8", "multicast"),
    )
)
_GLOBAL6 = IPv6Network("2000::/3")
_IETF6 = IPv6Network("2001::/23")
_TEREDO = IPv6Network("2001::/32")
_NAT64 = IPv6Network("64:ff9b::/96")
_TRANSLATED = IPv6Network("::ffff:0:0:0/96")
_COMPATIBLE = IPv6Network("::/96")


@lru_cache(maxsize=4_096)
def forbidden(address: Address) -> str | None:
    """Why a request must not go to this address ("loopback", "private", "metadata" …), or None when it is public.

    An IPv4 address inside of an IPv6 one (mapped, translated, NAT64, 6to4, Teredo, ISATAP) is judged as itself.
    """
    if isinstance(address, IPv4Address):
        return _forbidden4(address)
    if address in _METADATA6:
        return "metadata"
    plain = IPv6Address(int(address))
    for network, why in _TABLE6:
        if plain in network:
            return why
    inside = _inside(plain)
    if inside:
        return next((why for ip in inside if (why := _forbidden4(ip)) is not None), None)
    return None if plain in _GLOBAL6 and plain not in _IETF6 else "reserved"


def _forbidden4(address: IPv4Address) -> str | None:
    if address in _METADATA4:
        return "metadata"
    return next((why for network, why in _TABLE4 if address in network), None)


def _inside(address: IPv6Address) -> list[IPv4Address]:
    number = int(address)
    low = IPv4Address(number & 0xFFFFFFFF)
    if address.ipv4_mapped is not None or any(address in net for net in (_NAT64, _TRANSLATED, _COMPATIBLE)):
        return [low]
    if address.sixtofour is not None:
        return [address.sixtofour]
    if address in _TEREDO and address.teredo is not None:
        return list(address.teredo)
    if address in _GLOBAL6 and number >> 32 & 0xFDFFFFFF == 0x5EFE:
        return [low]
    return []
