"""Hosts of URLs: in other letters, as addresses in every spelling, and in the one form in which they are compared. Pure."""

import unicodedata
from contextlib import suppress
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import unquote

Address = IPv4Address | IPv6Address


@lru_cache(maxsize=4_096)
def canonical(host: str) -> str:
    """The host as rules, limits and allow-lists compare it, however it is spelt.

    Lower case, other letters in their xn-- form, no dot at the end; an address in its one form, IPv6 in brackets, and an
    IPv4 address inside of an IPv6 one as itself. Raises ``ValueError`` for what is no name.
    """
    name = ascii_host(host).lower().rstrip(".")
    address = literal(name)
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    if address is None:
        return name
    return f"[{address}]" if isinstance(address, IPv6Address) else str(address)


def ascii_host(host: str) -> str:
    """The name as it is looked up (UTS 46, as browsers do it). Raises ``ValueError`` for what is no name."""
    if host.isascii():
        return host
    import idna

    with suppress(idna.IDNAError):
        return idna.encode(host, uts46=True).decode("ascii")
    return host.encode("idna").decode("ascii")  # symbols, which IDNA 2008 has no more, and underscores


@lru_cache(maxsize=4_096)
def literal(host: str) -> Address | None:
    """The address that a host spells, or None for a name.

    Takes what browsers and the C library take: decimal, octal, hexadecimal and short forms (``0x7f.1``,
    ``2130706433``), brackets, trailing dots, a zone id, percent-encoding, full-width digits.
    """
    text = unicodedata.normalize("NFKC", unquote(host)).replace("\u3002", ".").strip().strip("[]").rstrip(".")
    if ":" in text:
        try:
            return ip_address(text.split("%")[0])
        except ValueError:
            return None
    parts = text.split(".")
    if not 1 <= len(parts) <= 4:
        return None
    numbers = [_number(part) for part in parts]
    return _assemble([number for number in numbers if number is not None]) if None not in numbers else None


def _number(text: str) -> int | None:
    base = 10
    if text[:2] in ("0x", "0X"):
        text, base = text[2:] or "0", 16
    elif len(text) > 1 and text.startswith("0"):
        text, base = text[1:], 8
    if not text.isascii() or not text.isalnum():
        return None
    try:
        return int(text, base)
    except ValueError:
        return None


def _assemble(numbers: list[int]) -> IPv4Address | None:
    *heads, last = numbers
    if any(head > 255 for head in heads) or last >= 256 ** (4 - len(heads)):
        return None
    value = last
    for index, head in enumerate(heads):
        value += head << 8 * (3 - index)
    return IPv4Address(value)
