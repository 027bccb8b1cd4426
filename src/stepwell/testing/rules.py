"""One rule of scripted HTTP: which requests it is for, and what they get, reply after reply."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec
from msgspec.structs import replace

from stepwell.testing.messages import SentRequest
from stepwell.wire.fetch import FetchBroken, FetchResponse, Header
from stepwell.wire.fetch_headers import is_sensitive

KINDS = ("connect", "dns", "tls", "timeout", "read", "write", "protocol", "too_large", "guard", "redirect", "invalid",
         "aborted", "unknown")  # fmt: skip
_FINAL = frozenset({"guard", "too_large", "invalid", "redirect", "unknown"})
_NOT_SENT = frozenset({"connect", "dns", "tls", "guard", "invalid"})
_ERROR_STATUS = 400
PUBLIC_URL = "https://stepwell.test"
"""Where the platform of a test would be reached."""
CALLBACK_PATH = "/v1/callbacks/"
_CALLBACK = re.compile(re.escape(PUBLIC_URL + CALLBACK_PATH) + r"[\w-]+")
UrlPattern = str | re.Pattern[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A response to give. ``json``, ``text`` or ``content`` is the body, and the first two set a content type."""

    status: int = 200
    json: Any = None
    text: str | None = None
    content: bytes | None = None
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = ()

    def outcome(self, request: SentRequest) -> FetchResponse:
        """The response as the fetcher reports it."""
        kind, body = self._body()
        given = cast("Mapping[str, str]", self.headers).items() if isinstance(self.headers, Mapping) else self.headers
        headers: list[Header] = [(name, value) for name, value in given]
        names = {name.lower() for name, _ in headers}
        if kind and "content-type" not in names:
            headers.append(("content-type", kind))
        if body and "content-length" not in names:
            headers.append(("content-length", str(len(body))))
        return FetchResponse(status=self.status, url=request.url, headers=tuple(headers), body=body)

    def _body(self) -> tuple[str, bytes]:
        if self.content is not None:
            return "", self.content
        if self.text is not None:
            return "text/plain; charset=utf-8", self.text.encode()
        return ("", b"") if self.json is None else ("application/json", msgspec.json.encode(self.json))


@dataclass(frozen=True, slots=True)
class Failure:
    """No response at all, for one of the reasons of ``FetchError.kind``."""

    kind: str
    message: str | None = None

    def outcome(self, request: SentRequest) -> FetchBroken:
        """The failure as the fetcher reports it."""
        words = (
            self.message or f"{request.method} {urlsplit(request.url).netloc}: the test scripted a {self.kind} failure"
        )
        return FetchBroken(kind=self.kind, message=words, sent=self.kind not in _NOT_SENT, final=self.kind in _FINAL)


Answer = Reply | Failure | Callable[[SentRequest], Any]


@dataclass(eq=False)
class Rule:
    """What requests that match get: each its own reply, in the order given; the last one is given again and again.

    Made by :class:`ScriptedHttp`. Its methods return it, so that replies can be chained.
    """

    method: str | None
    url: UrlPattern
    params: Mapping[str, str] | None = None
    headers: Mapping[str, str] | None = None
    json: Any = None
    content: bytes | str | None = None
    where: Callable[[SentRequest], bool] | None = None
    calls: list[SentRequest] = field(default_factory=list[SentRequest])
    _answers: list[Answer] = field(default_factory=list[Answer])
    _backs: list[Reply] = field(default_factory=list[Reply])

    def respond(
        self,
        status: int = 200,
        *,
        json: Any = None,
        text: str | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    ) -> Rule:
        """Add a response."""
        return self._add(Reply(status=status, json=json, text=text, content=content, headers=headers))

    def respond_with(self, replies: Iterable[Any]) -> Rule:
        """Add several: statuses, ``Reply``s, ``Failure``s, or the name of a failure such as ``"connect"``."""
        for reply in replies:
            self._add(as_answer(reply))
        return self

    def fail(self, kind: str = "connect", message: str | None = None) -> Rule:
        """Add a failure of this ``FetchError.kind``. Raises ``ValueError`` for a kind that does not exist."""
        return self._add(_failure(kind, message))

    def call(self, answer: Callable[[SentRequest], Any]) -> Rule:
        """Add a function that is given the request and returns a reply, in any form of :meth:`respond_with`."""
        return self._add(answer)

    def call_back(
        self,
        *,
        json: Any = None,
        text: str | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    ) -> Rule:
        """Add a call-back, for ``callback=True``: what is sent to the request's ``CALLBACK_URL`` when it is answered.

        As with replies, the first is for the first request, the last for all that follow; after a status of 400 and above
        there is none.
        """
        self._backs.append(Reply(json=json, text=text, content=content, headers=headers))
        return self

    @property
    def used(self) -> bool:
        """Whether a request has matched."""
        return bool(self.calls)

    def take(self, request: SentRequest) -> FetchResponse | FetchBroken:
        """The outcome for one more request that matches."""
        if not self._answers:
            raise AssertionError(f"the rule {self} matches {request}, and has no reply: add .respond(200) to it")
        answer = self._answers[min(len(self.calls), len(self._answers) - 1)]
        self.calls.append(request)
        while callable(answer):
            answer = as_answer(answer(request))
        return answer.outcome(request)

    def call_backs(self, request: SentRequest, outcome: FetchResponse | FetchBroken) -> list[tuple[str, FetchResponse]]:
        """The call-back of a request that was just taken, and its URL; empty where the rule has none."""
        if not self._backs or isinstance(outcome, FetchBroken) or outcome.status >= _ERROR_STATUS:
            return []
        whole = "\n".join([request.url, *(value for _, value in request.headers), request.text])
        found = _CALLBACK.search(unquote(whole))
        if found is None:
            raise AssertionError(
                f"the rule {self} calls back, and {request} has no call-back URL: is it callback=True?"
            )
        sent = self._backs[min(len(self.calls), len(self._backs)) - 1].outcome(request)
        headers = (*sent.headers, ("stepwell-method", "POST"))
        return [(found[0], replace(sent, url=PUBLIC_URL + CALLBACK_PATH.rstrip("/"), headers=headers))]

    def problems(self, request: SentRequest) -> list[str]:
        """Why the request does not match, a few words each; empty when it does."""
        found: list[str] = []
        if self.method is not None and self.method != request.method:
            found.append(f"the method is {request.method}")
        if not _url_fits(self.url, request.url):
            found.append("the URL differs")
        query = request.params
        found += [f"no parameter {pair[0]}={pair[1]}" for pair in (self.params or {}).items() if pair not in query]
        found += [_header_problem(name, value, request) for name, value in (self.headers or {}).items()]
        found += self._body_problems(request)
        if not found and self.where is not None and not self.where(request):
            found.append("its where= says no")
        return [each for each in found if each]

    def _body_problems(self, request: SentRequest) -> list[str]:
        if self.content is not None:
            wanted = self.content.encode() if isinstance(self.content, str) else self.content
            return [] if wanted == request.content else ["the body differs"]
        if self.json is None:
            return []
        try:
            given = request.json()
        except msgspec.DecodeError:
            return ["the body is no JSON"]
        plain: Any = msgspec.json.decode(msgspec.json.encode(self.json))
        return [] if given == plain else [f"the JSON is not {plain!r}"]

    def likeness(self, request: SentRequest) -> float:
        """How near the request comes to matching; for naming the nearest rules."""
        alike = SequenceMatcher(None, _text(self.url), request.url).ratio()
        return alike - 0.1 * len(self.problems(request))

    def __str__(self) -> str:
        """Method, URL and the names of what else has to fit."""
        more = [name for name in ("params", "headers", "json", "content", "where") if getattr(self, name) is not None]
        also = f" ({', '.join(more)})" if more else ""
        return f"{self.method or 'ANY'} {_text(self.url)}{also}"

    def _add(self, answer: Answer) -> Rule:
        self._answers.append(answer)
        return self


def as_answer(given: Any) -> Answer:
    """A reply in any of its forms. Raises ``TypeError`` or ``ValueError``."""
    if isinstance(given, Reply | Failure) or callable(given):
        return given
    if isinstance(given, int):
        return Reply(status=given)
    if isinstance(given, str):
        return _failure(given, None)
    raise TypeError(f"a reply is a status, a Reply, a Failure or the name of one, not {type(given).__name__}")


def _failure(kind: str, message: str | None) -> Failure:
    if kind not in KINDS:
        raise ValueError(f"there is no failure {kind!r}: there are {', '.join(KINDS)}")
    return Failure(kind, message)


def _header_problem(name: str, value: str, request: SentRequest) -> str:
    given = request.header(name)
    if given == value:
        return ""
    if given is None:
        return f"there is no header {name}"
    return f"the header {name} differs" if is_sensitive(name) else f"the header {name} is {given!r}"


def _url_fits(wanted: UrlPattern, url: str) -> bool:
    if not isinstance(wanted, str):
        return wanted.search(url) is not None
    bare, _, query = url.split("#", 1)[0].partition("?")
    wanted_bare, _, wanted_query = wanted.partition("?")
    if wanted_bare.startswith("/"):
        bare = urlsplit(bare).path or "/"
    if wanted_query and _pairs(wanted_query) != _pairs(query):
        return False
    pattern = ".*".join(re.escape(part) for part in wanted_bare.split("*"))
    return re.fullmatch(pattern, bare) is not None or (urlsplit(wanted_bare).path == "" and bare == f"{wanted_bare}/")


def _pairs(query: str) -> list[tuple[str, str]]:
    return sorted(parse_qsl(query, keep_blank_values=True))


def _text(url: UrlPattern) -> str:
    return url if isinstance(url, str) else f"/{url.pattern}/"
