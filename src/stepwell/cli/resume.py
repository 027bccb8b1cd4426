"""Remembers requests of ``stepwell fetch`` under way, so that the same command, run again, goes on with them.

What is kept is the event's seed alone: sent again, it names the same event, which starts no second run.
"""

import base64
import os
import re
from pathlib import Path

from stepwell.server.settings import Settings
from stepwell.wire.events import event_ids

_SEED = re.compile(r"\d{13},[A-Za-z0-9+/]{14}==")
_LIFETIME_MS = 20 * 3600 * 1000
"""Shorter than the 24 hours for which an event starts no second run."""


class Bookmark:
    """One command's file. ``seed`` is the event's; ``fresh`` when no earlier one is under way."""

    def __init__(self, settings: Settings, fingerprint: str, now_ms: int, *, anew: bool = False) -> None:
        database = settings.db_path
        folder = Path(database).parent if database else Path(".stepwell")
        self._path = folder / "fetches" / fingerprint
        found = None if anew else self._read(now_ms)
        self.fresh = found is None
        self.seed = found or f"{now_ms},{base64.b64encode(os.urandom(10)).decode()}"

    @property
    def event_id(self) -> str:
        """The internal id that the event gets."""
        return event_ids(self.seed, 1, 0, [bytes(10)])[0]

    def keep(self) -> None:
        """Remember it; where nothing can be written, the run id has to do."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(self.seed)
        except OSError:
            return

    def drop(self) -> None:
        """It has been answered."""
        self._path.unlink(missing_ok=True)

    def _read(self, now_ms: int) -> str | None:
        try:
            text = self._path.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            return None
        usable = _SEED.fullmatch(text) and now_ms - int(text.split(",")[0]) < _LIFETIME_MS
        return text if usable else None
