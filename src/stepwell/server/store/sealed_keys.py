"""The keys of a sealed store: records among its apps name those in use, each with a value to try the key on."""

from collections.abc import Sequence

from stepwell.server.crypto.keys import KeyFile, KeyProblem, parse_keys
from stepwell.server.crypto.seal import Sealer
from stepwell.server.store.base import AppRecord
from stepwell.server.store.sealed_records import opening

KEY_MARK = "stepwell:key:"
"""How the ids of the records begin that name a key."""
_TRIAL = b"stepwell"


def load_keys(configured: Sequence[str], file: KeyFile | None, used: bool) -> Sealer:
    """The keys given, and those of the file, which is made where there are none. ``used``: whether something is sealed.

    Raises :class:`KeyProblem`.
    """
    keys = parse_keys(configured) + (file.load() if file else [])
    if not keys and used:
        where = f": restore {file.path}, or set" if file else ": set"
        raise KeyProblem(f"The database is encrypted, and its key is missing{where} STEPWELL_ENCRYPTION_KEY.")
    if not keys and file is not None:
        keys = file.make()
    if not keys:
        raise KeyProblem("There is no encryption key; set STEPWELL_ENCRYPTION_KEY, `openssl rand -hex 32` makes one.")
    return Sealer(keys)


def is_mark(app: AppRecord) -> bool:
    """Whether the record names a key, and is no app."""
    return app.app_id.startswith(KEY_MARK)


def mark(sealer: Sealer) -> AppRecord:
    """The record that names the newest key."""
    trial = sealer.seal(_TRIAL, KEY_MARK.encode())
    return AppRecord(app_id=KEY_MARK + sealer.key, url="", sdk="", checksum="", functions=trial, synced_at=0)


def check_keys(sealer: Sealer, marks: dict[str, AppRecord]) -> None:
    """Raises :class:`KeyProblem` when a key in use (``marks``: by id) is not there, StoreError when it does not fit."""
    missing = sorted(name.removeprefix(KEY_MARK) for name in marks if name.removeprefix(KEY_MARK) not in sealer.known)
    if missing:
        raise KeyProblem(
            f"The database is encrypted with the key {', '.join(missing)}, and the keys given are "
            f"{', '.join(sorted(sealer.known))}: add the missing one to STEPWELL_ENCRYPTION_KEYS, after the newest."
        )
    for found in marks.values():
        opening(lambda found=found: sealer.open(found.functions, KEY_MARK.encode()))
