"""Fills secrets into a request at the moment of sending; what is recorded keeps the references."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from msgspec.structs import replace

from stepwell.core.fetch_redirects import crosses, next_hop
from stepwell.server.fetcher.base import Fetcher
from stepwell.server.secrets.providers import SecretUnavailable
from stepwell.server.secrets.tee import CleanTee
from stepwell.server.secrets.vault import Vault
from stepwell.wire.fetch import FetchBroken, FetchOutcome, FetchRequest, FetchResponse, Header, Hop, Phases, added
from stepwell.wire.fetch_urls import place
from stepwell.wire.secrets import BadSecret, fill, needles, scrub, scrub_call_back, uses


class SecretFetcher:
    """Wraps a fetcher. Requests without references pass as they are.

    With references, redirects are followed here, one request each, so that another origin never gets a secret. A 401 has
    the secrets fetched anew, and where one has changed, the request sent once more in the same attempt (with
    ``at_most_once`` only the next request profits).
    """

    def __init__(self, inner: Fetcher, vault: Vault) -> None:
        self.inner = inner
        self.vault = vault

    async def fetch(self, request: FetchRequest, attempt: int = 0) -> FetchOutcome:
        """See :meth:`Fetcher.fetch`."""
        return await self.fetch_teed(request, attempt, None)

    def fetch_teed(self, request: FetchRequest, attempt: int, tee: Any) -> Coroutine[Any, Any, FetchOutcome]:
        """As :meth:`fetch`; the body of the last hop goes to ``tee`` too, where the fetcher inside can do that."""
        return self._hops(request, attempt, tee) if uses(request) else self._inner(request, attempt, tee)

    def _inner(self, request: FetchRequest, attempt: int, tee: Any) -> Coroutine[Any, Any, FetchOutcome]:
        teed = getattr(self.inner, "fetch_teed", None)
        return self.inner.fetch(request, attempt) if tee is None or teed is None else teed(request, attempt, tee)

    async def cleaned(
        self, response: FetchResponse, secrets: tuple[str, ...], headers: tuple[Header, ...]
    ) -> FetchResponse:
        """See :class:`Cleaning`. A secret that can not be had now is not looked for."""
        values: dict[str, str] = {}
        for name in secrets:
            with suppress(SecretUnavailable, BadSecret):
                values[name] = await self.vault.value(name)
        return scrub_call_back(response, headers, values)

    async def close(self) -> None:
        """See :meth:`Fetcher.close`."""
        await self.inner.close()

    async def _hops(self, request: FetchRequest, attempt: int, tee: Any) -> FetchOutcome:
        started = asyncio.get_running_loop().time()
        history, phases = request.history, Phases()
        while True:
            outcome = await self._send(request, started, attempt, tee, history)
            spent = (asyncio.get_running_loop().time() - started) * 1000
            phases = added(phases, outcome.phases)
            outcome = replace(outcome, elapsed_ms=max(outcome.elapsed_ms, spent), phases=phases)
            if isinstance(outcome, FetchBroken):  # what a hop did not send, those before it did
                return replace(outcome, sent=outcome.sent or len(history) > len(request.history))
            head = replace(outcome, history=history)
            following = next_hop(request, head)
            if following is None:
                return head
            if isinstance(following, FetchBroken):
                return replace(following, elapsed_ms=outcome.elapsed_ms, phases=phases)
            if crosses(request, following):
                return replace(head, body=b"", onward=True)
            history += (Hop(head.status, head.url, head.headers),)
            request = following

    async def _send(
        self, request: FetchRequest, started: float, attempt: int, tee: Any, history: tuple[Hop, ...]
    ) -> FetchOutcome:
        async def filled(values: dict[str, str]) -> FetchOutcome:
            asked = _narrowed(request, started)
            return await self._filled(
                replace(asked, history=history), values, attempt, _tee(tee, asked, values, history)
            )

        try:
            values = await self._values(request, started)
            outcome = await filled(values)
        except SecretUnavailable as problem:
            return _broken(request, str(problem), problem.kind, final=problem.final)
        except BadSecret as problem:
            return _broken(request, str(problem), "invalid", final=True)
        if not _refused(outcome) or not values:
            return outcome
        try:
            fresh = await self._values(request, started, fresh=True)
            if fresh == values or request.policy.at_most_once:
                return outcome
            again = await filled(fresh)
            return replace(again, phases=added(outcome.phases, again.phases))
        except (SecretUnavailable, BadSecret):
            return outcome  # the server has answered, and that stands

    async def _values(self, request: FetchRequest, started: float, *, fresh: bool = False) -> dict[str, str]:
        """The secrets' values, which may have to be fetched: within the deadline. Raises :class:`SecretUnavailable`."""
        left = _narrowed(request, started).policy.deadline_ms
        try:
            async with asyncio.timeout(None if left is None else left / 1000):
                return await self.vault.values(uses(request), request.url, fresh=fresh)
        except TimeoutError:
            raise SecretUnavailable("its secret could not be had before its time was up", "timeout") from None

    async def _filled(
        self, request: FetchRequest, values: dict[str, str], attempt: int, tee: CleanTee | None
    ) -> FetchOutcome:
        outcome = await self._inner(fill(replace(request, single=True), values), attempt, tee)
        if tee is not None:
            tee.flush()
        return scrub(outcome, request, values)


def _tee(tee: Any, asked: FetchRequest, values: dict[str, str], history: tuple[Hop, ...]) -> CleanTee | None:
    if tee is None:
        return None

    def wanted(head: FetchResponse) -> FetchResponse | None:
        clean = scrub(replace(head, history=history), asked, values)
        if not isinstance(clean, FetchResponse) or clean.status == 401:
            return None
        return clean if next_hop(asked, clean) is None else None

    return CleanTee(tee, needles(asked, values), wanted)


def _refused(outcome: FetchOutcome) -> bool:
    return isinstance(outcome, FetchResponse) and outcome.status == 401


def _narrowed(request: FetchRequest, started: float) -> FetchRequest:
    """The request with what is left of its deadline."""
    deadline = request.policy.deadline_ms
    if deadline is None:
        return request
    spent = int((asyncio.get_running_loop().time() - started) * 1000)
    return replace(request, policy=replace(request.policy, deadline_ms=max(1, deadline - spent)))


def _broken(request: FetchRequest, words: str, kind: str, *, final: bool) -> FetchBroken:
    return FetchBroken(kind=kind, message=f"{request.method} {place(request.url)}: {words}.", final=final)
