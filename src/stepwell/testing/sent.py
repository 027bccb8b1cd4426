"""Catches the events and signals that a tested function sends, so that they stay in the test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import msgspec

from stepwell.errors import SendEventsError
from stepwell.sdk.client import Client
from stepwell.sdk.events import Event, read_event
from stepwell.sdk.signals import Signal
from stepwell.wire.events import BadEvents, parse_events


@dataclass(frozen=True, slots=True)
class Outbox:
    """What was sent, in order."""

    events: list[Event[Any]] = field(default_factory=list[Event[Any]])
    signals: list[Signal] = field(default_factory=list[Signal])


_OUTBOX: ContextVar[Outbox | None] = ContextVar("stepwell_testing_outbox", default=None)
_users: Counter[Client] = Counter()


@contextmanager
def caught(client: Client) -> Generator[Outbox, None, None]:
    """What the client sends from this context stays here, instead of going anywhere else."""
    outbox = Outbox()
    token = _OUTBOX.set(outbox)
    _users[client] += 1
    if _users[client] == 1:
        client._send_override = _catch  # noqa: SLF001 - the hook made for this  # pyright: ignore[reportPrivateUsage]
        client._signal_override = _catch_signal  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    try:
        yield outbox
    finally:
        _OUTBOX.reset(token)
        _users[client] -= 1
        if not _users[client]:
            del _users[client]
            client._send_override = None  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            client._signal_override = None  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


async def _catch(body: bytes, *_: object) -> list[str]:
    events = _outbox("an event").events
    try:
        parse_events(body, "application/json", 0)
    except BadEvents as problem:
        raise SendEventsError(f"the platform would not take the events (status 400): {problem}") from None
    found = [read_event(raw) for raw in msgspec.json.decode(body, type=list[msgspec.Raw])]
    ids = [event.id or f"event-{len(events) + number}" for number, event in enumerate(found, 1)]
    events += found
    return ids


async def _catch_signal(body: bytes) -> str | None:
    """Nobody waits: a stand-in for the step may say otherwise."""
    _outbox("a signal").signals.append(msgspec.json.decode(body, type=Signal))


def _outbox(what: str) -> Outbox:
    outbox = _OUTBOX.get()
    if outbox is None:
        raise RuntimeError(f"{what} was sent outside of the tested function while a test of it was running")
    return outbox
