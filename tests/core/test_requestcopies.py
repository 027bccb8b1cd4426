"""What stays of a request for people: all of it but its credentials."""

import base64
from urllib.parse import urlencode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.core.requestcopies import INLINE, MOST, RequestCopy, copied, read_copy
from stepwell.wire.fetch import FetchRequest
from stepwell.wire.masks import MASK
from stepwell.wire.secrets import reference

JSON = ("content-type", "application/json")
KEY = "sk-live-8f2e6d19c3b7"


def kept(request: FetchRequest) -> tuple[RequestCopy, bytes | None]:
    info, beside = copied(request, "run.step.request")
    copy = read_copy(info)
    assert copy is not None
    return copy, beside


def test_what_is_no_credential_stays_as_it_is() -> None:
    request = FetchRequest(
        url="https://h.example/a?page=2#part",
        method="POST",
        headers=(JSON, ("X-Twice", "1"), ("X-Twice", "2")),
        body=b'{"a": [1,  2]}',
    )
    copy, beside = kept(request)
    assert copy == RequestCopy("POST", "https://h.example/a", "page=2", request.headers, '{"a": [1,  2]}', follows=True)
    assert beside is None


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("Authorization", f"Bearer {KEY}", MASK),
        ("x-api-key", KEY, MASK),
        ("Cookie", f"session={KEY}", MASK),
        ("Authorization", f"Bearer {reference('API_KEY')}", f"Bearer {reference('API_KEY')}"),
        ("X-Api-Key", reference("API_KEY"), reference("API_KEY")),
        ("Authorization", f"Bearer {KEY} {reference('API_KEY')}", MASK),
        ("Authorization", "Basic " + base64.b64encode(b"me:" + KEY.encode()).decode(), MASK),
        ("Referer", f"https://me:{KEY}@h.example/?api_key={KEY}", f"https://{MASK}@h.example/?api_key={MASK}"),
    ],
)
def test_headers(name: str, value: str, shown: str) -> None:
    copy, _ = kept(FetchRequest(url="https://h.example/", headers=((name, value),)))
    assert copy.headers == ((name, shown),)


def test_basic_credentials_whose_password_is_a_reference() -> None:
    value = "Basic " + base64.b64encode(f"me:{reference('API_KEY')}".encode()).decode()
    assert kept(FetchRequest(url="https://h.example/", headers=(("Authorization", value),)))[0].headers[0][1] == value
    half = "Basic " + base64.b64encode(f"{reference('API_KEY')}:{KEY}".encode()).decode()
    assert kept(FetchRequest(url="https://h.example/", headers=(("Authorization", half),)))[0].headers[0][1] == MASK


@pytest.mark.parametrize(
    ("kind", "body", "shown"),
    [
        ("application/json", {"user": "me", "password": KEY}, {"user": "me", "password": MASK}),
        ("application/json", {"a": [{"clientSecret": KEY}]}, {"a": [{"clientSecret": MASK}]}),
        (
            "application/json",
            {"api_key": reference("K"), "max_tokens": 7},
            {"api_key": reference("K"), "max_tokens": 7},
        ),
        ("application/x-www-form-urlencoded", f"user=me&password={KEY}", f"user=me&password={MASK}"),
        ("text/plain", f"curl -H 'Authorization: Bearer {KEY}'", f"curl -H 'Authorization: {MASK}'"),
        ("application/json", f'{{"password": "{KEY}" ', None),
    ],
)
def test_bodies(kind: str, body: object, shown: object) -> None:
    data = body.encode() if isinstance(body, str) else msgspec.json.encode(body)
    copy, _ = kept(FetchRequest(url="https://h.example/", headers=(("content-type", kind),), body=data))
    if shown is None:
        return  # no JSON: nobody can tell what it means
    assert copy.text is not None
    assert (copy.text if isinstance(shown, str) else msgspec.json.decode(copy.text)) == shown


@given(st.sampled_from(["url", "body", "header", "quoted", "form", "json"]))
def test_the_key_of_a_header_is_masked_wherever_else_it_is(place: str) -> None:
    key = f"{KEY}/+"
    url = {"url": f"https://h.example/?q={key}", "quoted": f"https://h.example/?q={KEY}%2F%2B"}.get(place, "https://h/")
    bodies = {
        "body": f"say {key}".encode(),
        "form": urlencode({"q": key}).encode(),
        "json": f'{{"q":"{KEY}\\/+"}}'.encode(),
    }
    request = FetchRequest(
        url=url,
        method="POST",
        headers=(("authorization", f"Bearer {key}"), ("x-other", key if place == "header" else "no")),
        body=bodies.get(place),
    )
    info, _ = copied(request, "ref")
    assert KEY.encode() not in info


def test_large_bodies_lie_beside_the_state_and_larger_ones_are_not_kept() -> None:
    def of(size: int) -> tuple[RequestCopy, bytes | None]:
        return kept(FetchRequest(url="https://h/", method="POST", body=b"x" * size))

    assert of(INLINE)[0].text == "x" * INLINE
    copy, beside = of(INLINE + 1)
    assert (copy.text, copy.ref, copy.size, beside) == (None, "run.step.request", INLINE + 1, b"x" * (INLINE + 1))
    assert of(MOST)[0].ref
    copy, beside = of(MOST + 1)
    assert (copy.text, copy.ref, copy.size, beside) == (None, None, MOST + 1, None)


@given(st.binary(min_size=1, max_size=200))
def test_bytes_that_are_no_text_stay_exact(body: bytes) -> None:
    copy, _ = kept(FetchRequest(url="https://h/", method="PUT", headers=(("x-a", "b"),), body=b"\xff" + body))
    assert copy.data == b"\xff" + body


@given(st.one_of(st.none(), st.binary(max_size=40)))
def test_what_is_no_copy_is_none(info: bytes | None) -> None:
    assert read_copy(info) is None


def test_a_copy_of_an_earlier_version_is_read() -> None:
    assert read_copy(b'{"method":"GET","url":"http://a/"}') == RequestCopy("GET", "http://a/")
