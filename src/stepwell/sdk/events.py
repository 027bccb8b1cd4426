"""Events as users write and read them, and types for their data."""

from dataclasses import dataclass
from typing import Any, Generic, cast

import msgspec

from stepwell.errors import EventDataError
from stepwell.sdk import values
from stepwell.sdk.generics import D, D_co


class Event(msgspec.Struct, Generic[D], kw_only=True, omit_defaults=True):
    """An event. ``data`` and ``user`` are JSON objects; ``ts`` is in milliseconds since the epoch (default: now).

    ``data`` may be a model (pydantic, msgspec, a dataclass), and is one where the trigger has a ``schema``. The same ``id``
    starts no second run of a function within a day.
    """

    name: str = ""
    data: D = cast(Any, {})
    id: str = ""
    ts: int = 0
    user: dict[str, Any] = {}
    v: str | None = None


@dataclass(frozen=True, slots=True)
class EventType(Generic[D_co]):
    """A kind of event: its name, and the type of its data. Made once, used by who sends it and by who is started by it.

    ``placed = EventType("shop/order.placed", Order)``; ``client.send(placed(Order(...)))``; ``trigger=placed``, whose
    function takes a ``Context[Order]``; ``step.wait_for_event(..., event=placed)``. ``schema``: a pydantic model, msgspec
    struct, dataclass or TypedDict.
    """

    name: str
    schema: type[D_co]

    def __call__(self, data: D_co, *, id: str = "", ts: int = 0) -> Event[D_co]:  # noqa: A002  # pyright: ignore[reportGeneralTypeIssues]
        """An event of this kind, to be sent."""
        return Event(name=self.name, data=data, id=id, ts=ts)


_OURS = "_inngest"
"""What the platform adds to the data of an invocation."""
_DECODER = msgspec.json.Decoder(Event)


def read_event(raw: bytes) -> Event[Any]:
    """The event of a call request; members that are null count as absent."""
    try:
        return _DECODER.decode(raw)
    except msgspec.ValidationError:
        members = msgspec.json.decode(raw, type=dict[str, Any])
        return msgspec.convert({key: value for key, value in members.items() if value is not None}, Event, strict=False)


def fit(event: Event[Any], schema: Any) -> Event[Any]:
    """The event with its data as ``schema``; in place. Raises ``EventDataError``."""
    members = {key: value for key, value in event.data.items() if key != _OURS}
    try:
        event.data = values.read(msgspec.json.encode(members), schema)
    except ValueError as problem:
        known = f" (id {event.id})" if event.id else ""
        name = getattr(schema, "__name__", repr(schema))
        raise EventDataError(f"the data of the event {event.name!r}{known} is no {name}: {problem}") from None
    return event
