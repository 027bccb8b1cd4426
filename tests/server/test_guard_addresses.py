"""Every spelling of every forbidden address is known, and public ones pass."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.server.fetcher.addresses import forbidden
from stepwell.server.fetcher.guard import Guard
from stepwell.wire.hosts import literal
from tests.server.guard_table import FORBIDDEN4, FORBIDDEN6, PUBLIC, spellings


@pytest.mark.parametrize("address", FORBIDDEN4)
def test_forbidden_in_every_spelling(address: str) -> None:
    why = forbidden(IPv4Address(address))
    assert why is not None
    for host in spellings(address):
        found = literal(host)
        assert found is not None, host
        assert forbidden(found) is not None, host


@pytest.mark.parametrize("address", FORBIDDEN6)
def test_forbidden_ipv6(address: str) -> None:
    assert forbidden(IPv6Address(address)) is not None
    assert literal(f"[{address}]") == IPv6Address(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    assert forbidden(ip_address(address)) is None


@pytest.mark.parametrize(
    "name",
    [
        "example.com",
        "1.2.3.4.5",
        "256.1.1.1",
        "1.2.3.999",
        "a.1",
        "0x",
        "08.1.1.1",
        "",
        "x::y",
        "..",
        "127.0.0.1.nip.io",
        "4294967296",
        "1.16777216",
        "1.1.65536",
        "1.1.1.256",
    ],
)
def test_names_are_no_addresses(name: str) -> None:
    assert literal(name) is None or name == "0x"


@given(st.integers(0, 2**32 - 1))
def test_all_spellings_of_an_address_are_one(number: int) -> None:
    address = IPv4Address(number)
    for host in (str(address), str(number), hex(number), oct(number).replace("0o", "0"), f"{address}."):
        assert literal(host) == address
    assert forbidden(IPv6Address(f"::ffff:{address}")) == forbidden(address)
    assert forbidden(IPv6Address(f"64:ff9b::{address}")) == forbidden(address)


@given(st.integers(0, 2**32 - 1))
def test_never_more_open_than_the_standard_library(number: int) -> None:
    address = IPv4Address(number)
    if forbidden(address) is None:
        assert address.is_global
        assert not address.is_multicast


@given(st.integers(0, 2**128 - 1))
def test_ipv6_is_never_more_open_than_the_standard_library(number: int) -> None:
    address = IPv6Address(number)
    if forbidden(address) is None and number >> 32 not in (0, 0xFFFF, 0xFFFF0000, 0x64FF9B << 64):
        assert address.is_global
        assert not address.is_multicast


@given(st.text(max_size=40))
def test_literal_takes_any_text(text: str) -> None:
    found = literal(text)
    assert found is None or forbidden(found) is None or isinstance(forbidden(found), str)


@pytest.mark.parametrize("entry", ["8080", "0", "8080:80"])
def test_a_port_is_no_entry_of_the_allow_list(entry: str) -> None:
    """It would be read as an address that nobody means."""
    with pytest.raises(ValueError, match=r"no address; a port alone is written \*:6379"):
        Guard(allow=(entry,))
