"""Scripted HTTP: what durable requests get in a test, without any network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypedDict, Unpack

from msgspec.structs import replace

from stepwell.testing.messages import SentRequest, sent
from stepwell.testing.rules import Failure, Reply, Rule, UrlPattern
from stepwell.wire.constants import MAX_FETCH_BODY
from stepwell.wire.fetch import FetchBroken, FetchOutcome, FetchRequest, FetchResponse, Hop
from stepwell.wire.fetch_urls import place

__all__ = ["Failure", "Match", "Reply", "Rule", "ScriptedHttp", "SentRequest", "UnexpectedRequest"]

_NEAREST = 3


class UnexpectedRequest(AssertionError):
    """A durable request that the test did not expect."""


class Match(TypedDict, total=False):
    """What else a request has to have. ``params`` and ``headers``: at least these; ``json``, ``content``: the whole body."""

    params: Mapping[str, str]
    headers: Mapping[str, str]
    json: Any
    content: bytes | str
    where: Callable[[SentRequest], bool]


class ScriptedHttp:
    """Rules for requests; the first that matches answers. Give it to ``run_function(http=...)``.

    A URL is a text or a compiled pattern, which is searched for in the whole URL. In a text, ``*`` stands for anything, a
    leading ``/`` means any host, and a query has to be there only where the text has one.
    """

    def __init__(self) -> None:
        self.rules: list[Rule] = []
        self._call_backs: list[tuple[str, FetchResponse]] = []
        self.calls: list[SentRequest] = []
        """Every attempt that was made, in order, redirects included."""

    def request(self, method: str | None, url: UrlPattern, **match: Unpack[Match]) -> Rule:
        """A rule for requests of this method; None: of any."""
        rule = Rule(method.upper() if method else None, url, **match)
        self.rules.append(rule)
        return rule

    def get(self, url: UrlPattern, **match: Unpack[Match]) -> Rule:
        """A rule for GET requests."""
        return self.request("GET", url, **match)

    def post(self, url: UrlPattern, **match: Unpack[Match]) -> Rule:
        """A rule for POST requests."""
        return self.request("POST", url, **match)

    def put(self, url: UrlPattern, **match: Unpack[Match]) -> Rule:
        """A rule for PUT requests."""
        return self.request("PUT", url, **match)

    def patch(self, url: UrlPattern, **match: Unpack[Match]) -> Rule:
        """A rule for PATCH requests."""
        return self.request("PATCH", url, **match)

    def delete(self, url: UrlPattern, **match: Unpack[Match]) -> Rule:
        """A rule for DELETE requests."""
        return self.request("DELETE", url, **match)

    def head(self, url: UrlPattern, **match: Unpack[Match]) -> Rule:
        """A rule for HEAD requests."""
        return self.request("HEAD", url, **match)

    @property
    def unused(self) -> list[Rule]:
        """The rules that no request has matched."""
        return [rule for rule in self.rules if not rule.used]

    def assert_all_used(self) -> None:
        """Raises ``AssertionError`` that names the rules no request has matched."""
        if self.unused:
            raise AssertionError("no request has matched " + "; ".join(map(str, self.unused)))

    def assert_called(
        self, method: str | None, url: UrlPattern, *, times: int | None = None, **match: Unpack[Match]
    ) -> None:
        """Raises ``AssertionError`` unless such a request was made; ``times``: exactly that often, attempts counted."""
        rule = Rule(method.upper() if method else None, url, **match)
        count = sum(1 for call in self.calls if not rule.problems(call))
        if count == times or (times is None and count):
            return
        wanted = "at least once" if times is None else f"{times} times"
        made = "".join(f"\n  {call}" for call in self.calls) or " none"
        raise AssertionError(f"{rule} was expected {wanted} and was made {count} times; the requests were:{made}")

    async def fetch(self, request: FetchRequest, attempt: int = 0) -> FetchOutcome:
        """One attempt, redirects included, as a fetcher makes it. Raises ``UnexpectedRequest``."""
        from stepwell.core.fetch_redirects import next_hop

        history: tuple[Hop, ...] = ()
        while True:
            outcome = self._answer(sent(request, attempt))
            if isinstance(outcome, FetchBroken):
                return outcome
            outcome = replace(outcome, history=history)
            following = next_hop(request, outcome)
            if following is None:
                return _capped(request, outcome)
            if isinstance(following, FetchBroken):
                return following
            history += (Hop(outcome.status, outcome.url, outcome.headers),)
            request = following

    def take_call_backs(self) -> list[tuple[str, FetchResponse]]:
        """The call-backs that the last request has earned: the URL, and what is sent to it."""
        taken, self._call_backs = self._call_backs, []
        return taken

    async def close(self) -> None:
        """Nothing to let go of."""

    def _answer(self, request: SentRequest) -> FetchResponse | FetchBroken:
        self.calls.append(request)
        for rule in self.rules:
            if not rule.problems(request):
                outcome = rule.take(request)
                self._call_backs += rule.call_backs(request, outcome)
                return outcome
        raise UnexpectedRequest(self._explain(request))

    def _explain(self, request: SentRequest) -> str:
        nearest = sorted(self.rules, key=lambda rule: -rule.likeness(request))[:_NEAREST]
        lines = [f"  {rule}: {', '.join(rule.problems(request))}" for rule in nearest]
        if not lines:
            return (
                f"unexpected request: {request}; there are no rules: write one with http.{request.method.lower()}(...)"
            )
        return "\n".join([f"unexpected request: {request}; no rule matches. The nearest:", *lines])


def _capped(request: FetchRequest, outcome: FetchResponse) -> FetchResponse | FetchBroken:
    """The platform's limit of a body, or the request's own."""
    limit = request.policy.max_body or MAX_FETCH_BODY
    if len(outcome.body) <= limit:
        return outcome
    words = f"{request.method} {place(request.url)}: the response's body is larger than the limit of {limit} bytes."
    return FetchBroken(kind="too_large", message=words, sent=True, final=True)
