"""Cookies that a redirect sets: sent to the hops that they are for, and to nobody else; forgotten with the request."""

import pytest

from stepwell.server.fetcher.client import AiohttpFetcher
from stepwell.server.fetcher.cookies import cookies_of
from stepwell.server.fetcher.guard import Guard
from stepwell.wire.fetch import FetchRequest, FetchResponse, Hop
from tests.server.hostile_server import hostile, plain, redirect

FIRST = "https://app.example.com/a/b"


def sent(url: str, *lines: str, of: str = FIRST) -> str | None:
    return cookies_of([Hop(302, of, tuple(("Set-Cookie", line) for line in lines))], url)


@pytest.mark.parametrize(
    ("line", "url", "found"),
    [
        ("a=1", "https://app.example.com/a/c", "a=1"),
        ("a=1", "https://app.example.com:8443/a/", "a=1"),
        ("a=1", "https://app.example.com/b", None),
        ("a=1; Path=/", "https://app.example.com/b", "a=1"),
        ("a=1; Path=/", "https://other.example.com/", None),
        ("a=1; Path=/", "https://example.com/", None),
        ("a=1; Path=/; Domain=example.com", "https://other.example.com/", "a=1"),
        ("a=1; Path=/; Domain=other.example.com", "https://other.example.com/", None),
        ("a=1; Path=/; Domain=com", "https://victim.com/", None),
        ("a=1; Path=/; Domain=ample.com", "https://app.ample.com/", None),
        ("a=1; Path=/; Secure", "https://app.example.com/", "a=1"),
        ("a=1; Path=/; Secure", "http://app.example.com/", None),
        ("a=1; Path=/; HttpOnly; SameSite=Strict", "https://app.example.com/", "a=1"),
        ("a=1; Path=/; Max-Age=0", "https://app.example.com/", None),
        ("a=1; Path=/; Max-Age=60", "https://app.example.com/", "a=1"),
        ("a=1; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "https://app.example.com/", None),
        ('a="x y"; Path=/', "https://app.example.com/", 'a="x y"'),
        ("a=\xe9; Path=/", "https://app.example.com/", "a=\xe9"),
        ("", "https://app.example.com/", None),
        ("=;;=", "https://app.example.com/", None),
    ],
)
def test_where_a_cookie_goes(line: str, url: str, found: str | None) -> None:
    assert sent(url, line) == found


def test_later_ones_replace_and_delete_earlier_ones() -> None:
    hops = [
        Hop(302, FIRST, (("Set-Cookie", "a=1; Path=/"), ("set-cookie", "b=2; Path=/"), ("X", "Set-Cookie: c=3"))),
        Hop(302, "https://app.example.com/", (("SET-COOKIE", "a=4; Path=/"), ("Set-Cookie", "b=; Max-Age=0; Path=/"))),
        Hop(302, "https://evil.test/", (("Set-Cookie", "a=5; Domain=app.example.com; Path=/"),)),
    ]
    assert cookies_of(hops, FIRST) == "a=4"
    assert cookies_of([], FIRST) is None


async def test_a_hop_gets_them_beside_those_of_the_user_and_the_next_request_does_not() -> None:
    steps = [redirect("/b", "302 F\r\nSet-Cookie: a=1; Path=/"), plain(b"done"), plain(b"done")]
    async with hostile(*steps) as server:
        fetcher = AiohttpFetcher(Guard(allow_private=True))
        for url in ("/a", "/b"):
            outcome = await fetcher.fetch(FetchRequest(url=server.url + url, headers=(("cookie", "mine=0"),)))
            assert isinstance(outcome, FetchResponse)
        await fetcher.close()
        found = [exchange.header(b"cookie") for exchange in server.seen]
        assert found == [[b"mine=0"], [b"mine=0; a=1"], [b"mine=0"]]


async def test_another_host_gets_none_and_who_is_led_back_gets_its_own() -> None:
    """The user's own went to the first origin only, and do not come back."""
    last = plain(b"done")
    addresses: list[str] = []

    async def back(exchange: object) -> None:
        await exchange.send(redirect(f"{addresses[0]}/c", "302 F\r\nSet-Cookie: b=2; Path=/"))  # type: ignore[attr-defined]

    async with hostile(back) as other:
        away = redirect(f"http://localhost:{other.port}/b", "302 F\r\nSet-Cookie: a=1; Path=/")
        async with hostile(away, last) as server:
            addresses.append(server.url)
            fetcher = AiohttpFetcher(Guard(allow_private=True))
            await fetcher.fetch(FetchRequest(url=server.url + "/a", headers=(("Cookie", "mine=0"),)))
            await fetcher.close()
            assert other.seen[0].header(b"cookie") == []
            assert server.seen[1].header(b"cookie") == [b"a=1"]
