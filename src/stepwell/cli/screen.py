"""What a command that goes on and on shows: one picture that is drawn anew on a terminal, else a line for each change."""

import json
import sys
from collections.abc import Mapping

_HOME = "\x1b[H\x1b[2J"


class Screen:
    """Standard output. Nothing is written while nothing changes."""

    def __init__(self) -> None:
        self.live = sys.stdout.isatty()
        """Whether there is a terminal, and so a picture that can be drawn anew."""
        self._drawn = ""
        self._said: dict[str, object] = {}

    def draw(self, text: str) -> None:
        """Show this in place of what was shown."""
        if text != self._drawn:
            self._drawn = text
            sys.stdout.write(f"{_HOME if self.live else ''}{text}\n")
            sys.stdout.flush()

    def lines(self, records: Mapping[str, object]) -> None:
        """A line for each record that is not as it was: a text as it is, anything else as JSON."""
        for key, record in records.items():
            if self._said.get(key) != record:
                text = record if isinstance(record, str) else json.dumps(record, ensure_ascii=False)
                sys.stdout.write(f"{text}\n")
        self._said = dict(records)
        sys.stdout.flush()
