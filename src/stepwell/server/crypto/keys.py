"""Where the encryption keys come from: the settings, and a file beside the database."""

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

KEY_BYTES = 32
_HEX = re.compile(r"[0-9a-fA-F]{64}")


_HEAD = "# Stepwell: opens what is sealed in the database beside this file. Keep a copy apart.\n"


class KeyProblem(ValueError):
    """A key can not be used; one sentence that says what to do, and never shows the key."""


def key_id(key: bytes) -> str:
    """Eight hex digits that name a key and tell nothing about it."""
    return hashlib.sha256(b"stepwell key id\0" + key).hexdigest()[:8]


def parse_key(text: str) -> bytes:
    """A key of 256 bits, as 64 hex digits or as base64 (either alphabet). Raises :class:`KeyProblem`."""
    text = text.strip()
    if _HEX.fullmatch(text):
        return bytes.fromhex(text)
    try:
        key = base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise KeyProblem("An encryption key must be 32 bytes in hex or base64; `openssl rand -hex 32` makes one.")
    return key


def parse_keys(texts: Iterable[str]) -> list[bytes]:
    """Keys in order, the newest first; each once."""
    return list(dict.fromkeys(parse_key(text) for text in texts))


class KeyFile:
    """The generated key of a database, in a file of mode 0600: one key a line, the newest first, ``#`` for comments."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> list[bytes]:
        """The keys in the file; none when there is no file. Raises :class:`KeyProblem`."""
        try:
            text = self.path.read_text(encoding="ascii")
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            raise KeyProblem(f"{self.path}: the encryption key can not be read ({error}).") from None
        try:
            keys = parse_keys(line for line in text.splitlines() if line.strip() and not line.startswith("#"))
        except KeyProblem as problem:
            raise KeyProblem(f"{self.path}: {problem}") from None
        if not keys:
            raise KeyProblem(f"{self.path}: the file holds no encryption key; restore it from a copy, or remove it.")
        return keys

    def renew(self) -> list[bytes]:
        """Put a new key in front of those in the file, on the disk when this returns. Raises :class:`KeyProblem`."""
        return self._replace([os.urandom(KEY_BYTES), *self.load()])

    def keep(self, key: bytes) -> None:
        """Leave this key alone in the file. Raises :class:`KeyProblem`."""
        self._replace([key])

    def _replace(self, keys: list[bytes]) -> list[bytes]:
        new = self.path.with_name(self.path.name + ".new")
        try:
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as file:
                file.write(_HEAD + "".join(f"{key.hex()}\n" for key in keys))
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.path)
            _sync_folder(self.path.parent)
        except OSError as error:
            raise KeyProblem(f"{self.path}: the encryption key can not be written ({error.strerror}).") from None
        return keys

    def make(self) -> list[bytes]:
        """Write a new key, on the disk when this returns, and give it. Raises :class:`KeyProblem`."""
        key = os.urandom(KEY_BYTES)
        text = f"{_HEAD}{key.hex()}\n"
        try:
            with os.fdopen(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            _sync_folder(self.path.parent)
        except FileExistsError:
            return self.load()
        except OSError as error:
            raise KeyProblem(f"{self.path}: the encryption key can not be written ({error.strerror}).") from None
        return [key]


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
