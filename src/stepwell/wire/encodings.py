"""Content codings: a body made plain, or only measured (RFC 9110, 8.4). Bounded: bombs are cut."""

from collections.abc import Iterable, Iterator

from stepwell.wire.decoders import DECODERS, INFLATES, Decoder

_INFLATED = frozenset({"gzip", "x-gzip", "deflate"})


class CannotDecode(ValueError):
    """A body that can not be made plain: unknown coding, damaged data, or over the limit; the message says which."""


class DecodesToMore(CannotDecode):
    """It is over the limit."""


class UnknownCoding(CannotDecode):
    """There is no decoder for it here; other clients leave such a body as it is."""


def decode(body: bytes, codings: list[str], limit: int) -> bytes:
    """Undo the codings of ``Content-Encoding``, last one first. Raises :class:`CannotDecode`."""
    for name in _names(codings):
        if not body:
            return body
        make = DECODERS.get(name)
        if make is None:
            raise UnknownCoding(f"its content encoding {name[:40]!r} can not be decoded here")
        out: list[bytes] = []
        if not _undo(make(), body, limit, out):
            raise CannotDecode(f"its {name} data is damaged")
        body = b"".join(out)
    return body


def decoded_as_far(body: bytes, codings: list[str], limit: int) -> bytes:
    """What the most lenient client makes of a body: unknown codings passed over, damaged data as far as it goes.

    Raises :class:`DecodesToMore`.
    """
    for name in _names(codings):
        make = DECODERS.get(name)
        if make is not None:
            out: list[bytes] = []
            _undo(make(), body, limit, out)
            body = b"".join(out)
    return body


def accepted() -> str:
    """The ``Accept-Encoding`` of what can be decoded here."""
    return ", ".join(name for name in ("gzip", "deflate", "br", "zstd") if name in DECODERS)


def check_decoded(body: bytes, codings: list[str], limit: int) -> None:
    """Raises :class:`DecodesToMore` for a body that is a bomb."""
    size = DecodedSize(codings, limit)
    if size.feed(body):
        size.measure()


class DecodedSize:
    """How large a body becomes that arrives in pieces. None of it is kept.

    Codings that are not known are passed over, as httpx does, and data that is damaged ends the measuring: its client will say
    so. Nothing is decoded while what came is too little to be over ``limit``.
    """

    def __init__(self, codings: list[str], limit: int) -> None:
        names = [name for name in _names(codings) if name in DECODERS]
        self._limit = limit
        self._sizes = [0] * len(names)
        self._decoders = [DECODERS[name]() for name in names]
        self._harmless = limit // INFLATES ** len(names) if _INFLATED.issuperset(names) else 0
        self._kept: list[bytes] | None = []

    def feed(self, data: bytes) -> bool:
        """What came next, in order; whether :meth:`measure` has work to do."""
        if self._kept is None or not self._decoders:
            return False
        self._kept.append(data)
        self._harmless -= len(data)
        return self._harmless < 0

    def measure(self) -> None:
        """Measure all that was fed. Takes up to a second for 64 MiB. Raises :class:`DecodesToMore`."""
        if self._kept is None:
            return
        pieces, self._kept = self._kept, []
        try:
            for _ in self._through(pieces, 0):
                pass
        except DecodesToMore:
            raise
        except Exception:  # noqa: BLE001 - libraries have errors of their own
            self._kept = None

    def _through(self, pieces: Iterable[bytes], stage: int) -> Iterator[bytes]:
        if stage == len(self._decoders):
            yield from pieces
            return
        yield from self._through(self._counted(pieces, stage), stage + 1)

    def _counted(self, pieces: Iterable[bytes], stage: int) -> Iterator[bytes]:
        for piece in pieces:
            if not piece:
                continue
            for made in self._decoders[stage].feed(piece):
                self._sizes[stage] += len(made)
                _check(self._sizes[stage], self._limit)
                yield made


def _names(codings: list[str]) -> list[str]:
    """The codings in the order in which they are undone."""
    names = [name.strip().lower() for value in codings for name in value.split(",")]
    return [name for name in reversed(names) if name and name != "identity"]


def _undo(decoder: Decoder, body: bytes, limit: int, out: list[bytes]) -> bool:
    """Append what the body decodes to; False for one that is damaged. Raises :class:`DecodesToMore`."""
    size = 0
    try:
        for piece in decoder.feed(body):
            size += len(piece)
            _check(size, limit)
            out.append(piece)
    except DecodesToMore:
        raise
    except Exception:  # noqa: BLE001 - libraries have errors of their own
        return False
    return decoder.whole


def _check(size: int, limit: int) -> None:
    if size > limit:
        raise DecodesToMore(f"it decodes to more than {limit} bytes")
