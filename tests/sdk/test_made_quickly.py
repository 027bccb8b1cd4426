"""Requests and responses that are made in a shorter way than httpx2's own are the ones that it would have made."""

import gzip
import pickle

import httpx2
import pytest

from stepwell.sdk import fetching
from stepwell.wire.fetch import FetchResponse, Header

URLS = (
    "http://127.0.0.1:8000/up",
    "https://api.example.com",
    "https://user:pass@example.com:8443/a%20b?x=1&y=ü#part",
    "http://[::1]:80/",
    "https://bücher.example/straße",
)
BODIES = (b"", b"text", b"\xff\xfe" * 1000)


def state(made: object) -> dict[str, object]:
    found = dict(vars(made))
    found["headers"] = found["headers"].raw  # type: ignore[attr-defined]
    for name in ("stream", "_decoder"):
        found[name] = type(found.get(name)).__name__
    return found


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize(
    "method", ["GET", "get", "HEAD", "OPTIONS", "DELETE", "TRACE", "PROPFIND", "POST", "PUT", "PATCH", "QUERY"]
)
def test_a_request_without_body_and_headers(url: str, method: str) -> None:
    usual = {"Accept": "*/*", "Accept-Encoding": httpx2.Client().headers["Accept-Encoding"]}
    plain = httpx2.Request(method, url, headers=usual)
    for _ in range(2):  # the second one has been seen before
        made = fetching.prepare(url, {"method": method}).request
        assert state(made) == state(plain)
        made.headers["X-Mine"] = "1"  # belongs to this request alone


def recorded(body: bytes, *headers: Header) -> FetchResponse:
    return FetchResponse(
        status=200, url=URLS[0], headers=(("Content-Type", "text/plain; charset=utf-8"), *headers), body=body
    )


@pytest.mark.parametrize("body", BODIES)
def test_a_response_is_as_if_it_had_been_read(body: bytes) -> None:
    asked = fetching.prepare(URLS[0], {})
    read = fetching.response_unread(recorded(body), asked, httpx2.ByteStream(body))
    read.read()
    made = fetching.response(recorded(body), asked)
    assert state(made) == state(read)
    assert (made.content, made.read(), made.text, list(made.iter_bytes(3))) == (
        read.content,
        read.read(),
        read.text,
        list(read.iter_bytes(3)),
    )
    assert pickle.loads(pickle.dumps(made)).content == body
    with pytest.raises(httpx2.StreamConsumed):
        next(made.iter_raw())


@pytest.mark.parametrize("name", ["Content-Encoding", "content-encoding"])
def test_an_encoded_response_is_read(name: str) -> None:
    made = fetching.response(recorded(gzip.compress(b"text"), (name, "gzip")), fetching.prepare(URLS[0], {}))
    assert (made.content, made.num_bytes_downloaded) == (b"text", len(gzip.compress(b"text")))


def test_the_installed_httpx2_does_what_is_known() -> None:
    assert fetching._left_by_reading() is not None


def test_another_httpx2_reads_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = httpx2.Response.read

    def read(self: httpx2.Response) -> bytes:
        self.__dict__["_more"] = True
        return plain(self)

    monkeypatch.setattr(httpx2.Response, "read", read)
    fetching._left_by_reading.cache_clear()
    try:
        made = fetching.response(recorded(b"text"), fetching.prepare(URLS[0], {}))
    finally:
        fetching._left_by_reading.cache_clear()
    assert made.content == b"text"
    assert vars(made)["_more"] is True


@pytest.mark.parametrize("url", URLS)
def test_what_is_sent_goes_where_the_request_goes(url: str) -> None:
    def elsewhere(_request: httpx2.Request) -> httpx2.Request:
        return httpx2.Request("GET", "http://elsewhere.example/x")

    ready = httpx2.Request("PUT", url, content=b"y")
    for given, options in (
        (url, {}),
        (url, {"params": {"q": "1"}}),
        (url, {"params": {}}),
        (httpx2.URL(url), {"method": "POST", "json": 1}),
        (ready, {}),
        (url, {"auth": elsewhere}),
        (url, {"auth": ("user", "password")}),
    ):
        for _ in range(2):
            asked = fetching.prepare(given, options)
            sent, request = asked.body(), asked.request
            assert (sent.url, sent.method, sent.body or b"") == (str(request.url), request.method, request.content)
            assert asked.step_id == fetching.default_id(request.method, request.url.netloc, request.url.path)
    assert fetching.prepare(url, {"auth": elsewhere}).body().url == "http://elsewhere.example/x"
