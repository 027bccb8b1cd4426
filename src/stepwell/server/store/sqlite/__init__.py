"""State in one SQLite file."""

from stepwell.server.store.sqlite.lock import Holder, read_holder
from stepwell.server.store.sqlite.store import SQLiteStore

__all__ = ["Holder", "SQLiteStore", "read_holder"]
