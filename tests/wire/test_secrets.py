"""References to secrets as text: made, filled in, taken out of what comes back; and the hosts that they are bound to."""

import base64
import html
import json
import re
from collections.abc import Callable
from urllib.parse import quote

import markupsafe
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

import stepwell
from stepwell.wire.fetch import FetchRequest, FetchResponse
from stepwell.wire.secret_rules import SecretRule, make_rule, parse_rules, refusal
from stepwell.wire.secrets import BadSecret, fill, reference, scrub, uses

VALUE = 'sk-"v/&= +ü'
REF = reference("API_KEY")


# the text


@given(st.from_regex(r"[A-Za-z_][A-Za-z0-9_-]{0,63}", fullmatch=True))
def test_every_name_comes_back_out_of_its_reference(name: str) -> None:
    text = reference(name)
    assert uses(FetchRequest(url="https://h/", headers=(("X", f"a{text}b"),))) == {name: {"header"}}


@pytest.mark.parametrize("name", ["", "1A", "A B", "A" * 65, "Ä", "A.B", "A\n"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(BadSecret):
        reference(name)
    with pytest.raises(stepwell.ConfigError):
        stepwell.secret(name)


def test_a_reference_is_text_that_does_not_show_more_than_its_name() -> None:
    made = stepwell.secret("API_KEY")
    assert f"Bearer {made}" == f"Bearer {REF}"
    assert str(made) == REF
    assert repr(made) == "secret('API_KEY')"
    assert json.loads(json.dumps({"k": made})) == {"k": REF}


# filling in and taking out


def test_values_are_written_as_their_place_needs_it() -> None:
    pair = base64.b64encode(f"me:{REF}".encode()).decode()
    request = FetchRequest(
        url=f"https://h/bot{REF}/x?key={REF}&a=%20",
        headers=(("Authorization", f"Bearer {REF}"), ("Proxy-Authorization", f"Basic {pair}"), ("Content-Length", "9")),
        body=f'{{"k":"{REF}"}}'.encode(),
    )
    made = fill(request, {"API_KEY": 'a/b"c'})
    assert made.url == "https://h/bota%2Fb%22c/x?key=a%2Fb%22c&a=%20"
    assert made.headers[0] == ("Authorization", 'Bearer a/b"c')
    assert base64.b64decode(made.headers[1][1].split()[1]) == b'me:a/b"c'
    assert made.body == b'{"k":"a/b"c"}'
    assert made.headers[2] == ("Content-Length", str(len(made.body)))


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json; charset=utf-8", msgspec.json.encode({"k": VALUE})),
        ("application/problem+json", msgspec.json.encode({"k": VALUE})),
        ("Application/JSON ; charset=utf-8", msgspec.json.encode({"k": VALUE})),
        ("application/x-ndjson", msgspec.json.encode({"k": VALUE})),
        ("text/plain", f'{{"k":"{VALUE}"}}'.encode()),
    ],
)
def test_json_stays_json(kind: str, body: bytes) -> None:
    request = FetchRequest(url="https://h/", headers=(("content-type", kind),), body=f'{{"k":"{REF}"}}'.encode())
    assert fill(request, {"API_KEY": VALUE}).body == body


def test_line_breaks_and_hosts_are_refused() -> None:
    with pytest.raises(BadSecret, match="line break") as caught:
        fill(FetchRequest(url="https://h/", headers=(("X", REF),)), {"API_KEY": "value\r\nX: y"})
    assert "value\r" not in str(caught.value)
    with pytest.raises(BadSecret, match="host"):
        fill(FetchRequest(url=f"https://{REF}.example.com/"), {"API_KEY": "v"})


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x2FF, exclude_characters="\x7f"), min_size=6))
def test_whatever_was_filled_in_is_taken_out_again(value: str) -> None:
    value = f"~{value}~"  # letters alone would be found in the rest of the response
    asked = FetchRequest(
        url=f"https://h/?k={REF}",
        headers=(("X", REF), ("content-type", "application/json")),
        body=f'{{"k":"{REF}"}}'.encode(),
    )
    sent = fill(asked, {"API_KEY": value})
    heard = FetchResponse(
        status=200,
        url=sent.url,
        headers=(("Location", sent.url), *sent.headers),
        body=sent.body or b"",
        reason=f"No {value}",
    )
    clean = scrub(heard, asked, {"API_KEY": value})
    assert isinstance(clean, FetchResponse)
    assert clean.url == asked.url
    assert clean.headers == (("Location", asked.url), *asked.headers)
    assert len(clean.body) == len(sent.body or b"")
    assert value.encode() not in clean.body
    assert value not in (clean.reason or value)


@pytest.mark.parametrize(("value", "found"), [("sixsix", True), ("fives", False)])
def test_what_is_shorter_than_six_characters_is_not_looked_for(value: str, found: bool) -> None:
    asked = FetchRequest(url="https://h/", headers=(("X", REF),))
    clean = scrub(FetchResponse(status=200, url="https://h/", body=f"<{value}>".encode()), asked, {"API_KEY": value})
    assert isinstance(clean, FetchResponse)
    assert (value.encode() not in clean.body) is found


def dot_net(text: str) -> str:
    return re.sub(r"""[^ -~]|["&'+<>`]""", lambda found: f"\\u{ord(found[0]):04X}", text.replace("\\", "\\\\"))


@pytest.mark.parametrize(
    "write",
    [
        lambda text: json.dumps(text)[1:-1],
        lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
        lambda text: json.dumps(json.dumps(text)[1:-1])[1:-1],
        lambda text: json.dumps(text, ensure_ascii=False)[1:-1].replace("&", "\\u0026").replace("<", "\\u003c"),
        dot_net,
        lambda text: json.dumps(dot_net(text))[1:-1],
        lambda text: quote(text, safe="~()*!.'"),
        lambda text: re.sub("%..", lambda found: found[0].lower(), quote(text, safe="")),
        lambda text: quote(text, safe="/~!$&'()*+,;=:@"),
        lambda text: str(URL("http://h/").with_query(q=text)).partition("=")[2],
        html.escape,
        lambda text: html.escape(text).replace("&#x27;", "&#39;"),
        markupsafe.escape,
    ],
)
@pytest.mark.parametrize("value", ["Zm9v/YmFy+8g==", "p/w\"d'&<+ü=", VALUE])
def test_a_value_is_known_again_however_the_server_writes_it(write: Callable[[str], str], value: str) -> None:
    asked = FetchRequest(url="https://h/", headers=(("X-Key", REF),))
    written = str(write(value))
    heard = FetchResponse(status=200, url=asked.url, headers=(("X-Echo", "a" + written),), body=f"<{written}>".encode())
    clean = scrub(heard, asked, {"API_KEY": value})
    assert isinstance(clean, FetchResponse)
    assert (clean.headers, set(clean.body[1:-1])) == ((("X-Echo", "a" + REF),), {ord("*")})


def test_blanks_around_a_value_do_not_hide_it() -> None:
    asked = FetchRequest(url="https://h/", headers=(("X-Key", REF),))
    heard = FetchResponse(status=200, url=asked.url, headers=(("X-Echo", "hunter2!"),), body=b"<hunter2!>")
    clean = scrub(heard, asked, {"API_KEY": " hunter2!  "})
    assert isinstance(clean, FetchResponse)
    assert (clean.headers, clean.body) == ((("X-Echo", REF),), b"<********>")


def test_a_value_that_is_a_part_of_references_leaves_them_whole() -> None:
    asked = FetchRequest(url="https://h/", headers=(("X-Key", REF), ("X-Other", reference("OTHER"))))
    heard = FetchResponse(status=200, url=asked.url, headers=(("X-Echo", "much-longer, secret"),))
    clean = scrub(heard, asked, {"API_KEY": "much-longer", "OTHER": "secret"})
    assert isinstance(clean, FetchResponse)
    assert clean.headers == (("X-Echo", f"{REF}, {reference('OTHER')}"),)


def test_basic_credentials_that_come_back_are_taken_out() -> None:
    pair = base64.b64encode(f"me:{REF}".encode()).decode()
    asked = FetchRequest(url="https://h/", headers=(("Authorization", f"Basic {pair}"),))
    sent = dict(fill(asked, {"API_KEY": "hunter2!"}).headers)["Authorization"].split()[1]
    heard = FetchResponse(status=200, url="https://h/", headers=(("X-Echo", sent),), body=f"<{sent}>".encode())
    clean = scrub(heard, asked, {"API_KEY": "hunter2!"})
    assert isinstance(clean, FetchResponse)
    assert (clean.headers, clean.body) == ((("X-Echo", pair),), b"<" + b"*" * len(sent) + b">")


# rules


@pytest.mark.parametrize(
    ("pattern", "url", "admitted"),
    [
        ("api.example.com", "https://api.example.com/x", True),
        ("api.example.com", "https://API.Example.com.:8443/x", True),
        ("api.example.com", "http://api.example.com/x", False),
        ("http://api.example.com", "http://api.example.com/x", True),
        ("http://api.example.com", "https://api.example.com/x", False),
        ("api.example.com", "https://api.example.com.evil.org/", False),
        ("api.example.com", "https://evil.org/api.example.com", False),
        ("api.example.com", "https://api.example.com@evil.org/", False),
        ("api.example.com", "https://xapi.example.com/", False),
        ("*.example.com", "https://a.b.example.com/", True),
        ("*.example.com", "https://example.com/", False),
        ("*.example.com", "https://badexample.com/", False),
        ("api.example.com:8443", "https://api.example.com:8443/", True),
        ("api.example.com:8443", "https://api.example.com/", False),
        ("api.example.com:443", "https://api.example.com/", True),
        ("http://api.example.com:80", "http://api.example.com/", True),
        ("http://api.example.com:443", "http://api.example.com/", False),
        ("API.Example.com.", "https://api.example.com/", True),
        ("*", "https://anything.org/", True),
        ("*", "http://anything.org/", False),
        ("127.0.0.1", "http://127.0.0.1:1234/", True),
        ("[::1]", "http://[::1]:1234/", True),
        ("*", "http://localhost:1234/", True),
        ("127.0.0.1", "http://127.1:1234/", True),
        ("[0:0::1]", "http://[::1]:1234/", True),
        ("127.0.0.1", "http://127.0.0.2/", False),
        ("bücher.example", "https://xn--bcher-kva.example/", True),
        ("https://*.Bücher.example", "https://a.xn--bcher-kva.example/", True),
        ("*.bücher.example", "https://xn--bcher-kva.example/", False),
        ("faß.example", "https://fass.example/", False),
    ],
)
def test_hosts_that_a_rule_admits(pattern: str, url: str, admitted: bool) -> None:
    reason = refusal("API_KEY", make_rule("API_KEY", [pattern]), url, {"header"})
    assert (reason is None) is admitted
    assert admitted or "may not go to" in str(reason)


def test_bodies_only_where_the_rule_says_so() -> None:
    rules = parse_rules("A=h.example; B+body=h.example,i.example\nC=j.example")
    assert rules["C"] == SecretRule(("j.example",))
    assert "may not be in the body" in str(refusal("A", rules["A"], "https://h.example/", {"body", "header"}))
    assert refusal("B", rules["B"], "https://i.example/", {"body", "header", "url"}) is None


@pytest.mark.parametrize(
    "text", ["A", "A=", "A=b/c", "1=h", "A+cellar=h", "A=http://", "A=h:99999999", "A=*." + "ü" * 64]
)
def test_rules_that_make_no_sense_are_one_sentence(text: str) -> None:
    with pytest.raises(BadSecret):
        parse_rules(text)
