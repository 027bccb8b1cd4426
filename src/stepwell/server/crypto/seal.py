"""AES-256-GCM over stored values. The newest key seals, every key opens.

A sealed value: ``c1 53 57 01``, the id of the key (4 bytes), a salt (16), a counter (8), the ciphertext and its tag (16).
The first byte begins neither msgpack nor UTF-8, so values that were stored before there were keys are told apart.

The key that encrypts is derived from the given one and the salt, which is new for every process; the nonce is the counter.
So no nonce comes twice, without limits on how many values a key may seal. What a value belongs to (``place``) is
authenticated with it: one that was moved to another row does not open.
"""

import hashlib
import hmac
import itertools
import os
from collections.abc import Sequence
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from stepwell.server.crypto.keys import key_id

MAGIC = b"\xc1SW\x01"
_ID_END = 8
_SALT_END = 24
_HEAD = 32
_PAD = b"\0\0\0\0"


class CannotOpen(ValueError):
    """A sealed value can not be opened; one sentence. ``key`` is the id of the key that it needs."""

    def __init__(self, message: str, key: str) -> None:
        super().__init__(message)
        self.key = key


def sealed_with(data: bytes) -> str | None:
    """The id of the key that sealed this value; None when it is not sealed."""
    return data[4:_ID_END].hex() if data.startswith(MAGIC) else None


class Sealer:
    """Seals with the first of the keys. Safe to use from several threads, and in a child after a fork."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = {bytes.fromhex(key_id(key)): key for key in reversed(keys)}
        self._by_age = tuple(keys)
        self.key = key_id(keys[0])
        self._newest = bytes.fromhex(self.key)
        self.cipher = lru_cache(maxsize=256)(self._derive)
        self._begin()

    @property
    def known(self) -> frozenset[str]:
        """The ids of all keys."""
        return frozenset(key.hex() for key in self._keys)

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._salt = os.urandom(16)
        self._prefix = MAGIC + self._newest + self._salt
        self._own = self._derive(self._newest, self._salt, b"value")
        self._count = itertools.count()

    def _derive(self, name: bytes, salt: bytes, use: bytes) -> AESGCM:
        key = self._keys.get(name)
        if key is None:
            raise CannotOpen(
                f"a stored value is sealed with the key {name.hex()}, which is not among the encryption keys given: add it "
                "to STEPWELL_ENCRYPTION_KEYS",
                name.hex(),
            )
        return AESGCM(hmac.digest(key, b"stepwell " + use + b"\0" + salt, hashlib.sha256))

    def seal(self, data: bytes, place: bytes) -> bytes:
        """The value, sealed with the newest key for this place."""
        count = self._next()
        return self._prefix + count + self._own.encrypt(_PAD + count, data, place)

    def digests(self, data: bytes) -> list[bytes]:
        """Keyed hashes of the data, 16 bytes, one for each key, the newest's first: the same for the same data."""
        return [hmac.digest(key, b"stepwell digest\0" + data, hashlib.sha256)[:16] for key in self._by_age]

    def start(self) -> tuple[bytes, bytes, bytes]:
        """For values that are sealed in pieces: the id of the newest key, the salt, a count that never comes again."""
        count = self._next()
        return self._newest, self._salt, count

    def _next(self) -> bytes:
        if self._pid != os.getpid():
            self._begin()
        return next(self._count).to_bytes(8, "big")

    def open(self, data: bytes, place: bytes) -> bytes:
        """The value; as it is when it was never sealed. Raises :class:`CannotOpen`."""
        if not data.startswith(MAGIC):
            return data
        cipher = self.cipher(data[4:_ID_END], data[_ID_END:_SALT_END], b"value")
        try:
            return cipher.decrypt(_PAD + data[_SALT_END:_HEAD], data[_HEAD:], place)
        except InvalidTag:
            raise CannotOpen("a stored value is damaged, or was moved: it does not open", data[4:8].hex()) from None
