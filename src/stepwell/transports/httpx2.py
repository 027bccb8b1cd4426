"""Durable requests for clients made with httpx2: ``httpx2.AsyncClient(transport=AsyncDurableTransport())``."""

from datetime import timedelta

import httpx2

from stepwell.sdk.drivers.preview import Preview, Recorded
from stepwell.sdk.fetching import head_of
from stepwell.transports._httpx_family import AsyncDurable, Durable, LiveBody, PartedBody, Parts, SyncDurable
from stepwell.wire.fetch import FetchResponse

__all__ = ["AsyncDurableTransport", "Durable", "DurableTransport"]


class _Live(LiveBody, httpx2.AsyncByteStream):
    """A body that still arrives."""


class _Parted(PartedBody, httpx2.SyncByteStream):
    """A large body in a ``def`` function."""


class _Own:
    """httpx2's own classes."""

    library_request = httpx2.Request

    def _make_response(self, found: FetchResponse) -> httpx2.Response:
        made = httpx2.Response(**head_of(found), stream=httpx2.ByteStream(found.body))
        made.elapsed = timedelta(milliseconds=found.elapsed_ms)
        return made

    def _make_live(self, found: Preview | Recorded) -> httpx2.Response:
        stream = _Live(found)
        made = httpx2.Response(**head_of(found.head), stream=stream)
        stream.done = lambda elapsed: setattr(made, "elapsed", elapsed)
        return made

    def _make_parted(self, found: FetchResponse, parts: Parts) -> httpx2.Response:
        stream = _Parted(found, parts)
        made = httpx2.Response(**head_of(found), stream=stream)
        stream.done = lambda elapsed: setattr(made, "elapsed", elapsed)
        return made

    def _make_error(self, name: str, message: str) -> Exception:
        return getattr(httpx2, name)(message)


class AsyncDurableTransport(_Own, AsyncDurable[httpx2.Request, httpx2.Response], httpx2.AsyncBaseTransport):
    """Makes the requests of an ``httpx2.AsyncClient`` durable inside of a run. Arguments: those of :class:`Durable`."""

    def _make_inner(self) -> httpx2.AsyncBaseTransport:
        return httpx2.AsyncHTTPTransport()


class DurableTransport(_Own, SyncDurable[httpx2.Request, httpx2.Response], httpx2.BaseTransport):
    """Makes the requests of an ``httpx2.Client`` durable in ``def`` functions. Arguments: those of :class:`Durable`."""

    def _make_inner(self) -> httpx2.BaseTransport:
        return httpx2.HTTPTransport()
