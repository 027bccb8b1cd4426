"""Takes values out of a body while it arrives, byte for byte as they are taken out of the record."""

from collections.abc import Callable, Sequence
from typing import Any

from stepwell.server.fetcher.base import Sink
from stepwell.wire.fetch import FetchResponse
from stepwell.wire.fetch_headers import find


class _One:
    """Replaces one value, as ``bytes.replace`` would do it with the whole."""

    def __init__(self, needle: bytes) -> None:
        self._needle = needle
        self._stars = b"*" * len(needle)
        self._held = b""

    def clean(self, data: bytes) -> bytes:
        """What can be handed on now."""
        *before, rest = (self._held + data).split(self._needle)
        keep = self._beginning(rest)
        self._held = rest[len(rest) - keep :]
        return self._stars.join((*before, rest[: len(rest) - keep]))

    def _beginning(self, data: bytes) -> int:
        """How many bytes at the end could be the beginning of the value."""
        for size in range(min(len(self._needle) - 1, len(data)), 0, -1):
            if data.endswith(self._needle[:size]):
                return size
        return 0

    def rest(self) -> bytes:
        """Nothing more comes: what was held back."""
        held, self._held = self._held, b""
        return held


class Cleaner:
    """Replaces values by as many ``*``, one after the other as they are given: the longest first, as in the record.

    Bytes are held back only while they could be the beginning of a value.
    """

    def __init__(self, needles: Sequence[bytes]) -> None:
        self._stages = [_One(needle) for needle in needles]

    def clean(self, data: bytes) -> bytes:
        """What can be handed on now."""
        for stage in self._stages:
            data = stage.clean(data)
        return data

    def rest(self) -> bytes:
        """Nothing more comes: what was held back."""
        data = b""
        for stage in self._stages:
            data = stage.clean(data) + stage.rest()
        return data


class CleanTee:
    """Stands before a tee. ``wanted`` says of a response's head whether its body is the one to show, and cleans it.

    ``flush`` hands on the rest of what is shown.
    """

    def __init__(
        self, tee: Any, needles: Sequence[bytes], wanted: Callable[[FetchResponse], FetchResponse | None]
    ) -> None:
        self._tee = tee
        self._needles = needles
        self._wanted = wanted
        self._cleaner = Cleaner(needles)
        self._open = False

    def begin(self, head: FetchResponse) -> None:
        """The first bytes are here. Values can not be seen in an encoded body: that one is shown once it is recorded."""
        clean = None if find(head.headers, "content-encoding") else self._wanted(head)
        self._open = clean is not None
        if clean is not None:
            self._tee.begin(clean)

    def write(self, data: bytes) -> None:
        """Some of the body."""
        if self._open and (clean := self._cleaner.clean(data)):
            self._tee.write(clean)

    def store(self, head: FetchResponse) -> Sink | None:
        """Where to put a large body. One that is encoded has to be taken whole: values are looked for in what it means."""
        inner: Sink | None = None if find(head.headers, "content-encoding") else self._tee.store(head)
        return inner and _CleanSink(inner, self._needles)

    def flush(self) -> None:
        """Nothing more comes."""
        if self._open and (rest := self._cleaner.rest()):
            self._tee.write(rest)


class _CleanSink:
    """Stands before a sink."""

    def __init__(self, sink: Sink, needles: Sequence[bytes]) -> None:
        self.holds = sink.holds
        self._sink = sink
        self._cleaner = Cleaner(needles)

    async def write(self, data: bytes) -> None:
        await self._sink.write(self._cleaner.clean(data))

    async def end(self) -> int:
        await self._sink.write(self._cleaner.rest())
        return await self._sink.end()
