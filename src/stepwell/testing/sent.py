"""Catches the events that a tested function sends, so that they stay in the test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import msgspec

from stepwell.sdk.client import Client
from stepwell.sdk.events import Event

_OUTBOX: ContextVar[list[Event[Any]] | None] = ContextVar("stepwell_testing_outbox", default=None)
_users: Counter[Client] = Counter()


@contextmanager
def caught(client: Client) -> Generator[list[Event[Any]], None, None]:
    """Events that the client sends from this context, in a list, instead of anywhere else."""
    events: list[Event[Any]] = []
    token = _OUTBOX.set(events)
    _users[client] += 1
    if _users[client] == 1:
        client._send_override = _catch  # noqa: SLF001 - the hook made for this  # pyright: ignore[reportPrivateUsage]
    try:
        yield events
    finally:
        _OUTBOX.reset(token)
        _users[client] -= 1
        if not _users[client]:
            del _users[client]
            client._send_override = None  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


async def _catch(body: bytes, *_: object) -> list[str]:
    outbox = _OUTBOX.get()
    if outbox is None:
        raise RuntimeError("an event was sent outside of the tested function while a test of it was running")
    found = msgspec.json.decode(body, type=list[Event[Any]])
    ids = [event.id or f"event-{len(outbox) + number}" for number, event in enumerate(found, 1)]
    outbox += found
    return ids
