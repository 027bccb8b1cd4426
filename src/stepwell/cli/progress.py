"""Tells on stderr how a request or a search is doing, each thing once."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Self, cast

import click

from stepwell.cli.clock import local_time
from stepwell.cli.tree import attempt_line

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar

Json = dict[str, object]


class Count:
    """One line on stderr, on a terminal only, that says how far a search is."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._live = sys.stderr.isatty()
        self._shown = False

    def at(self, number: int) -> None:
        """So many by now."""
        if self._live:
            self._shown = True
            print(f"\r{self._what.format(number)}", end="", file=sys.stderr, flush=True)

    def done(self) -> None:
        """The line is wiped out."""
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


class Bar:
    """A bar on stderr from the first progress on, on a terminal only. ``size``: of all of it, 0 for what needs no bar."""

    def __init__(self, size: int, label: str = "Writing", *, shown: bool = True) -> None:
        self._size = size if shown and sys.stderr.isatty() else 0
        self._label = label
        self._bar: ProgressBar[int] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.render_finish()

    def update(self, count: int) -> None:
        """So much more."""
        if self._size and self._bar is None:
            self._bar = click.progressbar(length=self._size, label=self._label, file=sys.stderr, show_eta=True)
            self._bar.__enter__()
        if self._bar is not None:
            self._bar.update(count)


class Progress:
    """Prints what is new in a run's steps since the last look."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._seen = 0
        self._last = ""

    def say(self, text: str) -> None:
        """One line, unless it was the last one as well."""
        if not self._quiet and text != self._last:
            print(text, file=sys.stderr, flush=True)
            self._last = text

    def look(self, run: Json, steps: list[Json]) -> None:
        """What has happened by now."""
        for step in steps:
            if step["op"] == "Gateway":
                self._step(step)
        if run.get("last_error"):
            self.say(f"  {run['last_error']}; again at {local_time(run.get('retry_at'))}")

    def _step(self, step: Json) -> None:
        attempts = cast("list[Json]", step.get("attempts") or [])
        for attempt in attempts[self._seen :]:
            self.say(f"  {attempt_line(attempt)}")
        self._seen = max(self._seen, len(attempts))
