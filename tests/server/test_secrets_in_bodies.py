"""Secrets are taken out of bodies while they arrive, as they are taken out of the record."""

import asyncio
import gzip
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from stepwell.server.clock import SystemClock
from stepwell.server.fetcher.client import AiohttpFetcher
from stepwell.server.fetcher.guard import Guard
from stepwell.server.secrets.config import build_vault
from stepwell.server.secrets.fetcher import SecretFetcher
from stepwell.server.secrets.tee import CleanTee
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


class Place:
    """Where large bodies go."""

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
        tee.begin(replace(answer, body=b""))
        tee.write(answer.body)
        return answer

    async def close(self) -> None:
        return None


def made(inner: Scripted) -> SecretFetcher:
    vault = build_vault(
        Settings(secrets_hosts="API_KEY=127.0.0.1"),
        AiohttpFetcher(Guard(allow_private=True)),
        SystemClock(),
        {"API_KEY": "value-123"},
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
