"""The durable transports of httpx and httpx2, whose APIs are alike: each library adds its own classes."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any, Generic, Protocol, TypeVar

from stepwell.errors import FetchError, StepUsageError
from stepwell.sdk.drivers.preview import Preview, Recorded
from stepwell.sdk.fetching import Retry
from stepwell.sdk.secrets import filled
from stepwell.sdk.steps import Step
from stepwell.transports._codec import Outgoing, Request
from stepwell.transports._policy import PLAIN, Plain, base_policy, error_name, steers
from stepwell.transports._scope import durable_step, sync_step
from stepwell.wire.fetch import FetchResponse

RequestT = TypeVar("RequestT", bound=Request)
RequestT_contra = TypeVar("RequestT_contra", contravariant=True)
ResponseT = TypeVar("ResponseT")
ResponseT_co = TypeVar("ResponseT_co", covariant=True)
T = TypeVar("T")
Parts = Callable[[], Iterator[bytes]]


class SyncTransport(Protocol[RequestT_contra, ResponseT_co]):
    """A plain sync transport."""

    def handle_request(self, request: RequestT_contra) -> ResponseT_co: ...
    def close(self) -> None: ...


class AsyncTransport(Protocol[RequestT_contra, ResponseT_co]):
    """A plain async transport."""

    async def handle_async_request(self, request: RequestT_contra) -> ResponseT_co: ...
    async def aclose(self) -> None: ...


class Durable(Generic[T, ResponseT]):
    """What the transports share. ``T`` is the library's plain transport.

    Args:
        fallback: sends the requests made outside of a run and inside of ``step.run``. Default: the library's own
            transport; None makes those requests an error (``StepUsageError``).
        retry: a :class:`stepwell.Retry`, or the number of attempts; default: the function's, and the usual delays.
        deadline: over all attempts of a request: seconds, a ``timedelta`` or a text such as ``"5m"``; default: none.
        at_most_once: never send a request a second time once a byte of it may have left.

    Time-outs are the client's own, for each attempt; redirects are followed when the client does, each hop a request of
    its own. The headers ``stepwell-retries``, ``stepwell-deadline`` and their like steer single requests.
    """

    library_request: type
    """The library's class of requests."""

    def __init__(
        self,
        fallback: T | Plain | None = PLAIN,
        *,
        retry: Retry | int | None = None,
        deadline: float | timedelta | str | None = None,
        at_most_once: bool = False,
    ) -> None:
        self._policy = base_policy(retry, deadline, at_most_once)
        self._plain_allowed = fallback is not None
        self._inner: T | None = None if isinstance(fallback, Plain) else fallback
        self._lock = threading.Lock()

    def _make_inner(self) -> T:
        raise NotImplementedError

    def _make_response(self, found: FetchResponse) -> ResponseT:
        raise NotImplementedError

    def _make_error(self, name: str, message: str) -> Exception:
        raise NotImplementedError

    def _of_own_library(self, request: object) -> None:
        """The libraries are alike, and some SDKs take the one that they find. Raises ``StepUsageError`` for the other's."""
        if isinstance(request, self.library_request):
            return
        own, theirs = (kind.__module__.partition(".")[0] for kind in (self.library_request, type(request)))
        raise StepUsageError(
            f"a client of {theirs} was given a transport of {own}, whose responses it does not take: give it the one of "
            f"stepwell.transports.{theirs}"
        )

    def _fallback(self, request: Request) -> T:
        for name in [name for name in request.headers.keys() if steers(name)]:  # noqa: SIM118 - no Mapping is promised
            del request.headers[name]
        with self._lock:
            if self._inner is None:
                self._inner = self._make_inner()
            return self._inner

    def _translated(self, error: FetchError) -> Exception:
        return self._make_error(error_name(error.kind, error.sent), error.message)


class AsyncDurable(Durable[AsyncTransport[RequestT, ResponseT], ResponseT], Generic[RequestT, ResponseT]):
    """The async half."""

    async def handle_async_request(self, request: RequestT) -> ResponseT:
        """Inside a run a durable step, else a plain request. Raises the library's own transport errors."""
        self._of_own_library(request)
        step = durable_step(plain_allowed=self._plain_allowed)
        if step is None:
            return await self._fallback(request).handle_async_request(filled(request))
        asked = Outgoing(request, self._policy)
        try:
            found = await _exchange(step, asked)
        except FetchError as error:
            raise self._translated(error) from error
        return self._make_response(found) if isinstance(found, FetchResponse) else self._make_live(found)

    def _make_live(self, found: Preview | Recorded) -> ResponseT:
        raise NotImplementedError

    async def aclose(self) -> None:
        """Close the fallback's connections."""
        if self._inner is not None:
            await self._inner.aclose()


class SyncDurable(Durable[SyncTransport[RequestT, ResponseT], ResponseT], Generic[RequestT, ResponseT]):
    """The sync half: in a ``def`` function a request unwinds it, as any step does."""

    def handle_request(self, request: RequestT) -> ResponseT:
        """As :meth:`AsyncDurable.handle_async_request`."""
        self._of_own_library(request)
        step = sync_step(plain_allowed=self._plain_allowed)
        if step is None:
            return self._fallback(request).handle_request(filled(request))
        asked = Outgoing(request, self._policy)
        try:
            found, parts = step.exchange_parts(asked)
        except FetchError as error:
            raise self._translated(error) from error
        return self._make_response(found) if parts is None else self._make_parted(found, parts)

    def _make_parted(self, found: FetchResponse, parts: Parts) -> ResponseT:
        raise NotImplementedError

    def close(self) -> None:
        """Close the fallback's connections."""
        if self._inner is not None:
            self._inner.close()


class LiveBody:
    """A body that still arrives, or that is read from the record part by part.

    Its end, and closing it early, wait for the record; ``done`` gets its elapsed time.
    """

    done: Callable[[timedelta], None]

    def __init__(self, preview: Preview | Recorded) -> None:
        self._preview = preview

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Piece by piece, as received."""
        async for piece in self._preview.pieces():
            yield piece

    async def aclose(self) -> None:
        """Wait for the record."""
        self.done(timedelta(milliseconds=await self._preview.elapsed_ms()))


class PartedBody:
    """A large body that is read from the record part by part; ``done`` gets the recorded elapsed time at its end."""

    done: Callable[[timedelta], None]

    def __init__(self, found: FetchResponse, parts: Parts) -> None:
        self._elapsed = timedelta(milliseconds=found.elapsed_ms)
        self._parts = parts

    def __iter__(self) -> Iterator[bytes]:
        """Part by part, as received."""
        yield from self._parts()

    def close(self) -> None:
        """The client has measured the time itself: this puts the recorded one back."""
        self.done(self._elapsed)


async def _exchange(step: Any, asked: Outgoing) -> FetchResponse | Preview | Recorded:
    """Also for an async client in ``asyncio.run`` of a ``def`` function, whose steps do not wait but unwind."""
    if isinstance(step, Step):
        return await step.exchange_live(asked)
    await asked.body_async()
    return step.exchange(asked)
