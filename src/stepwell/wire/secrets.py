"""References to secrets: what stands for one in a request, filling it in, and taking it out of what comes back.

A reference is plain text of letters, digits, ``-`` and ``.``, which URLs, forms and JSON all leave as it is::

    stepwell - secret.OPENAI_API_KEY.k3v9xq7f
"""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote, quote_plus, urlsplit, urlunsplit

import msgspec
from msgspec.structs import replace

from stepwell.wire.constants import MAX_FETCH_BODY
from stepwell.wire.encodings import DecodesToMore, decoded_as_far
from stepwell.wire.fetch import FetchBroken, FetchOutcome, FetchRequest, FetchResponse, Header
from stepwell.wire.fetch_headers import find, find_all
from stepwell.wire.fetch_urls import place
from stepwell.wire.spellings import spellings

MARK = "stepwell-secret."
_TAIL = ".k3v9xq7f"
_NAME = r"[A-Za-z_][A-Za-z0-9_-]{0,63}"
_REFERENCE = re.compile(rf"{re.escape(MARK)}({_NAME}){re.escape(_TAIL)}")
_ALONE = re.compile(rf"(?:[A-Za-z-]{{1,20}} )?{_REFERENCE.pattern}")
_BYTES = re.compile(_REFERENCE.pattern.encode())
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SHORTEST = 6
"""Shorter values are not looked for in responses: they would be found in words."""

HEADER, URL, BODY = "header", "url", "body"
PLACES = frozenset({HEADER, URL, BODY})


class BadSecret(ValueError):
    """A name that no secret has, or a value that can not go where its reference stands. Never shows a value."""


def reference(name: str) -> str:
    """The text that stands for the secret. Raises :class:`BadSecret` for a name that can not be one."""
    if not re.fullmatch(_NAME, name):
        raise BadSecret(
            f"{name[:80]!r} is no name of a secret: use up to 64 letters, digits, _ and -, like OPENAI_API_KEY"
        )
    return f"{MARK}{name}{_TAIL}"


def uses(request: FetchRequest) -> dict[str, set[str]]:
    """The secrets that the request refers to, each with its places: "header", "url", "body"."""
    found: dict[str, set[str]] = {}
    if MARK in request.url:
        _note(found, URL, _REFERENCE.findall(request.url))
    for name, value in request.headers:
        if MARK in value:
            _note(found, HEADER, _REFERENCE.findall(value))
        elif (pair := basic_pair(name, value)) is not None:
            _note(found, HEADER, _REFERENCE.findall(pair))
    if request.body and MARK.encode() in request.body:
        _note(found, BODY, [name.decode() for name in _BYTES.findall(request.body)])
    return found


def split_references(text: str) -> list[str]:
    """The text cut at its references: what is before, the name of the first, what is between, and so on."""
    return _REFERENCE.split(text)


def refers_only(name: str, value: str) -> bool:
    """Whether the credential in this header's (or field's) value is a reference: alone, behind a scheme, or as a password."""
    if MARK not in value and (pair := basic_pair(name, value)) is not None:
        user, _, password = pair.partition(":")
        return _REFERENCE.fullmatch(password or user) is not None
    return _ALONE.fullmatch(value.strip()) is not None


def _note(found: dict[str, set[str]], place: str, names: Iterable[str]) -> None:
    for name in names:
        found.setdefault(name, set()).add(place)


def basic_pair(name: str, value: str) -> str | None:
    """The user and password of Basic credentials (RFC 7617) that hold a reference."""
    if name.lower() not in ("authorization", "proxy-authorization"):
        return None
    scheme, _, data = value.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        pair = base64.b64decode(data.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    return pair if MARK in pair else None


# filling in


def fill(request: FetchRequest, values: Mapping[str, str]) -> FetchRequest:
    """The request with the values in place of their references; references to other secrets stay as they are.

    In URLs values are percent-encoded, in bodies written as their content type needs it (JSON, form, else as they are).
    Raises :class:`BadSecret` when a value has a line break or control character, or where it would be part of a host.
    """
    for name, value in values.items():
        check_value(name, value)
        if _CONTROL.search(value):
            raise BadSecret(f"the value of the secret {name!r} holds a line break or another control character")
    headers = tuple((name, _fill_header(name, value, values)) for name, value in request.headers)
    body = _fill_body(request, values)
    if body is not request.body:
        size = str(len(body or b""))
        headers = tuple((name, size if name.lower() == "content-length" else value) for name, value in headers)
    return replace(request, url=_fill_url(request.url, values), headers=headers, body=body)


def check_value(name: str, value: str) -> None:
    """Raise :class:`BadSecret` for what the environment may hold, and no request: bytes that are no UTF-8."""
    if not value.isascii() and value != value.encode("utf-8", "replace").decode():
        raise BadSecret(f"the value of the secret {name!r} is not text in UTF-8")


def _put(text: str, values: Mapping[str, str]) -> str:
    return _REFERENCE.sub(lambda found: values.get(found[1], found[0]), text) if MARK in text else text


def _fill_header(name: str, value: str, values: Mapping[str, str]) -> str:
    pair = basic_pair(name, value)
    if pair is None:
        return _put(value, values)
    return f"{value.partition(' ')[0]} {base64.b64encode(_put(pair, values).encode()).decode()}"


def _fill_url(url: str, values: Mapping[str, str]) -> str:
    if MARK not in url:
        return url
    quoted = {name: quote(value, safe="") for name, value in values.items()}
    parts = urlsplit(url)
    if MARK in parts.netloc:
        raise BadSecret("a secret can be in the path or the query of a URL, never in its host")
    return urlunsplit(
        (parts.scheme, parts.netloc, _put(parts.path, quoted), _put(parts.query, quoted), _put(parts.fragment, quoted))
    )


def _fill_body(request: FetchRequest, values: Mapping[str, str]) -> bytes | None:
    body = request.body
    if not body or MARK.encode() not in body:
        return body
    kind = (find(request.headers, "content-type") or "").partition(";")[0].strip().lower()
    written = {name.encode(): _written(value, kind) for name, value in values.items()}
    return _BYTES.sub(lambda found: written.get(found[1], found[0]), body)


def _written(value: str, kind: str) -> bytes:
    if "json" in kind:  # also lines of it, and kinds of its own
        return msgspec.json.encode(value)[1:-1]
    if kind == "application/x-www-form-urlencoded":
        return quote_plus(value).encode()
    return value.encode()


# taking out


def scrub(outcome: FetchOutcome, asked: FetchRequest, values: Mapping[str, str]) -> FetchOutcome:
    """The outcome without the values, in case the server repeats them; its URL is the one that was ``asked``.

    In headers the references come back in their place. In the body they become as many ``*``, so that lengths stay true;
    an encoded body that holds one is recorded decoded. One that decodes to more than a record may have can not be looked
    into, and is broken.
    """
    hidden = _hidden(asked, values)
    if isinstance(outcome, FetchBroken):
        return replace(outcome, message=_hide(outcome.message, hidden))
    limit = min(asked.policy.max_body or MAX_FETCH_BODY, MAX_FETCH_BODY)
    try:
        return _scrubbed(replace(outcome, url=asked.url), hidden, limit)
    except DecodesToMore as problem:
        return _unseen(asked, outcome, problem)


def scrub_call_back(came: FetchResponse, headers: tuple[Header, ...], values: Mapping[str, str]) -> FetchResponse:
    """A request that came in place of a response, without the values. ``headers``: of the request that had them.

    Raises :class:`DecodesToMore` where it can not be searched.
    """
    hidden = _hidden(FetchRequest(url=came.url, headers=headers), values)
    return _scrubbed(replace(came, url=_hide(came.url, hidden)), hidden, MAX_FETCH_BODY)


def _scrubbed(response: FetchResponse, hidden: Mapping[str, str], limit: int) -> FetchResponse:
    headers: tuple[Header, ...] = tuple((name, _hide(value, hidden)) for name, value in response.headers)
    clean = replace(response, headers=headers, reason=response.reason and _hide(response.reason, hidden))
    return _scrub_body(clean, [spelling.encode() for spelling in hidden], limit)


def needles(asked: FetchRequest, values: Mapping[str, str]) -> list[bytes]:
    """What has to be looked for in a body that this request brought."""
    return [spelling.encode() for spelling in _hidden(asked, values)]


def _hidden(asked: FetchRequest, values: Mapping[str, str]) -> dict[str, str]:
    """Every way in which a value was written, longest first, and what it stands for."""
    found: dict[str, str] = {}
    for name, value in values.items():
        found |= dict.fromkeys((*spellings(value), *spellings(value.strip())), reference(name))  # headers are trimmed
    for name, value in asked.headers:
        if basic_pair(name, value) is not None:
            found[_fill_header(name, value, values).partition(" ")[2]] = value.partition(" ")[2]
    usable = [spelling for spelling in found if len(spelling) >= _SHORTEST]
    return {spelling: found[spelling] for spelling in sorted(usable, key=len, reverse=True)}


def _hide(text: str, hidden: Mapping[str, str]) -> str:
    """In one go: a value may be a part of a reference."""
    if not any(spelling in text for spelling in hidden):
        return text
    return re.sub("|".join(map(re.escape, hidden)), lambda found: hidden[found[0]], text)


def _scrub_body(response: FetchResponse, hidden: list[bytes], limit: int) -> FetchResponse:
    if response.stored is not None:
        return response  # it was cleaned on its way
    codings = find_all(response.headers, "content-encoding")
    plain = decoded_as_far(response.body, codings, limit) if codings else response.body
    if plain is not response.body and any(needle in plain for needle in hidden):
        stale = ("content-encoding", "content-length")
        headers = tuple(pair for pair in response.headers if pair[0].lower() not in stale)
        return replace(response, body=_starred(plain, hidden), headers=headers)
    return replace(response, body=_starred(response.body, hidden))


def _starred(body: bytes, hidden: list[bytes]) -> bytes:
    for needle in hidden:
        body = body.replace(needle, b"*" * len(needle))
    return body


def _unseen(asked: FetchRequest, response: FetchResponse, problem: DecodesToMore) -> FetchBroken:
    return FetchBroken(
        kind="too_large",
        message=f"{asked.method} {place(asked.url)}: the response's body can not be searched for secrets, {problem}.",
        sent=True,
        final=True,
        elapsed_ms=response.elapsed_ms,
        phases=response.phases,
    )
