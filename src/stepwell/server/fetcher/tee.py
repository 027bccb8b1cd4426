"""Where an attempt's body goes: a channel that readers follow while it arrives, and the store once it has grown large."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from stepwell.core.fetches import streamable
from stepwell.server.fetcher.base import Fetcher, Sink
from stepwell.server.streams import Channel, Key, Streams
from stepwell.wire.fetch import FetchBroken, FetchOutcome, FetchRequest, FetchResponse


class Tee:
    """One attempt's. Opens its channel only where the body takes more than one read, and could become the record.

    ``sink`` makes the place in the store; what was there before is void then.
    """

    __slots__ = ("_channel", "_key", "_mark", "_request", "_sink", "_streams")

    def __init__(
        self, streams: Streams, key: Key, request: FetchRequest, mark: int, sink: Callable[[], Sink] | None = None
    ) -> None:
        self._sink = sink
        self._streams = streams
        self._key = key
        self._request = request
        self._mark = mark
        self._channel: Channel | None = None

    def begin(self, head: FetchResponse) -> None:
        """The first bytes are here, and more will come. ``head`` has no body yet."""
        if streamable(self._request, head):
            self._channel = Channel(self._mark, head)
            self._streams.open(self._key, self._channel)

    def write(self, data: bytes) -> None:
        """Some of the body."""
        if self._channel is not None:
            self._channel.write(data)

    def store(self, head: FetchResponse) -> Sink | None:
        """Where to put the body of ``head``, which has grown large; None where it has to be taken whole, to be decoded."""
        return self._sink() if self._sink is not None and self._request.rich else None

    def end(self, outcome: FetchOutcome) -> None:
        """The attempt is over."""
        if self._channel is not None:
            self._channel.end(outcome.message if isinstance(outcome, FetchBroken) else None)


@runtime_checkable
class TeeingFetcher(Fetcher, Protocol):
    """A fetcher that hands bodies on while they arrive."""

    async def fetch_teed(self, request: FetchRequest, attempt: int, tee: Tee | None) -> FetchOutcome:
        """As :meth:`Fetcher.fetch`; the body of the last hop goes to ``tee`` too."""
        ...
