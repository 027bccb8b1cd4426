"""Content codings undone piece by piece, so that nobody holds more of a body than a piece (RFC 9110, 8.4.1)."""

import zlib
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, Protocol, cast

_PIECE = 64 * 1024
"""Bytes asked of a library at a time; brotli may give some more."""
_ZSTD_WINDOW_LOG = 23
"""8 MiB, the largest window of this coding (RFC 9659)."""
INFLATES = 1032
"""How many bytes one byte of deflate data can become at the most (zlib, Technical Details)."""


class Decoder(Protocol):
    """One coding of one body."""

    @property
    def whole(self) -> bool:
        """Whether what was fed ends where the coding says that it ends."""
        ...

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What more there is of the body. Raises the library's error, or ``ValueError``, on data that is damaged."""
        ...


class _Unit(Protocol):
    eof: bool
    unused_data: bytes

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Brotli(Protocol):
    def process(self, data: bytes, output_buffer_limit: int) -> bytes: ...

    def is_finished(self) -> bool: ...


class _Members:
    """Streams of gzip, zlib or zstd, one after the other, with zeros between them."""

    def __init__(self, start: Callable[[], _Unit]) -> None:
        self._start = start
        self._unit: _Unit | None = None

    @property
    def whole(self) -> bool:
        return self._unit is None

    def feed(self, data: bytes) -> Iterator[bytes]:
        while True:
            if self._unit is None:
                data = data.lstrip(b"\0")
                if not data:
                    return
                self._unit = self._start()
            piece = self._unit.decompress(data, _PIECE)
            if piece:
                yield piece
            if self._unit.eof:
                data, self._unit = self._unit.unused_data, None
            elif not piece:
                return
            else:  # zlib gives back what it has not read, zstd keeps it
                data = getattr(self._unit, "unconsumed_tail", b"")


class _Deflate:
    """Zlib as the standard has it, or the bare stream that some servers send."""

    def __init__(self) -> None:
        self._chosen: _Members | None = None

    @property
    def whole(self) -> bool:
        return self._chosen is None or self._chosen.whole

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._chosen is None:
            self._chosen = _Members(_zlib(15 if _is_zlib(data) else -15))
        yield from self._chosen.feed(data)


def _is_zlib(data: bytes) -> bool:
    """Whether a body that begins so has the header of RFC 1950, 2.2."""
    return data[0] & 15 == 8 and (len(data) < 2 or int.from_bytes(data[:2], "big") % 31 == 0)


def _zlib(bits: int) -> Callable[[], _Unit]:
    return lambda: cast("_Unit", zlib.decompressobj(bits))


class _BrotliStream:
    def __init__(self, unit: _Brotli) -> None:
        self._unit = unit

    @property
    def whole(self) -> bool:
        return self._unit.is_finished()

    def feed(self, data: bytes) -> Iterator[bytes]:
        piece = self._unit.process(data, _PIECE)
        while piece:  # what it could take more of says nothing of what it still has
            yield piece
            piece = b"" if self._unit.is_finished() else self._unit.process(b"", _PIECE)


def _optional(names: tuple[str, ...], attribute: str) -> object | None:
    for name in names:
        try:
            return getattr(import_module(name), attribute)
        except (ImportError, AttributeError):
            continue
    return None


def _decoders() -> dict[str, Callable[[], Decoder]]:
    """What there is. The server extra brings brotli and zstd; an SDK on its own may be without."""
    gzip = _zlib(31)
    found: dict[str, Callable[[], Decoder]] = {
        "gzip": lambda: _Members(gzip),
        "x-gzip": lambda: _Members(gzip),
        "deflate": _Deflate,
    }
    brotli = _optional(("brotli", "brotlicffi"), "Decompressor")
    if hasattr(brotli, "can_accept_more_data"):  # older ones take no limit: a bomb would go off
        found["br"] = lambda: _BrotliStream(cast("Callable[[], _Brotli]", brotli)())
    zstd = ("compression.zstd", "backports.zstd")
    unit, settings = _optional(zstd, "ZstdDecompressor"), _optional(zstd, "DecompressionParameter")
    if unit is not None and settings is not None:
        make = cast("Callable[..., _Unit]", unit)
        options = {cast("Any", settings).window_log_max: _ZSTD_WINDOW_LOG}
        found["zstd"] = lambda: _Members(lambda: make(options=options))
    return found


DECODERS = _decoders()
"""By name of the coding."""
