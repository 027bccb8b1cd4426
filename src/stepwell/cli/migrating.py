"""Tells on stderr which migration runs, and for how long."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from stepwell.cli.clock import duration

if TYPE_CHECKING:
    from collections.abc import Generator

    from stepwell.server.store.migrate import Migration

TICK_S = 1.0
"""Between two looks at the time on a terminal."""
SAID_S = 30.0
"""And between two lines elsewhere."""


@contextmanager
def told(migration: Migration) -> Generator[None]:
    """Around one migration, in a running loop: a line that counts on a terminal, one now and then elsewhere, one at the end."""
    live = sys.stderr.isatty()
    name = f"Migration {migration.number}, {migration.name.removesuffix('.post').replace('_', ' ')}"
    begun = time.monotonic()

    def say(words: str, *, over: bool = True) -> None:
        start, end = ("\r\x1b[K", "\n" if over else "") if live else ("", "\n")
        print(f"{start}{name}: {words}", end=end, file=sys.stderr, flush=True)

    def took() -> str:
        return duration((time.monotonic() - begun) * 1000)

    def tick() -> None:
        nonlocal timer
        say(f"{took()} so far", over=False)
        timer = loop.call_later(every, tick)

    loop, every = asyncio.get_running_loop(), TICK_S if live else SAID_S
    if live:
        say("…", over=False)
    timer = loop.call_later(every, tick)
    try:
        yield
    except BaseException:
        say(f"undone after {took()}")
        raise
    finally:
        timer.cancel()
    say(took())
