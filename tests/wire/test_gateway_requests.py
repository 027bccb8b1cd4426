"""Gateway options of every SDK become requests; ours come back exactly."""

import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.wire.fetch import FetchPolicy, FetchRequest, Timeouts
from stepwell.wire.fetch_headers import clean_headers, is_secret_parameter, is_sensitive
from stepwell.wire.gateway import BadGateway, parse_gateway, render_gateway


def parse(**options: Any) -> FetchRequest:
    return parse_gateway(json.dumps({"url": "http://h/p", **options}).encode())


names = st.from_regex(r"x-[A-Za-z0-9!#$&'*+.^_`|~-]{1,12}", fullmatch=True)
values = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=20).map(
    lambda text: text.strip(" \t")
)
seconds = st.none() | st.floats(0.001, 1e6)
policies = st.builds(
    FetchPolicy,
    attempts=st.none() | st.integers(1, 21),
    retry_on=st.none() | st.lists(st.integers(100, 599), max_size=4).map(tuple),
    deadline_ms=st.none() | st.integers(1, 10**9),
    timeouts=st.builds(Timeouts, connect=seconds, read=seconds, write=seconds, pool=seconds),
    follow_redirects=st.booleans(),
    idempotency_key=st.none() | st.sampled_from(["", "order-42"]),
    at_most_once=st.booleans(),
    max_body=st.integers(1, 10**9),
)
requests = st.builds(
    FetchRequest,
    url=st.sampled_from(
        ["http://h/", "https://h.test:8443/a/../b%2F?x=%20&y#f", "http://[::1]:80/x".replace(":80", ":81")]
    ),
    method=st.sampled_from(["GET", "POST", "PATCH", "PURGE"]),
    headers=st.lists(st.tuples(names, values), max_size=5).map(tuple),
    body=st.none() | st.binary(max_size=60) | st.text(max_size=20).map(str.encode),
    policy=policies,
)


@given(requests)
def test_our_own_requests_come_back_exactly(request: FetchRequest) -> None:
    assert parse_gateway(render_gateway(request)) == msgspec.structs.replace(request, rich=True)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["url", "method", "headers", "body", "stepwell", "type", "data", "0", "v"]), inner
            )
        ),
    )
)
def test_any_json_is_a_request_or_a_clear_no(options: Any) -> None:
    with suppress(BadGateway):
        assert isinstance(parse_gateway(msgspec.json.encode(options)), FetchRequest)


@pytest.mark.parametrize(
    "opts",
    [
        b'{"url":"http://h/\xff"}',
        b'{"url":"http://h/","method":"GET","stepwell":{"headers":[["a","\xff"]]}}',
        '{"url":"http://h/","method":"GET","stepwell":{"body":{"b64":"ü"}}}'.encode(),
    ],
)
def test_bytes_that_are_no_text_are_a_clear_no(opts: bytes) -> None:
    with pytest.raises(BadGateway):
        parse_gateway(opts)


def test_our_form_serves_other_servers_too() -> None:
    request = FetchRequest(url="http://h/", method="POST", headers=(("X-A", "1"), ("x-a", "2")), body=b"text")
    plain = json.loads(render_gateway(request))
    assert plain["headers"] == {"x-a": "1, 2"}
    assert plain["body"] == "text"
    assert plain["method"] == "POST"


def test_what_javascript_sends() -> None:
    request = parse(method="post", headers={"x-a": "1"}, body='{"z":1}')
    assert request == FetchRequest(url="http://h/p", method="POST", headers=(("x-a", "1"),), body=b'{"z":1}')


def test_what_go_sends() -> None:
    assert parse(body="x").method == "POST"
    assert parse(method="").method == "POST"


@pytest.mark.parametrize(
    ("body", "data"),
    [
        ({"0": 1, "1": 255}, b"\x01\xff"),
        ({"type": "Buffer", "data": [0, 200]}, b"\x00\xc8"),
        ({"type": "Buffer", "data": []}, b""),
        ([1, 2], b"\x01\x02"),
        ("", b""),
        (None, None),
        ("\u00fc", b"\xc3\xbc"),
    ],
)
def test_bodies(body: Any, data: bytes | None) -> None:
    assert parse(body=body).body == data


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"body": {}}, "FormData, Blob"),
        ({"body": {"a": 1}}, "JSON.stringify"),
        ({"body": {"0": 256}}, "JSON.stringify"),
        ({"body": {"1": 1}}, "JSON.stringify"),
        ({"body": 5}, "neither text nor bytes"),
        ({"url": "/relative?token=hunter2"}, "absolute"),
        ({"url": "ftp://h/"}, "http:// or https://"),
        ({"url": "http://"}, "no host"),
        ({"url": "http://h:99999/"}, "can not be read"),
        ({"url": "http://h\n/"}, "control character"),
        ({"url": "http://[fe80::1%25eth0]/"}, "zone"),
        ({"url": ""}, "'url'"),
        ({"url": None}, "'url'"),
        ({"method": "GET /"}, "method"),
        ({"method": "connect"}, "CONNECT"),
        ({"headers": {"a b": "1"}}, "valid header name"),
        ({"headers": {"a": "1\r\nb: 2"}}, "line break"),
        ({"headers": {"a": "\x00"}}, "line break"),
        ({"headers": {"a": 1}}, "text values"),
        ({"headers": "a: b"}, "text values"),
        ({"headers": {"upgrade": "websocket"}}, "one connection"),
        ({"headers": {"transfer-encoding": "gzip"}}, "chunked"),
        ({"headers": {"content-length": "3"}, "body": "xx"}, "2 bytes"),
        ({"headers": {"Content-Length": "+2"}, "body": "xx"}, "2 bytes"),
        ({"headers": [["content-length", "2"], ["Content-Length", "2"]], "body": "xx"}, "2 bytes"),
        ({"headers": {"stepwell-tmeout": "3"}}, "stepwell-timeout"),
        ({"headers": {"stepwell-retries": "many"}}, "whole number"),
        ({"headers": {"stepwell-retries": "21"}}, "0 to 20"),
        ({"headers": {"stepwell-timeout": "0"}}, "longer than 0"),
        ({"headers": {"stepwell-timeout": "soon"}}, "stepwell-timeout"),
        ({"headers": {"stepwell-retry-on": "teapot"}}, "5xx"),
        ({"headers": {"stepwell-at-most-once": "maybe"}}, "true or false"),
        ({"stepwell": {"policy": {"attempts": 0}}}, "attempts"),
        ({"stepwell": {"policy": {"deadline_ms": -1}}}, "deadline"),
        ({"stepwell": {"policy": {"deadline_ms": 0}}}, "deadline"),
        ({"stepwell": {"policy": {"deadline_ms": 366 * 86_400_000 + 1}}}, "deadline"),
        ({"stepwell": {"policy": {"attempts": 22}}}, "1 to 21"),
        ({"stepwell": {"policy": {"min_delay_ms": 9, "max_delay_ms": 1}}}, "ordered"),
        ({"stepwell": {"policy": {"idempotency_key": "a\nb"}}}, "one line"),
        ({"stepwell": {"policy": {"idempotency_header": "Transfer-Encoding"}}}, "another use"),
        ({"stepwell": {"policy": {"idempotency_key": "k", "idempotency_header": "content-length"}}}, "another use"),
        ({"stepwell": {"policy": {"retry_on": [503, 2**70]}}}, "100 to 999"),
        ({"stepwell": {"policy": {"max_body": 2**70}}}, "1 PiB"),
        ({"headers": {"stepwell-max-body": "999999999999999GiB"}}, "1 PiB"),
        ({"stepwell": {"body": {"b64": "!"}}}, "base64"),
        ({"stepwell": []}, "'stepwell' member"),
    ],
)
def test_what_no_request_can_be_made_of(options: dict[str, Any], words: str) -> None:
    with pytest.raises(BadGateway, match=words) as caught:
        parse(**options)
    assert "hunter2" not in str(caught.value)
    assert str(caught.value).count(".", -2) == 1
    assert str(caught.value).count("This request can not be made") < 2


@pytest.mark.parametrize("opts", [b"", b"[]", b"{", b"null"])
def test_what_is_no_object(opts: bytes) -> None:
    with pytest.raises(BadGateway):
        parse_gateway(opts)


def test_policy_headers_steer_and_are_not_sent() -> None:
    request = parse(
        headers={
            "Stepwell-Timeout": "30",
            "stepwell-deadline": "1h30m",
            "stepwell-retries": "2",
            "stepwell-retry-on": "429, 5xx",
            "stepwell-idempotency-key": "order-1",
            "stepwell-at-most-once": "true",
            "stepwell-follow-redirects": "false",
            "stepwell-max-body": "100MiB",
            "x-kept": "1",
        }
    )
    assert request.headers == (("x-kept", "1"),)
    assert request.policy == FetchPolicy(
        attempts=3,
        retry_on=(429, *range(500, 600)),
        deadline_ms=5_400_000,
        timeouts=Timeouts(connect=30, read=30, write=30, pool=30),
        follow_redirects=False,
        idempotency_key="order-1",
        at_most_once=True,
        max_body=100 << 20,
    )
    assert parse(headers={"stepwell-idempotency-key": "off"}).policy.idempotency_key == ""


def test_credentials_in_the_url_become_a_header() -> None:
    request = parse(url="http://us%65r:p%40ss@h/")
    assert request.url == "http://h/"
    assert request.headers == (("Authorization", "Basic dXNlcjpwQHNz"),)
    kept = parse(url="http://u:p@h/", headers={"authorization": "Bearer x"})
    assert kept.headers == (("authorization", "Bearer x"),)


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("HTTP://Host.Test:80", "http://host.test/"),
        ("https://h:443/a?b#c", "https://h/a?b#c"),
        ("http://h/\u00e4 b?q=\u20ac|", "http://h/%C3%A4%20b?q=%E2%82%AC|"),
        ('http://h/|^{`}?|^{`}<"', "http://h/|^%7B%60%7D?|^{`}%3C%22"),
        ("http://b\u00fccher.test/", "http://xn--bcher-kva.test/"),
        ("http://fa\u00df.test/", "http://xn--fa-hia.test/"),
        ("http://i\u2764.test/", "http://xn--i-7iq.test/"),
        ("http://h/%7e/%zz/a/../b", "http://h/%7e/%zz/a/../b"),
        ("http://[::1]:8080/x", "http://[::1]:8080/x"),
    ],
)
def test_urls_are_made_sendable(url: str, sent: str) -> None:
    assert parse(url=url).url == sent


def test_a_length_that_fits_is_taken_once() -> None:
    assert parse(headers={"content-length": " 2 "}, body="xx").headers == (("content-length", "2"),)
    with pytest.raises(BadGateway, match="2 bytes"):
        parse(headers=[["content-length", "2"], ["Content-Length", "2"]], body="xx")


def test_headers_of_one_connection_are_left_out() -> None:
    headers = [
        ("Connection", "keep-alive"),
        ("TE", "trailers"),
        ("Expect", "100-continue"),
        ("Transfer-Encoding", "chunked"),
    ]
    assert clean_headers([*headers, ("A", " b\t")], None) == (("A", "b"),)


def test_which_headers_are_credentials() -> None:
    for name in ("Authorization", "cookie", "X-API-Key", "x-goog-api-key", "X-Vault-Token", "client-secret", "X_Auth"):
        assert is_sensitive(name), name
    for name in (
        "Ocp-Apim-Subscription-Key",
        "X-RapidAPI-Key",
        "x-functions-key",
        "Fastly-Key",
        "X-CSRFToken",
        "x-master-key",
    ):
        assert is_sensitive(name), name
    for name in ("accept", "author", "x-tokenizer", "idempotency-key", "content-type", "surrogate-key", "x-passage"):
        assert not is_sensitive(name), name


@pytest.mark.parametrize(
    "name", ["key", "sig", "accessToken", "client_secret", "user[password]", "X-Amz-Signature", "code"]
)
def test_which_parameters_are_credentials(name: str) -> None:
    assert is_secret_parameter(name)
    assert not is_secret_parameter(f"{name}2")
    assert not is_secret_parameter(f"no{name}no")
