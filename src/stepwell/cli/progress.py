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
    """A bar on stderr while a large body is written, on a terminal only. ``size``: its bytes, 0 for a small one."""

    def __init__(self, size: int, *, shown: bool) -> None:
        self._bar: ProgressBar[int] | None = None
        if size and shown and sys.stderr.isatty():
            self._bar = click.progressbar(length=size, label="Writing", file=sys.stderr, show_eta=True)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.render_finish()

    def update(self, count: int) -> None:
        """So many bytes more."""
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
