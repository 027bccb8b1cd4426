"""Events as users write and read them."""

from typing import Any

import msgspec


class Event(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An event. ``data`` and ``user`` are JSON objects; ``ts`` is in milliseconds since the epoch (default: now).

    The same ``id`` starts no second run of a function within a day.
    """

    name: str = ""
    data: dict[str, Any] = {}
    id: str = ""
    ts: int = 0
    user: dict[str, Any] = {}
    v: str | None = None


_DECODER = msgspec.json.Decoder(Event)


def read_event(raw: bytes) -> Event:
    """The event of a call request; members that are null count as absent."""
    try:
        return _DECODER.decode(raw)
    except msgspec.ValidationError:
        members = msgspec.json.decode(raw, type=dict[str, Any])
        return msgspec.convert({key: value for key, value in members.items() if value is not None}, Event, strict=False)
