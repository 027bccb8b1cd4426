"""Redirects: method, body, credentials, schemes, fragments."""

from typing import Any

import pytest

from stepwell.core.fetch_redirects import MAX_REDIRECTS, crosses, hop_to, next_hop
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


def test_what_belongs_to_the_body_goes_with_it_and_so_does_the_key() -> None:
    headers = (("Content-Type", "x"), ("CONTENT-LANGUAGE", "en"), ("x-key", "k"), ("Accept", "y"))
    found = hop("/c", 303, "POST", headers=headers, policy=FetchPolicy(idempotency_header="X-Key"))
    assert found.headers == (("Accept", "y"),)


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


def to(location: str, status: int = 302) -> tuple[int, str]:
    return status, location


def walk(request: FetchRequest, *answers: tuple[int, str]) -> Any:
    """What the fetcher does with these redirects: the last one leaves the host."""
    history, last = request.history, request
    for status, location in answers:
        answer = FetchResponse(status=status, url=last.url, headers=(("Location", location),), history=history)
        following = next_hop(last, answer)
        if isinstance(following, FetchBroken) or crosses(request, following):
            return following, answer
        history += (Hop(status, last.url, answer.headers),)
        last = following
    return last, None


def test_the_request_after_a_hop_is_found_again_from_its_answer() -> None:
    """What core makes of the recorded hops is what the fetcher would have sent."""
    request = FetchRequest(
        url="https://a.test/1#x", method="POST", body=b"b", headers=(("Authorization", "s"), ("X-A", "1")), stay=True
    )
    following, answer = walk(request, to("/2", 307), to("/3", 303), to("https://b.test/4"))
    found = hop_to(request, answer)
    assert isinstance(found, FetchRequest)
    assert (found.url, found.method, found.body) == ("https://b.test/4#x", "GET", None)
    assert found.headers == following.headers == (("X-A", "1"),)
    assert [(hop.status, hop.url) for hop in found.history] == [
        (307, "https://a.test/1#x"),
        (303, "https://a.test/2#x"),
        (302, "https://a.test/3#x"),
    ]
    _, answer = walk(found, to("https://c.test/"))
    last = hop_to(found, answer)
    assert isinstance(last, FetchRequest)
    assert [hop.url for hop in last.history][3:] == ["https://b.test/4#x"]


def test_hops_of_earlier_attempts_count() -> None:
    request = FetchRequest(url="https://a.test/", history=(Hop(302, "https://b.test/"),) * MAX_REDIRECTS, stay=True)
    answer = FetchResponse(
        status=302, url=request.url, headers=(("Location", "https://c.test/"),), history=request.history
    )
    assert isinstance(hop_to(request, answer), FetchBroken)


@pytest.mark.parametrize(
    ("location", "leaves"),
    [
        ("https://h.test/x", False),
        ("https://H.test:443/x", False),
        ("https://h.test:444/x", True),
        ("https://x.h.test/", True),
    ],
)
def test_only_another_host_ends_an_attempt(location: str, leaves: bool) -> None:
    request = FetchRequest(url="https://h.test/", stay=True)
    answer = FetchResponse(status=302, url=request.url, headers=(("Location", location),))
    following = next_hop(request, answer)
    assert isinstance(following, FetchRequest)
    assert crosses(request, following) is leaves
    assert not crosses(FetchRequest(url="https://h.test/"), following)
