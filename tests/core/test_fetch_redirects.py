"""Redirects: method, body, credentials, schemes, fragments."""

from typing import Any

import pytest

from stepwell.core.fetch_redirects import MAX_REDIRECTS, next_hop
from stepwell.wire.fetch import FetchBroken, FetchPolicy, FetchRequest, FetchResponse, Hop


def hop(
    location: str | None, status: int = 302, method: str = "GET", url: str = "https://h.test/a/b", **more: Any
) -> Any:
    body = b"body" if method == "POST" else None
    headers = more.pop("headers", ())
    history = (Hop(302, "x"),) * more.pop("hops", 0)
    request = FetchRequest(url=url, method=method, headers=headers, body=body, **more)
    answer = FetchResponse(
        status=status, url=url, headers=(("Location", location),) if location is not None else (), history=history
    )
    return next_hop(request, answer)


@pytest.mark.parametrize(
    ("status", "method", "then", "keeps"),
    [
        (301, "GET", "GET", False),
        (301, "POST", "GET", False),
        (302, "POST", "GET", False),
        (302, "PUT", "PUT", False),
        (303, "POST", "GET", False),
        (303, "DELETE", "GET", False),
        (303, "HEAD", "HEAD", False),
        (307, "POST", "POST", True),
        (308, "POST", "POST", True),
    ],
)
def test_methods_and_bodies(status: int, method: str, then: str, keeps: bool) -> None:
    found = hop("/c", status, method, headers=(("Content-Type", "x"), ("Accept", "y")))
    assert (found.method, found.body) == (then, b"body" if keeps else None)
    assert ("Content-Type", "x") in found.headers or then != method
    assert ("Accept", "y") in found.headers


@pytest.mark.parametrize("status", [200, 201, 300, 304, 305, 400])
def test_what_is_no_redirect(status: int) -> None:
    assert hop("/c", status) is None


def test_redirects_that_are_answers() -> None:
    assert hop(None) is None
    assert hop("") is None
    assert hop("/c", policy=FetchPolicy(follow_redirects=False)) is None


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/c", "https://h.test/c"),
        ("c?d=1", "https://h.test/a/c?d=1"),
        ("../c", "https://h.test/c"),
        ("?q", "https://h.test/a/b?q"),
        ("//other.test/x", "https://other.test/x"),
        ("https://h.test:444/", "https://h.test:444/"),
        (" /c ", "https://h.test/c"),
        ("/\xc3\xa4", "https://h.test/%C3%A4"),
        ("/\xe4", "https://h.test/%C3%A4"),
        ("/c#own", "https://h.test/c#own"),
        ("https://user:pass@h.test/", "https://h.test/"),
    ],
)
def test_locations(location: str, url: str) -> None:
    assert hop(location).url == url


def test_fragments_are_inherited() -> None:
    assert hop("/c", url="https://h.test/a#part").url == "https://h.test/c#part"
    assert hop("/c#own", url="https://h.test/a#part").url == "https://h.test/c#own"


SECRETS = tuple(
    (name, "s") for name in ("Authorization", "Cookie", "X-Api-Key", "Proxy-Authorization", "Host", "X-Secret")
)


@pytest.mark.parametrize("location", ["https://other.test/", "https://h.test:8443/", "https://sub.h.test/"])
def test_another_origin_gets_no_credentials(location: str) -> None:
    assert hop(location, headers=(*SECRETS, ("X-Kept", "1"))).headers == (("X-Kept", "1"),)


@pytest.mark.parametrize("location", ["/c", "https://h.test:443/c", "https://H.TEST/c"])
def test_the_same_origin_keeps_them(location: str) -> None:
    assert hop(location, headers=SECRETS).headers == SECRETS


def test_https_never_goes_down() -> None:
    found = hop("http://h.test/c?token=hunter2")
    assert isinstance(found, FetchBroken)
    assert (found.kind, found.final, found.sent) == ("redirect", True, True)
    assert "hunter2" not in found.message
    assert hop("https://h.test/", url="http://h.test/").url == "https://h.test/"


def test_at_most_twenty_are_followed() -> None:
    assert isinstance(hop("/c", hops=MAX_REDIRECTS - 1), FetchRequest)
    assert hop("/c", hops=MAX_REDIRECTS).kind == "redirect"


@pytest.mark.parametrize(
    "location", ["ftp://h/", "http://", "https://[::1", "https://h:x/", "javascript:1", "https://h/\x01"]
)
def test_places_that_can_not_be_used(location: str) -> None:
    found = hop(location)
    assert isinstance(found, FetchBroken)
    assert (found.kind, found.final) == ("redirect", True)
