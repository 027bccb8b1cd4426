"""Seals large bodies with the newest key: a new file, which takes the place of the old one once it is on the disk."""

import os
from pathlib import Path
from typing import BinaryIO

from stepwell.server.crypto import pieces
from stepwell.server.crypto.seal import CannotOpen, Sealer
from stepwell.server.store import reseal
from stepwell.server.store.sqlite.bodyfiles import sync_folder


def seal_file(path: Path, ref: str, keys: Sealer) -> bool:
    """Whether it was written: not one that is sealed with that key, was never sealed, or is missing.

    Raises CannotOpen, OSError.
    """
    fresh = path.with_suffix(".new")
    try:
        with path.open("rb") as old:
            head = old.read(pieces.HEAD)
            if pieces.part(head, 0, None) is None or head[4:8].hex() == keys.key:
                return False
            old.seek(0)
            with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as new:
                _seal(old, new, ref, pieces.length_of(head), keys)
                new.flush()
                os.fsync(new.fileno())
    except FileNotFoundError:
        return False
    fresh.replace(path)
    sync_folder(path.parent)
    return True


def _seal(old: BinaryIO, new: BinaryIO, ref: str, length: int, keys: Sealer) -> None:
    start = 0
    while data := old.read(pieces.sealed_size(length)):
        fresh = reseal.piece(keys, ref, start, data)
        if fresh is None:
            raise CannotOpen("a stored body is damaged: a piece of it is not sealed", "")
        new.write(fresh)
        start += length
