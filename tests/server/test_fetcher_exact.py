"""The fetcher sends and records exact bytes."""

import asyncio
import gzip
from collections.abc import AsyncIterator

import pytest

from stepwell.server.fetcher.client import AiohttpFetcher, _target
from stepwell.server.fetcher.guard import Guard
from stepwell.wire.fetch import FetchPolicy, FetchRequest, FetchResponse, Timeouts
from tests.server.hostile_server import Exchange, hostile, plain, redirect


@pytest.fixture
async def fetcher() -> AsyncIterator[AiohttpFetcher]:
    made = AiohttpFetcher(Guard(allow_private=True))
    yield made
    await made.close()


async def test_request_leaves_as_it_was_given(fetcher: AiohttpFetcher) -> None:
    async with hostile(plain()) as server:
        headers = (("X-One", "1"), ("accept", "a/b"), ("X-One", "2"), ("X-Latin", "caf\u00c3\u00a9"))
        url = f"{server.url}/a/../b%2f/%zz;p?x=%20+&&y=1#frag"
        outcome = await fetcher.fetch(FetchRequest(url=url, headers=headers))
        assert isinstance(outcome, FetchResponse)
        assert outcome.url == url
        assert server.seen[0].lines == [
            b"GET /a/../b%2f/%zz;p?x=%20+&&y=1 HTTP/1.1",
            b"Host: 127.0.0.1:%d" % server.port,
            b"X-One: 1",
            b"accept: a/b",
            b"X-One: 2",
            b"X-Latin: caf\xc3\xa9",
            b"User-Agent: Stepwell/0.1.0",
        ]


async def test_repeats_in_other_cases_all_leave(fetcher: AiohttpFetcher) -> None:
    async with hostile(plain()) as server:
        await fetcher.fetch(FetchRequest(url=server.url + "/", headers=(("X-A", "1"), ("b", "2"), ("x-a", "3"))))
        assert server.seen[0].lines[2:5] == [b"X-A: 1", b"b: 2", b"X-A: 3"]


async def test_users_own_agent_host_and_type_stand(fetcher: AiohttpFetcher) -> None:
    async with hostile(plain()) as server:
        headers = (("user-agent", "mine/1"), ("Host", "other.test"), ("content-type", "x/y"))
        await fetcher.fetch(FetchRequest(url=server.url + "/", method="POST", headers=headers, body=b"\x00\xff"))
        seen = server.seen[0]
        assert seen.header(b"user-agent") == [b"mine/1"]
        assert seen.header(b"host") == [b"other.test"]
        assert seen.header(b"content-type") == [b"x/y"]
        assert seen.header(b"content-length") == [b"2"]
        assert seen.body == b"\x00\xff"


async def test_nothing_is_added_to_a_body_without_a_type(fetcher: AiohttpFetcher) -> None:
    async with hostile(plain()) as server:
        await fetcher.fetch(FetchRequest(url=server.url + "/", method="PUT", body=b"x"))
        names = [line.split(b":")[0].lower() for line in server.seen[0].lines[1:]]
        assert names == [b"host", b"user-agent", b"content-length"]


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 3_000_000])
async def test_bodies_of_any_size_leave_whole(fetcher: AiohttpFetcher, size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    async with hostile(plain()) as server:
        outcome = await fetcher.fetch(FetchRequest(url=server.url + "/", method="POST", body=body[:size]))
        assert isinstance(outcome, FetchResponse)
        assert server.seen[0].body == body[:size]
        assert server.seen[0].header(b"content-length") == [str(size).encode()]
        assert server.seen[0].header(b"transfer-encoding") == []


async def test_response_is_recorded_as_it_came(fetcher: AiohttpFetcher) -> None:
    packed = gzip.compress(bytes(range(256)))
    headers = ("Set-Cookie: a=1; Path=/", "X-Odd:   spaced  ", "set-cookie: b=2", "Content-Encoding: gzip", "X-L: \xe9")
    async with hostile(plain(packed, "299 Odd", *headers)) as server:
        outcome = await fetcher.fetch(FetchRequest(url=server.url + "/"))
        assert isinstance(outcome, FetchResponse)
        assert outcome.status == 299
        assert outcome.body == packed
        assert outcome.headers[1:] == (
            ("Set-Cookie", "a=1; Path=/"),
            ("X-Odd", "spaced"),
            ("set-cookie", "b=2"),
            ("Content-Encoding", "gzip"),
            ("X-L", "\xe9"),
        )
        assert outcome.http_version == "1.1"


async def test_cookies_are_not_kept(fetcher: AiohttpFetcher) -> None:
    async with hostile(plain(b"", "200 OK", "Set-Cookie: a=1")) as server:
        for _ in range(2):
            await fetcher.fetch(FetchRequest(url=server.url + "/"))
        assert server.seen[1].header(b"cookie") == []


async def test_connections_are_reused(fetcher: AiohttpFetcher) -> None:
    async with hostile(plain()) as server:
        outcomes = [await fetcher.fetch(FetchRequest(url=server.url + "/")) for _ in range(5)]
        assert len(server.seen) == 5
        assert server.connections == 1
        first, last = outcomes[0], outcomes[-1]
        assert isinstance(first, FetchResponse)
        assert isinstance(last, FetchResponse)
        assert first.phases.connect is not None
        assert last.phases.connect is None
        assert last.phases.first_byte is not None
        assert 0 < last.elapsed_ms < 5000


async def test_an_answer_that_nobody_asked_for_is_nobodys(fetcher: AiohttpFetcher) -> None:
    async with hostile(plain(b"first"), plain(b"second"), plain(b"third")) as server, hostile(plain()) as other:
        await fetcher.fetch(FetchRequest(url=server.url + "/"))
        await server.seen[0].send(plain(b"nobody's", "408 Request Timeout"))
        await fetcher.fetch(FetchRequest(url=other.url + "/"))  # what was sent before that has been read
        for body in (b"second", b"third"):
            found = await fetcher.fetch(FetchRequest(url=server.url + "/"))
            assert isinstance(found, FetchResponse)
            assert (found.status, found.body) == (200, body)
        assert server.connections == 2


@pytest.mark.parametrize("body", [b"", b"over there"])
async def test_a_server_that_redirects_and_closes_without_a_word_is_followed(
    fetcher: AiohttpFetcher, body: bytes
) -> None:
    async def leave(exchange: Exchange) -> None:
        exchange.writer.write(plain(body, "302 Found", "Location: /next"))
        exchange.writer.write_eof()

    async with hostile(leave, plain(b"found")) as server:
        found = await fetcher.fetch(FetchRequest(url=server.url + "/"))
        assert isinstance(found, FetchResponse), found
        assert (found.body, len(found.history), server.connections) == (b"found", 1, 2)


@pytest.mark.parametrize(
    ("method", "answer", "body"),
    [
        ("GET", plain(b"whole") + b"and more", b"whole"),
        ("GET", b"HTTP/1.1 100 Continue\r\n\r\n" + plain(b"whole") + b"and more", b"whole"),
        ("GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\n\r\nand more", b"whole"),
        ("GET", plain(b"", "204 No Content") + b"and more", b""),
        ("HEAD", plain(b"whole"), b""),
    ],
)
async def test_what_follows_a_whole_answer_does_not_spoil_it(
    fetcher: AiohttpFetcher, method: str, answer: bytes, body: bytes
) -> None:
    async with hostile(answer) as server:
        for tries in (1, 2):
            found = await fetcher.fetch(FetchRequest(url=server.url + "/", method=method))
            assert isinstance(found, FetchResponse)
            assert found.body == body
            assert (len(server.seen), server.connections) == (tries, tries)


async def test_a_second_answer_behind_a_body_of_its_own_read_is_nobodys(fetcher: AiohttpFetcher) -> None:
    async def twice(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfi")
        await head_read.wait()
        await exchange.send(b"rst" + plain(b"nobody's"))

    head_read = asyncio.Event()
    async with hostile(twice, plain(b"second")) as server, hostile(plain()) as other:
        first = asyncio.create_task(fetcher.fetch(FetchRequest(url=server.url + "/")))
        await server.arrived.wait()
        await fetcher.fetch(FetchRequest(url=other.url + "/"))
        head_read.set()
        found = [await first, await fetcher.fetch(FetchRequest(url=server.url + "/"))]
        assert [each.body for each in found if isinstance(each, FetchResponse)] == [b"first", b"second"]


async def test_an_answer_may_have_many_headers(fetcher: AiohttpFetcher) -> None:
    async with hostile(plain(b"ok", "200 OK", *(f"X-{number}: v" for number in range(500)))) as server:
        found = await fetcher.fetch(FetchRequest(url=server.url + "/"))
        assert isinstance(found, FetchResponse)
        assert len(found.headers) == 501


@pytest.mark.parametrize("script", [b"", b"half"])
async def test_a_redirect_is_followed_whatever_becomes_of_its_body(
    fetcher: AiohttpFetcher, script: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It breaks off, or it does not come."""

    async def moved(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 100\r\n\r\n" + script)
        if script:
            exchange.reset()

    monkeypatch.setattr("stepwell.server.fetcher.client._HOP_BODY_S", 0.1)
    async with hostile(moved, plain(b"there")) as server:
        found = await fetcher.fetch(FetchRequest(url=server.url + "/", policy=FetchPolicy(deadline_ms=20_000)))
        assert isinstance(found, FetchResponse)
        assert (found.body, len(found.history)) == (b"there", 1)


@pytest.mark.parametrize("answer", ["1", "chunked", "close"])
async def test_every_framing_is_understood(fetcher: AiohttpFetcher, answer: str) -> None:
    framed = {
        "1": b"HTTP/1.0 200 OK\r\n\r\nbody",
        "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2;x=y\r\ndy\r\n0\r\nT: 1\r\n\r\n",
        "close": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nbody",
    }[answer]

    async def script(exchange: Exchange) -> None:
        await exchange.send(framed)
        if answer != "chunked":
            exchange.writer.close()

    async with hostile(script) as server:
        outcome = await fetcher.fetch(FetchRequest(url=server.url + "/"))
        assert isinstance(outcome, FetchResponse), outcome
        assert outcome.body == b"body"
        assert outcome.http_version == ("1.0" if answer == "1" else "1.1")


async def test_interim_answers_are_passed_over(fetcher: AiohttpFetcher) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
    async with hostile(early + plain(b"done")) as server:
        outcome = await fetcher.fetch(FetchRequest(url=server.url + "/"))
        assert isinstance(outcome, FetchResponse)
        assert (outcome.status, outcome.body) == (200, b"done")


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 999999999\r\n\r\n"),
    ],
)
async def test_answers_without_body_keep_the_connection(fetcher: AiohttpFetcher, method: str, answer: bytes) -> None:
    async with hostile(answer) as server:
        for _ in range(2):
            outcome = await fetcher.fetch(FetchRequest(url=server.url + "/", method=method))
            assert isinstance(outcome, FetchResponse), outcome
            assert outcome.body == b""
        assert server.connections == 1


async def test_redirects_are_followed_with_their_history(fetcher: AiohttpFetcher) -> None:
    async with hostile(redirect("/two?x=1"), redirect("three", "307 Temporary Redirect"), plain(b"there")) as server:
        outcome = await fetcher.fetch(FetchRequest(url=server.url + "/one#part", method="GET"))
        assert isinstance(outcome, FetchResponse)
        assert outcome.body == b"there"
        assert outcome.url == f"{server.url}/three#part"
        assert [(hop.status, hop.url) for hop in outcome.history] == [
            (302, f"{server.url}/one#part"),
            (307, f"{server.url}/two?x=1#part"),
        ]
        assert server.connections == 1


async def test_post_becomes_get_without_its_body(fetcher: AiohttpFetcher) -> None:
    async with hostile(redirect("/b", "303 See Other"), plain()) as server:
        headers = (("Content-Type", "text/plain"), ("Idempotency-Key", "k"))
        await fetcher.fetch(FetchRequest(url=server.url + "/a", method="POST", body=b"x", headers=headers))
        second = server.seen[1]
        assert second.lines[0] == b"GET /b HTTP/1.1"
        assert second.body == b""
        assert second.header(b"content-type") == second.header(b"content-length") == []
        assert second.header(b"idempotency-key") == []


async def test_another_origin_gets_no_credentials(fetcher: AiohttpFetcher) -> None:
    async with hostile(plain()) as other, hostile(redirect(f"http://127.0.0.1:{other.port}/", "308 P")) as server:
        names = ("Authorization", "Cookie", "X-Api-Key", "Proxy-Authorization", "X-My-Token")
        headers = (*((name, "secret") for name in names), ("X-Kept", "1"))
        await fetcher.fetch(FetchRequest(url=server.url + "/", method="POST", headers=headers, body=b"b"))
        assert b"secret" in server.seen[0].head
        assert b"secret" not in other.seen[0].head
        assert other.seen[0].header(b"x-kept") == [b"1"]
        assert other.seen[0].body == b"b"


async def test_redirects_can_be_left_alone(fetcher: AiohttpFetcher) -> None:
    async with hostile(redirect("/b")) as server:
        policy = FetchPolicy(follow_redirects=False)
        outcome = await fetcher.fetch(FetchRequest(url=server.url + "/a", policy=policy))
        assert isinstance(outcome, FetchResponse)
        assert outcome.status == 302
        assert len(server.seen) == 1


async def test_an_early_answer_to_a_large_body_is_the_answer(fetcher: AiohttpFetcher) -> None:
    async with hostile(plain(b"no", "413 Too Large", "Connection: close"), read_body=False) as server:
        body = b"x" * 30_000_000
        policy = FetchPolicy(timeouts=Timeouts(read=5, write=5))
        outcome = await fetcher.fetch(FetchRequest(url=server.url + "/", method="POST", body=body, policy=policy))
        assert isinstance(outcome, FetchResponse), outcome
        assert outcome.status == 413


async def test_odd_spellings_of_an_address_are_made_plain(fetcher: AiohttpFetcher) -> None:
    async with hostile(plain()) as server:
        outcome = await fetcher.fetch(FetchRequest(url=f"http://0x7f.1:{server.port}/"))
        assert isinstance(outcome, FetchResponse), outcome
        assert server.seen[0].header(b"host") == [b"127.0.0.1:%d" % server.port]


@pytest.mark.parametrize("size", [None, 0, 3, 65_537])
async def test_header_values_leave_with_the_bytes_they_have(fetcher: AiohttpFetcher, size: int | None) -> None:
    """Every byte that a value may have (RFC 9110, 5.5), valid as UTF-8 or not, whatever comes after the head."""
    every = bytes(set(range(0x21, 0x100)) - {0x7F})
    headers = (("X-A", every.decode("latin-1")), ("X-B", "caf\xe9"), ("X-C", "caf\u00c3\u00a9"), ("X-D", "\u20ac"))
    body = None if size is None else b"\xff\r\n\r\n"[:size].ljust(size, b"z")
    async with hostile(plain()) as server:
        for _ in range(2):  # the second time on the same connection
            request = FetchRequest(url=server.url + "/", method="POST", headers=headers, body=body)
            outcome = await fetcher.fetch(request)
            assert isinstance(outcome, FetchResponse), outcome
            seen = server.seen[-1]
            assert seen.header(b"x-a") == [every]
            assert seen.header(b"x-b") == [b"caf\xe9"]
            assert seen.header(b"x-c") == ["caf\u00e9".encode()]
            assert seen.header(b"x-d") == ["\u20ac".encode()]
            assert seen.body == (body or b"")
        assert server.connections == 1


async def test_values_of_an_answer_are_recorded_with_the_bytes_they_have(fetcher: AiohttpFetcher) -> None:
    every = bytes(set(range(0x21, 0x100)) - {0x7F}).decode("latin-1")
    async with hostile(plain(b"", "200 OK", f"X-A: {every}")) as server:
        outcome = await fetcher.fetch(FetchRequest(url=server.url + "/"))
        assert isinstance(outcome, FetchResponse), outcome
        assert outcome.headers[1:] == (("X-A", every),)


async def test_an_early_answer_may_take_its_time(fetcher: AiohttpFetcher) -> None:
    """Once the server has answered, the write time-out of what it never read is no reason to give up its answer."""

    async def script(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nsl")
        await asyncio.sleep(0.4)
        await exchange.send(b"ow")

    async with hostile(script, read_body=False) as server:
        policy = FetchPolicy(timeouts=Timeouts(read=5, write=0.2))
        request = FetchRequest(url=server.url + "/", method="POST", body=b"x" * 30_000_000, policy=policy)
        outcome = await fetcher.fetch(request)
        assert isinstance(outcome, FetchResponse), outcome
        assert outcome.body == b"slow"


async def test_ipv6_in_a_long_spelling_is_made_plain() -> None:
    assert str(_target("http://[2606:4700:0:0:0:0:0:1111]:8080/a%2f?b")) == "http://[2606:4700::1111]:8080/a%2f?b"
    assert str(_target("http://[::1]/")) == "http://[::1]/"
