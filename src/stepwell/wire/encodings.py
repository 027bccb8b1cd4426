"""Content codings: a recorded body made plain for SDKs that take text only (RFC 9110, 8.4). Bounded: bombs are cut."""

import zlib
from collections.abc import Callable
from importlib import import_module
from typing import Protocol, cast


class CannotDecode(ValueError):
    """A body that can not be made plain: unknown coding, damaged data, or over the limit; the message says which."""


class _Decompressor(Protocol):
    eof: bool
    unused_data: bytes

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Brotli(Protocol):
    def process(self, data: bytes) -> bytes: ...

    def is_finished(self) -> bool: ...


_BROTLI_SLICE = 512
"""Bytes fed to brotli at a time: its decoder takes no limit, so the input is kept small between looks at the output."""


def decode(body: bytes, codings: list[str], limit: int) -> bytes:
    """Undo the codings of ``Content-Encoding``, last one first. Raises :class:`CannotDecode`."""
    names = [name.strip().lower() for value in codings for name in value.split(",")]
    for name in reversed([name for name in names if name and name != "identity"]):
        decoder = _DECODERS.get(name)
        if decoder is None:
            raise CannotDecode(f"its content encoding {name[:40]!r} can not be decoded here")
        if not body:
            return body
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
        raise CannotDecode(f"it decodes to more than {limit} bytes")


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
        out = bytearray()
        for at in range(0, len(body), _BROTLI_SLICE):
            out += unit.process(body[at : at + _BROTLI_SLICE])
            _check(len(out), limit)
        if not unit.is_finished():
            raise ValueError("cut off")
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
    found: dict[str, Callable[[bytes, int], bytes]] = {"gzip": _gzip, "x-gzip": _gzip, "deflate": _deflate}
    if (brotli := _optional(("brotli", "brotlicffi"), "Decompressor")) is not None:
        found["br"] = _make_brotli(cast("Callable[[], _Brotli]", brotli))
    if (zstd := _optional(("compression.zstd", "backports.zstd"), "ZstdDecompressor")) is not None:
        start = cast("Callable[[], _Decompressor]", zstd)
        found["zstd"] = lambda body, limit: _drain(start, body, limit)
    return found


_DECODERS = _decoders()
