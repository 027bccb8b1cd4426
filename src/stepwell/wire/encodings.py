"""Content codings: a recorded body made plain for SDKs that take text only (RFC 9110, 8.4). Bounded: bombs are cut."""

import zlib
from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol, cast


class CannotDecode(ValueError):
    """A body that can not be made plain: unknown coding, damaged data, or over the limit; the message says which."""


class DecodesToMore(CannotDecode):
    """It is over the limit."""


class UnknownCoding(CannotDecode):
    """There is no decoder for it here; other clients leave such a body as it is."""


class _Decompressor(Protocol):
    eof: bool
    unused_data: bytes

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Brotli(Protocol):
    def process(self, data: bytes, output_buffer_limit: int) -> bytes: ...

    def is_finished(self) -> bool: ...

    def can_accept_more_data(self) -> bool: ...


_BROTLI_STEP = 64 * 1024
"""Bytes asked of brotli at a time; it may give some more."""
_ZSTD_WINDOW_LOG = 23
"""8 MiB, the largest window of this coding (RFC 9659)."""


def decode(body: bytes, codings: list[str], limit: int) -> bytes:
    """Undo the codings of ``Content-Encoding``, last one first. Raises :class:`CannotDecode`."""
    names = [name.strip().lower() for value in codings for name in value.split(",")]
    for name in reversed([name for name in names if name and name != "identity"]):
        if not body:
            return body
        decoder = _DECODERS.get(name)
        if decoder is None:
            raise UnknownCoding(f"its content encoding {name[:40]!r} can not be decoded here")
        try:
            body = decoder(body, limit)
        except CannotDecode:
            raise
        except Exception as error:
            raise CannotDecode(f"its {name} data is damaged") from error
    return body


def accepted() -> str:
    """The ``Accept-Encoding`` of what can be decoded here."""
    return ", ".join(name for name in ("gzip", "deflate", "br", "zstd") if name in _DECODERS)


def _drain(start: Callable[[], _Decompressor], body: bytes, limit: int) -> bytes:
    """All members of a stream, one after the other."""
    out: list[bytes] = []
    size = 0
    while body:
        unit = start()
        piece = unit.decompress(body, limit + 1 - size)
        size += len(piece)
        out.append(piece)
        _check(size, limit)
        if not unit.eof:
            raise ValueError("cut off")
        body = unit.unused_data.lstrip(b"\0")
    return b"".join(out)


def _check(size: int, limit: int) -> None:
    if size > limit:
        raise DecodesToMore(f"it decodes to more than {limit} bytes")


def _gzip(body: bytes, limit: int) -> bytes:
    return _drain(lambda: cast("_Decompressor", zlib.decompressobj(31)), body, limit)


def _deflate(body: bytes, limit: int) -> bytes:
    """Zlib as the standard has it, or the bare stream that some servers send."""
    try:
        return _drain(lambda: cast("_Decompressor", zlib.decompressobj(15)), body, limit)
    except zlib.error:
        return _drain(lambda: cast("_Decompressor", zlib.decompressobj(-15)), body, limit)


def _make_brotli(start: Callable[[], _Brotli]) -> Callable[[bytes, int], bytes]:
    def brotli(body: bytes, limit: int) -> bytes:
        unit = start()
        out = bytearray(unit.process(body, _BROTLI_STEP))
        _check(len(out), limit)
        while not unit.is_finished():
            if unit.can_accept_more_data():
                raise ValueError("cut off")
            out += unit.process(b"", _BROTLI_STEP)
            _check(len(out), limit)
        return bytes(out)

    return brotli


def _optional(names: tuple[str, ...], attribute: str) -> object | None:
    for name in names:
        try:
            return getattr(import_module(name), attribute)
        except (ImportError, AttributeError):
            continue
    return None


def _decoders() -> dict[str, Callable[[bytes, int], bytes]]:
    """What there is. The server extra brings brotli and zstd; an SDK on its own may be without."""
    found: dict[str, Callable[[bytes, int], bytes]] = {"gzip": _gzip, "x-gzip": _gzip, "deflate": _deflate}
    brotli = _optional(("brotli", "brotlicffi"), "Decompressor")
    if hasattr(brotli, "can_accept_more_data"):  # older ones take no limit: a bomb would go off
        found["br"] = _make_brotli(cast("Callable[[], _Brotli]", brotli))
    zstd = ("compression.zstd", "backports.zstd")
    unit, settings = _optional(zstd, "ZstdDecompressor"), _optional(zstd, "DecompressionParameter")
    if unit is not None and settings is not None:
        make = cast("Callable[..., _Decompressor]", unit)
        options = {cast("Any", settings).window_log_max: _ZSTD_WINDOW_LOG}
        found["zstd"] = lambda body, limit: _drain(lambda: make(options=options), body, limit)
    return found


_DECODERS = _decoders()
