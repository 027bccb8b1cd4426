"""Retires the older encryption keys of a database: a file that nobody has open, or PostgreSQL with processes on it."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec

from stepwell.server.crypto.keys import KeyFile, KeyProblem
from stepwell.server.crypto.seal import Sealer
from stepwell.server.store.base import StoreError
from stepwell.server.store.sealed import SealedStore
from stepwell.server.store.sqlite import SQLiteStore
from stepwell.server.store.sqlite.rekey import Told, seal_anew


class Rekeyed(msgspec.Struct, frozen=True):
    """``key``: the id of the one that seals everything now; ``retired``: of those that nothing needs any more."""

    key: str
    rows: int
    retired: tuple[str, ...]


async def rekey_file(path: Path, configured: Sequence[str], told: Told) -> Rekeyed:
    """Seal everything in the file with the first of the keys, ``configured`` ones before those of the key file.

    Without configured ones the key file gets a new key, and keeps that one alone when all is done. Raises StoreError.
    """
    file = KeyFile(Path(f"{path}.key"))
    try:
        sealer = await _opened(path, configured, file)
        if not configured and len(file.load()) == 1:
            file.renew()
            sealer = await _opened(path, configured, file)
        rows = await asyncio.to_thread(seal_anew, path, sealer, told)
        if not configured:
            file.keep(file.load()[0])
    except KeyProblem as problem:
        raise StoreError(str(problem)) from None
    return Rekeyed(sealer.key, rows, _others(sealer))


async def rekey_postgres(url: str, direct: str | None, configured: Sequence[str], told: Told) -> Rekeyed:
    """Seal everything in the database with the first of the keys, also while processes work on it. Raises StoreError."""
    from stepwell.server.store.postgres import PostgresStore
    from stepwell.server.store.postgres.rekey import seal_anew as seal_rows

    store = SealedStore(PostgresStore(url, listen_url=direct), configured)
    await store.open()
    sealer = store.sealer
    await store.close()
    return Rekeyed(sealer.key, await seal_rows(direct or url, sealer, told), _others(sealer))


async def _opened(path: Path, configured: Sequence[str], file: KeyFile) -> Sealer:
    """The keys, once it is known that nobody has the file open, that no key in use is missing, and that the newest is
    written down as one that is in use."""
    store = SealedStore(SQLiteStore(path, note="stepwell rekey"), configured, file)
    await store.open()
    sealer = store.sealer
    await store.close()
    return sealer


def _others(sealer: Sealer) -> tuple[str, ...]:
    return tuple(sorted(sealer.known - {sealer.key}))
