"""Secrets are taken out of bodies while they arrive, as they are taken out of the record."""

import asyncio
import gzip
from itertools import pairwise
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from stepwell.core.fetch_redirects import next_hop
from stepwell.server.clock import SystemClock
from stepwell.server.fetcher.base import Fetcher
from stepwell.server.fetcher.client import AiohttpFetcher
from stepwell.server.fetcher.guard import Guard
from stepwell.server.secrets.config import build_vault
from stepwell.server.secrets.fetcher import SecretFetcher
from stepwell.server.secrets.tee import Cleaner, CleanTee
from stepwell.server.settings import Settings
from stepwell.wire.fetch import FetchBroken, FetchOutcome, FetchPolicy, FetchRequest, FetchResponse
from stepwell.wire.secrets import reference, scrub

REF = reference("API_KEY")


class Heard:
    def __init__(self) -> None:
        self.heads: list[FetchResponse] = []
        self.parts: list[bytes] = []

    def begin(self, head: FetchResponse) -> None:
        self.heads.append(head)

    def write(self, data: bytes) -> None:
        self.parts.append(data)


HEAD = FetchResponse(status=200, url="https://h/")


@given(
    st.binary(max_size=60),
    st.lists(st.integers(0, 80), max_size=8),
    st.sampled_from([b"abcabd", b"aaaaab", b"xyxyxyz"]),
)
def test_a_stream_reads_as_the_record_does(noise: bytes, cuts: list[int], value: bytes) -> None:
    whole = value[:3] + noise + value + value[:-1] + value + noise[:5] + value[:4]
    heard = Heard()
    tee = CleanTee(heard, [value], lambda head: head)
    tee.begin(HEAD)
    places = [0, *sorted(cuts), len(whole)]
    for start, end in pairwise(places):
        tee.write(whole[start:end])
    tee.flush()
    assert b"".join(heard.parts) == whole.replace(value, b"*" * len(value))


@given(st.data(), st.binary(max_size=20), st.lists(st.integers(0, 60), max_size=8))
def test_of_two_values_the_longer_one_goes_first_wherever_the_stream_is_cut(
    data: st.DataObject, noise: bytes, cuts: list[int]
) -> None:
    """One is the beginning, the end or the middle of the other, or they overlap."""
    few = st.lists(st.sampled_from([b"abab", b"ababcdcd", b"cdcd", b"babc", b"dcab", b"ab", b"d", noise]), max_size=9)
    values = sorted(data.draw(st.permutations([b"ababcdcd", b"abab", b"babc", b"dcdab"])), key=len, reverse=True)
    whole = b"".join(data.draw(few))
    recorded = whole
    for value in values:
        recorded = recorded.replace(value, b"*" * len(value))
    cleaner = Cleaner(values)
    shown = [cleaner.clean(whole[start:end]) for start, end in pairwise([0, *sorted(cuts), len(whole)])]
    assert b"".join(shown) + cleaner.rest() == recorded


async def test_a_secret_that_begins_with_another_one_is_not_shown_in_part() -> None:
    """Its first half comes alone, and is the other one."""
    asked = replace(REQUEST, headers=(("X-Short", REF), ("X-Long", reference("LONG"))))
    inner = Scripted(FetchResponse(status=200, url="", body=b"value-123|-and-more"))
    heard = Heard()
    outcome = await made(inner, LONG="value-123-and-more").fetch_teed(asked, 0, heard)
    assert isinstance(outcome, FetchResponse)
    assert b"".join(heard.parts) == b"*" * 18


class Place:
    """Where large bodies go."""

    holds = 1

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def store(self, _head: FetchResponse) -> "Place":
        return self

    async def write(self, data: bytes) -> None:
        self.parts.append(data)

    async def end(self) -> int:
        return sum(map(len, self.parts))


@given(st.lists(st.integers(0, 80), max_size=8), st.sampled_from([b"abcabd", b"aaaaab"]))
def test_a_large_body_is_stored_as_the_record_would_have_it(cuts: list[int], value: bytes) -> None:
    whole = b"..." + value + value[:-1] + value + value[:4]
    place = Place()
    sink = CleanTee(place, [value], lambda head: head).store(HEAD)
    assert sink is not None

    async def run() -> int:
        for start, end in pairwise([0, *sorted(cuts), len(whole)]):
            await sink.write(whole[start:end])
        return await sink.end()

    assert asyncio.run(run()) == len(whole)
    assert b"".join(place.parts) == whole.replace(value, b"*" * len(value))


def test_an_encoded_body_with_secrets_is_taken_whole() -> None:
    tee = CleanTee(Place(), [b"value"], lambda head: head)
    assert tee.store(replace(HEAD, headers=(("content-encoding", "gzip"),))) is None


def test_an_encoded_body_with_secrets_is_not_shown_while_it_arrives() -> None:
    heard = Heard()
    tee = CleanTee(heard, [b"value-123"], lambda head: head)
    tee.begin(replace(HEAD, headers=(("Content-Encoding", "gzip"),)))
    tee.write(gzip.compress(b"your key is value-123"))
    tee.flush()
    assert (heard.heads, heard.parts) == ([], [])


def test_an_encoded_body_that_is_too_large_to_be_searched_is_no_record() -> None:
    asked = FetchRequest(url="https://h/p?k=1", headers=(("X-Key", REF),), policy=FetchPolicy(max_body=5_000))
    zipped = gzip.compress(b" " * 10_000 + b"value-123")
    heard = FetchResponse(status=200, url=asked.url, headers=(("Content-Encoding", "gzip"),), body=zipped)
    outcome = scrub(heard, asked, {"API_KEY": "value-123"})
    assert isinstance(outcome, FetchBroken)
    assert (outcome.kind, outcome.final, outcome.sent) == ("too_large", True, True)
    assert outcome.message.startswith("GET https://h: ")
    assert outcome.message.endswith("it decodes to more than 5000 bytes.")


ZIPPED = gzip.compress(b"your key: value-123")


@pytest.mark.parametrize(
    ("codings", "body"),
    [
        ("gzip", ZIPPED),
        ("gzip", gzip.compress(b"your key: value-123 " * 20)[:-9]),
        ("gzip", ZIPPED + b"junk"),
        ("utf-8, gzip", ZIPPED),
        ("gzip, zip", ZIPPED),
        ("gzip", b"your key: value-123"),
        ("zip", b"your key: value-123"),
    ],
    ids=["whole", "cut off", "junk behind", "no coding", "unknown coding", "not encoded", "unknown, not encoded"],
)
def test_what_only_a_lenient_client_would_see_is_searched(codings: str, body: bytes) -> None:
    """Data that is damaged at its end, codings that are none, and a body that is not encoded at all."""
    asked = FetchRequest(url="https://h/", headers=(("X-Key", REF),))
    heard = FetchResponse(status=200, url=asked.url, headers=(("Content-Encoding", codings),), body=body)
    outcome = scrub(heard, asked, {"API_KEY": "value-123"})
    assert isinstance(outcome, FetchResponse)
    assert outcome.body.startswith(b"your key: *********")
    assert (outcome.headers == ()) is ("gzip" in codings and b"your key" not in body)
    assert b"value-123" not in outcome.body


def test_a_stream_is_not_held_up() -> None:
    heard = Heard()
    tee = CleanTee(heard, [b"sk-123456"], lambda head: head)
    tee.begin(HEAD)
    tee.write(b"data: hello\n\n")
    assert heard.parts == [b"data: hello\n\n"]
    tee.write(b"data: sk-")
    assert heard.parts[1:] == [b"data: "]


class Scripted:
    """A fetcher that tees: one answer after the other."""

    def __init__(self, *answers: FetchOutcome) -> None:
        self.answers = list(answers)
        self.sent: list[FetchRequest] = []

    async def fetch(self, request: FetchRequest, attempt: int = 0) -> FetchOutcome:
        raise AssertionError(attempt)

    async def fetch_teed(self, request: FetchRequest, _attempt: int, tee: Any) -> FetchOutcome:
        self.sent.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, FetchBroken):
            return answer
        answer = replace(answer, url=request.url)
        if request.single and next_hop(request, answer) is not None:
            return replace(answer, body=b"", onward=True)
        tee.begin(replace(answer, body=b""))
        for part in answer.body.split(b"|"):
            tee.write(part)
        return answer

    async def close(self) -> None:
        return None


def made(inner: Fetcher, **values: str) -> SecretFetcher:
    vault = build_vault(
        Settings(secrets_hosts="; ".join(f"{name}=127.0.0.1" for name in ("API_KEY", *values))),
        AiohttpFetcher(Guard(allow_private=True)),
        SystemClock(),
        {"API_KEY": "value-123", **values},
    )
    return SecretFetcher(inner, vault)


JUMP = FetchResponse(status=307, url="", headers=(("location", "/there"),), body=b"moved")
REQUEST = FetchRequest(url="http://127.0.0.1/here", headers=(("X-Key", REF),))


async def test_only_the_last_hop_is_streamed_and_without_the_value() -> None:
    inner = Scripted(JUMP, FetchResponse(status=200, url="", body=b"your key is value-123!"))
    heard = Heard()
    outcome = await made(inner).fetch_teed(REQUEST, 0, heard)
    assert isinstance(outcome, FetchResponse)
    assert [head.url for head in heard.heads] == ["http://127.0.0.1/there"]
    assert b"".join(heard.parts) == outcome.body == b"your key is *********!"
    assert [dict(sent.headers)["X-Key"] for sent in inner.sent] == ["value-123", "value-123"]


async def test_what_a_hop_did_not_send_the_request_before_it_did() -> None:
    unsent = FetchBroken(kind="connect", message="refused")
    for answers, sent in (((unsent,), False), ((JUMP, unsent), True)):
        outcome = await made(Scripted(*answers)).fetch_teed(REQUEST, 0, Heard())
        assert isinstance(outcome, FetchBroken)
        assert outcome.sent is sent, "at_most_once must know"


async def test_the_body_of_a_redirect_is_not_taken_whole() -> None:
    """With a secret as without one: it is no result, and no limit of a result holds for it."""

    async def here(request: web.Request) -> web.Response:
        assert request.headers["X-Key"] == "value-123"
        return web.Response(status=307, headers={"Location": "/there"}, body=bytes(200_000))

    async def there(request: web.Request) -> web.Response:
        return web.Response(body=request.headers["X-Key"].encode())

    app = web.Application()
    app.add_routes([web.get("/here", here), web.get("/there", there)])
    plain = AiohttpFetcher(Guard(allow_private=True))
    async with TestServer(app) as server:
        asked = replace(REQUEST, url=str(server.make_url("/here")), policy=FetchPolicy(max_body=1_000))
        outcome = await made(plain).fetch(asked)
        await plain.close()
    assert isinstance(outcome, FetchResponse)
    assert (outcome.status, outcome.body, outcome.onward) == (200, b"*********", False)
    assert [(hop.status, hop.url) for hop in outcome.history] == [(307, asked.url)]
