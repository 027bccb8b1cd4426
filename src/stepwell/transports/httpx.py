"""Durable requests for clients made with httpx: ``httpx.AsyncClient(transport=AsyncDurableTransport())``."""

from datetime import timedelta

import httpx

from stepwell.sdk.drivers.preview import Preview, Recorded
from stepwell.sdk.fetching import head_of
from stepwell.transports._httpx_family import AsyncDurable, Durable, LiveBody, PartedBody, Parts, SyncDurable
from stepwell.wire.fetch import FetchResponse

__all__ = ["AsyncDurableTransport", "Durable", "DurableTransport"]


class _Recorded(httpx.ByteStream):
    """The recorded body. httpx measures ``elapsed`` itself when a stream is closed: this puts the recorded time back."""

    response: httpx.Response

    def __init__(self, found: FetchResponse) -> None:
        super().__init__(found.body)
        self._elapsed = timedelta(milliseconds=found.elapsed_ms)

    def close(self) -> None:
        self.response.elapsed = self._elapsed

    async def aclose(self) -> None:
        self.response.elapsed = self._elapsed


class _Live(LiveBody, httpx.AsyncByteStream):
    """A body that still arrives."""


class _Parted(PartedBody, httpx.SyncByteStream):
    """A large body in a ``def`` function."""


class _Own:
    """httpx's own classes."""

    library_request = httpx.Request

    def _make_response(self, found: FetchResponse) -> httpx.Response:
        stream = _Recorded(found)
        stream.response = httpx.Response(**head_of(found), stream=stream)
        return stream.response

    def _make_live(self, found: Preview | Recorded) -> httpx.Response:
        stream = _Live(found)
        made = httpx.Response(**head_of(found.head), stream=stream)
        stream.done = lambda elapsed: setattr(made, "elapsed", elapsed)
        return made

    def _make_parted(self, found: FetchResponse, parts: Parts) -> httpx.Response:
        stream = _Parted(found, parts)
        made = httpx.Response(**head_of(found), stream=stream)
        stream.done = lambda elapsed: setattr(made, "elapsed", elapsed)
        return made

    def _make_error(self, name: str, message: str) -> Exception:
        return getattr(httpx, name)(message)


class AsyncDurableTransport(_Own, AsyncDurable[httpx.Request, httpx.Response], httpx.AsyncBaseTransport):
    """Makes the requests of an ``httpx.AsyncClient`` durable inside of a run. Arguments: those of :class:`Durable`."""

    def _make_inner(self) -> httpx.AsyncBaseTransport:
        return httpx.AsyncHTTPTransport()


class DurableTransport(_Own, SyncDurable[httpx.Request, httpx.Response], httpx.BaseTransport):
    """Makes the requests of an ``httpx.Client`` durable in ``def`` functions. Arguments: those of :class:`Durable`."""

    def _make_inner(self) -> httpx.BaseTransport:
        return httpx.HTTPTransport()
