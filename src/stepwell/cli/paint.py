"""Colours, on a terminal only. NO_COLOR turns them off there too."""

import os
import sys

import click

_STATUS = {"completed": "green", "failed": "red", "running": "cyan", "cancelled": "yellow", "skipped": "yellow"}


def colourful() -> bool:
    """Whether standard output is a terminal that may show colours (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(status: str, text: str | None = None) -> str:
    """``text`` (default: the status) in the colour of a run's status."""
    shown = status if text is None else text
    colour = _STATUS.get(status.lower())
    return click.style(shown, fg=colour) if colour is not None and colourful() else shown
