"""Identifiers: step ids (SHA-1 of the user's id) and ULIDs. Protocol section 0 and 3.3."""

import hashlib
from functools import lru_cache
from typing import Final

ZERO_UUID: Final = "00000000-0000-0000-0000-000000000000"
"""The one account and the one environment that there are."""
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_SHIFTS = range(100, -1, -10)
_PAIRS = [first + second for first in _CROCKFORD for second in _CROCKFORD]


def step_hash(user_id: str, index: int = 0) -> str:
    """The wire id of the step called ``user_id``; ``index`` counts its repeats from 0 (protocol 3.3)."""
    text = user_id if index == 0 else f"{user_id}:{index}"
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def ulid(millis: int, entropy: bytes) -> str:
    """A ULID from milliseconds since the epoch and 10 bytes of entropy: 26 upper-case Crockford characters."""
    if len(entropy) != 10:
        raise ValueError("a ULID takes 10 bytes of entropy")
    number = (millis << 80) | int.from_bytes(entropy, "big")
    return _head(number >> 20) + _PAIRS[(number >> 10) & 1023] + _PAIRS[number & 1023]


@lru_cache(64)
def _head(number: int) -> str:
    """All but the last four characters: ids that were made one after the other have the same."""
    return "".join([_PAIRS[(number >> shift) & 1023] for shift in _SHIFTS])


def ulid_millis(text: str) -> int:
    """The milliseconds in a ULID. Raises ``ValueError`` on anything that is not one."""
    if not is_ulid(text):
        raise ValueError(f"{text!r} is not a ULID")
    number = 0
    for char in text[:10]:
        number = number * 32 + _CROCKFORD.index(char)
    return number


def is_ulid(text: str) -> bool:
    """Whether ``text`` is a 26-character upper-case ULID."""
    return len(text) == 26 and text[0] <= "7" and all(c in _CROCKFORD for c in text)


def seeded_entropy(entropy: bytes, index: int) -> bytes:
    """The n-th event's entropy from a request's seed: its last 4 bytes, big-endian, plus ``index`` (protocol 1.2)."""
    tail = (int.from_bytes(entropy[6:], "big") + index) & 0xFFFFFFFF
    return entropy[:6] + tail.to_bytes(4, "big")


def stable_uuid(*parts: str) -> str:
    """A UUID (version 5 layout) that is the same for the same parts: function and app ids (protocol section 0)."""
    digest = bytearray(hashlib.sha1("\x00".join(parts).encode(), usedforsecurity=False).digest()[:16])
    digest[6] = (digest[6] & 0x0F) | 0x50
    digest[8] = (digest[8] & 0x3F) | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
