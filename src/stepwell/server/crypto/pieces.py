"""Large values sealed in pieces, so that a part can be read without the rest.

``c1 53 57 02``, the id of the key (4 bytes), the salt (16), a counter (8), the length of the plain value (8); then pieces of
64 KiB, each with its tag. The header is authenticated with each piece, and so are its number and what the value belongs to.

A value that is not known whole when it is sealed is a row of such values, which begin with ``c1 53 57 03``; each but the last
holds as many bytes as the first.
"""

from collections.abc import Callable
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag

from stepwell.server.crypto.seal import CannotOpen, Sealer

MAGIC = b"\xc1SW\x02"
IN_A_ROW = b"\xc1SW\x03"
HEAD = 40
_PIECE = 64 * 1024
_SEALED = _PIECE + 16


def seal(sealer: Sealer, data: bytes, place: bytes, magic: bytes = MAGIC) -> bytes:
    """The whole value, sealed with the newest key."""
    out = bytearray(sealed_size(len(data)))
    seal_into(out, sealer, data, place, magic)
    return bytes(out)


def seal_into(out: bytearray, sealer: Sealer, data: bytes | memoryview, place: bytes, magic: bytes = MAGIC) -> int:
    """The same, written to the beginning of ``out``, which has room for it; the size."""
    key, salt, count = sealer.start()
    head = magic + key + salt + count + len(data).to_bytes(8, "big")
    cipher = sealer.cipher(key, salt, b"pieces")
    out[:HEAD] = head
    view, room, at = memoryview(data), memoryview(out), HEAD
    for number, start in enumerate(range(0, len(data), _PIECE)):
        piece = view[start : start + _PIECE]
        end = at + len(piece) + 16
        cipher.encrypt_into(count + number.to_bytes(4, "big"), piece, head + place, room[at:end])
        at = end
    return at


@dataclass(frozen=True, slots=True)
class Part:
    """Which bytes of the sealed value (``start:end``) hold the asked part, and how to get it out of them."""

    head: bytes
    start: int
    end: int
    first: int
    skip: int
    size: int

    def open(self, sealer: Sealer, sealed: bytes | memoryview, place: bytes) -> bytes:
        """The asked part. Raises :class:`CannotOpen`."""
        return b"".join(self.opened(sealer, sealed, place))

    def opened(self, sealer: Sealer, sealed: bytes | memoryview, place: bytes) -> list[bytes]:
        """The same, not put together yet."""
        sealed = memoryview(sealed)
        head = self.head
        cipher = sealer.cipher(head[4:8], head[8:24], b"pieces")
        out: list[bytes] = []
        try:
            for number, at in enumerate(range(0, len(sealed), _SEALED), self.first):
                nonce = head[24:32] + number.to_bytes(4, "big")
                out.append(cipher.decrypt(nonce, sealed[at : at + _SEALED], head + place))
        except InvalidTag:
            raise CannotOpen("a stored body is damaged, or was moved: it does not open", head[4:8].hex()) from None
        if sum(map(len, out)) < self.skip + self.size:
            raise CannotOpen("a stored body is cut short: it does not open", head[4:8].hex())
        return _cut(out, self.skip, self.size)


def _cut(parts: list[bytes], skip: int, size: int) -> list[bytes]:
    """Without ``skip`` bytes at the beginning, which the first part has, and with ``size`` in all."""
    if skip:
        parts[0] = parts[0][skip:]
    over = sum(map(len, parts)) - size
    if over > 0:
        parts[-1] = parts[-1][:-over]
    return parts


def part(head: bytes, start: int, end: int | None) -> Part | None:
    """How to read ``start:end`` of the value that begins with ``head``; None when it is not sealed."""
    if len(head) < HEAD or not head.startswith((MAGIC, IN_A_ROW)):
        return None
    length = length_of(head)
    start, end, _ = slice(start, end).indices(length)
    if end <= start:
        return Part(head[:HEAD], HEAD, HEAD, 0, 0, 0)
    first, last = start // _PIECE, (end - 1) // _PIECE
    stop = min(sealed_size(length), HEAD + (last + 1) * _SEALED)
    return Part(head[:HEAD], HEAD + first * _SEALED, stop, first, start - first * _PIECE, end - start)


def length_of(head: bytes) -> int:
    """How long the plain value is."""
    return int.from_bytes(head[32:HEAD], "big")


def sealed_size(length: int) -> int:
    """How long a value of ``length`` bytes is once it is sealed."""
    return HEAD + length + 16 * -(-length // _PIECE)


def open_row(
    sealer: Sealer, sealed: bytes, length: int, start: int, end: int | None, place: Callable[[int], bytes]
) -> bytes:
    """Bytes ``start:end`` of a row whose values hold ``length`` bytes each; ``sealed`` begins with the one of ``start``.

    ``place`` says what the value from a byte on belongs to. Raises :class:`CannotOpen`.
    """
    view, size = memoryview(sealed), sealed_size(length)
    found: list[bytes] = []
    for number, at in enumerate(range(0, len(sealed), size), start // length):
        base = number * length
        wanted = part(bytes(view[at : at + HEAD]), max(0, start - base), None if end is None else end - base)
        if wanted is None:
            raise CannotOpen("a stored body is damaged: a piece of it is not sealed", "")
        found += wanted.opened(sealer, view[at + wanted.start : at + wanted.end], place(base))
    return b"".join(found)
