"""Crash points around what an engine is given: its store, its fetcher, its callers; and around an app."""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, cast

from stepwell.core.model import ItemRef
from stepwell.core.outputs import Commit
from stepwell.frameworks.asgi_io import App, Receive, Scope, Send
from stepwell.server.caller.base import Caller
from stepwell.server.fetcher.base import Fetcher, Sink
from stepwell.server.fetcher.tee import Tee, TeeingFetcher
from stepwell.server.store.base import ClaimRequest, Outcome, Piece, Store, Transacted, Watched
from stepwell.testing.platform.crash_points import Trap, claimed, key_of, stored_by
from stepwell.wire.calls import Answer, CallRequest
from stepwell.wire.fetch import FetchOutcome, FetchRequest, FetchResponse


class TrappedStore:
    """All verbs of a store; the edges of its transactions are points."""

    def __init__(self, inner: Store, trap: Trap) -> None:
        self.exclusive = inner.exclusive
        self._inner = inner
        self._trap = trap
        self._works = False

    async def transact(self, commits: Sequence[Commit], claim: ClaimRequest | None = None) -> Transacted:
        """See :meth:`Store.transact`."""
        for kind, subject in stored_by(commits):
            self._trap.passes(f"{kind}-unstored", subject)
        found = await self._inner.transact(commits, claim)
        applied = [
            commit for commit, outcome in zip(commits, found.outcomes, strict=True) if outcome is Outcome.APPLIED
        ]
        for kind, subject in stored_by(applied):
            self._trap.passes(f"{kind}-stored", subject)
        for item in found.claimed:
            self._works = True
            self._trap.passes(*claimed(item))
        return found

    async def heartbeat(self, owner: str, expires_at: int) -> None:
        """See :meth:`Store.heartbeat`."""
        await self._inner.heartbeat(owner, expires_at)
        if self._works:
            self._trap.passes("lease-extended", owner)

    async def append_body(self, claim: ItemRef, start: int, data: Piece, *, last: bool = False) -> bool:
        """See :meth:`Store.append_body`."""
        subject = f"{claim.run_id}/{claim.key}"
        self._trap.passes("piece-unstored", subject)
        held = await self._inner.append_body(claim, start, data, last=last)
        self._trap.passes("piece-stored", subject)
        return held

    async def rescue(self, now: int) -> int:
        """See :meth:`Store.rescue`."""
        self._trap.passes("recovery-begun", "")
        freed = await self._inner.rescue(now)
        self._trap.passes("recovery-stored", str(freed))
        return freed

    def watch(self, told: Callable[[str], None]) -> None:
        """See :meth:`Watched.watch`."""
        if isinstance(self._inner, Watched):
            self._inner.watch(told)

    def __getattr__(self, verb: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        """Every other verb, as it is."""
        return getattr(self._inner, verb)


class _TrappedTee:
    """A tee whose readers get a chunk before the point is passed."""

    def __init__(self, inner: Tee, trap: Trap, subject: str) -> None:
        self._inner = inner
        self._trap = trap
        self._subject = subject

    def begin(self, head: FetchResponse) -> None:
        """See :meth:`Tee.begin`."""
        self._inner.begin(head)

    def write(self, data: bytes) -> None:
        """See :meth:`Tee.write`. What came before has been read by now."""
        self._trap.passes("chunk-read", self._subject)
        self._inner.write(data)

    def store(self, head: FetchResponse) -> Sink | None:
        """See :meth:`Tee.store`."""
        return self._inner.store(head)


class TrappedFetcher:
    """A fetcher; before the first byte of a request, and after the last one of the response, are points."""

    def __init__(self, inner: Fetcher, trap: Trap) -> None:
        self._inner = inner
        self._trap = trap

    async def fetch(self, request: FetchRequest, attempt: int = 0) -> FetchOutcome:
        """See :meth:`Fetcher.fetch`."""
        return await self._between(request, self._inner.fetch(request, attempt))

    async def fetch_teed(self, request: FetchRequest, attempt: int, tee: Tee | None) -> FetchOutcome:
        """See :meth:`TeeingFetcher.fetch_teed`."""
        inner = self._inner
        assert isinstance(inner, TeeingFetcher), "the platform's fetcher hands bodies on"
        trapped = None if tee is None else cast("Tee", _TrappedTee(tee, self._trap, key_of(request)))
        return await self._between(request, inner.fetch_teed(request, attempt, trapped))

    async def _between(self, request: FetchRequest, sent: Awaitable[FetchOutcome]) -> FetchOutcome:
        once = request.policy.at_most_once
        self._trap.passes("once-unsent" if once else "request-unsent", key_of(request))
        outcome = await sent
        self._trap.passes("once-unrecorded" if once else "response-unrecorded", key_of(request))
        return outcome

    async def close(self) -> None:
        """See :meth:`Fetcher.close`."""
        await self._inner.close()


class TrappedCaller:
    """A caller; before and after a call are points."""

    def __init__(self, inner: Caller, trap: Trap) -> None:
        self._inner = inner
        self._trap = trap

    async def call(self, request: CallRequest) -> Answer:
        """See :meth:`Caller.call`."""
        self._trap.passes("call-unsent", request.run_id)
        answer = await self._inner.call(request)
        self._trap.passes("call-unrecorded", request.run_id)
        return answer

    def ended(self, run_id: str) -> None:
        """See :meth:`Caller.ended`."""
        self._inner.ended(run_id)

    async def close(self) -> None:
        """See :meth:`Caller.close`."""
        await self._inner.close()


def trapped_app(app: App, trap: Trap) -> App:
    """An app around whose calls are points."""

    async def called(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            return await app(scope, receive, send)
        subject = scope["query_string"].decode()

        async def answered(message: Any) -> None:
            if message["type"] == "http.response.start":
                trap.passes("call-answered", subject)
                return await send(message)
            body: bytes = message.get("body", b"")
            half = len(body) // 2
            await send({**message, "body": body[:half], "more_body": True})
            trap.passes("call-half-answered", subject)
            return await send({**message, "body": body[half:]})

        trap.passes("call-received", subject)
        return await app(scope, receive, answered)

    return called
