"""Events as they arrive, and the one form in which they are kept (protocol 1.2)."""

import base64
import binascii
import re
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs

import msgspec

from stepwell.wire.constants import MAX_EVENT_BYTES, MAX_EVENTS
from stepwell.wire.ids import seeded_entropy, ulid
from stepwell.wire.jsons import as_object, decode, decode_as

MAX_NAME: Final = 512
MAX_SESSIONS: Final = 5
MIN_TS: Final = 315_532_800_000
"""1980-01-01 in milliseconds."""
MAX_TS: Final = 4_102_444_800_000
"""2100-01-01 in milliseconds."""

INVOKED: Final = "inngest/function.invoked"
_RESERVED: Final = "inngest/"
_SEED: Final = re.compile(r"(\d{1,15}),([A-Za-z0-9+/]{14}==)", re.ASCII)
_SPARE_DEPTH: Final = 300
_EMPTY: Final = msgspec.Raw(b"{}")


class BadEvents(ValueError):
    """The request's events can not be taken. ``index``: the first bad one, from 0; None: the whole body."""

    def __init__(self, message: str, index: int | None = None) -> None:
        super().__init__(message if index is None else f"event {index}: {message}")
        self.index = index


class IncomingEvent(NamedTuple):
    """A checked event. ``body`` is its normalised JSON object, which has no ``id`` member when ``id`` is None."""

    id: str | None
    name: str
    ts: int
    body: bytes
    trace: str = ""
    """The trace context that it was sent with (``wire.traces``)."""


class _Raws(msgspec.Struct):
    """The members that pass through as they were written."""

    data: msgspec.Raw = _EMPTY
    user: msgspec.Raw = _EMPTY


def parse_events(body: bytes, content_type: str | None, now_ms: int) -> list[IncomingEvent]:
    """The events of a request: a JSON object or array of them, or a form. An empty body has none. Raises BadEvents.

    ``now_ms`` becomes the ``ts`` of those that have none. Either all of them are taken or none.
    """
    head = body.lstrip()[:1]
    if not head:
        return []
    if head == b"[":
        raws = _array(body)
        return [_event(raw, now_ms, index) for index, raw in enumerate(raws)]
    if head != b"{" and _is_form(content_type):
        body = _from_form(body)
    return [_event(body, now_ms, 0)]


def invoking_event(body: bytes, function_id: str, now_ms: int) -> IncomingEvent:
    """The event that invokes a function, of a body that is an event without a name (protocol 1.2). Raises BadEvents."""
    size = len(body)
    if size > MAX_EVENT_BYTES:
        raise BadEvents(
            f"it has {size} bytes, more than {MAX_EVENT_BYTES}: store the data elsewhere and send a reference"
        )
    body = body.strip() or b"{}"
    try:
        value = as_object(decode(body))
        if value is None:
            raise ValueError("it has to be a JSON object")
        _check_depth(body)
        event = _normal({**value, "name": "invoked"}, decode_as(body, _Raws), now_ms)
    except ValueError as problem:
        raise BadEvents(str(problem)) from None
    members = msgspec.json.decode(event.body, type=dict[str, msgspec.Raw])
    data = msgspec.json.decode(members["data"], type=dict[str, msgspec.Raw])
    target = msgspec.json.encode({"fn_id": function_id})
    out = {**members, "name": INVOKED, "data": {**data, "_inngest": msgspec.Raw(target)}}
    return IncomingEvent(event.id, INVOKED, event.ts, msgspec.json.encode(out))


def finish(event: IncomingEvent, internal_id: str) -> bytes:
    """The event as functions see it: its own id, or the internal one where the sender gave none (protocol 1.2)."""
    if event.id is not None:
        return event.body
    return b'{"id":' + msgspec.json.encode(internal_id) + b"," + event.body[1:]


def event_ids(seed_header: str | None, count: int, now_ms: int, entropy: list[bytes], *, first: int = 1) -> list[str]:
    """Internal ids (ULIDs) for the ``count`` events of a request.

    A well-formed seed header makes them the same for the same header (protocol 1.2), numbered from ``first``; else they
    come from ``now_ms`` and ``entropy``, 10 bytes for each.
    """
    found = _SEED.fullmatch(seed_header.strip()) if seed_header else None
    if found is None or int(found.group(1)) >= 2**48:
        return [ulid(now_ms, entropy[index]) for index in range(count)]
    try:
        seed = base64.b64decode(found.group(2), validate=True)
    except binascii.Error:
        return [ulid(now_ms, entropy[index]) for index in range(count)]
    return [ulid(int(found.group(1)), seeded_entropy(seed, first + index)) for index in range(count)]


def _array(body: bytes) -> list[msgspec.Raw]:
    try:
        raws = decode_as(body, list[msgspec.Raw])
    except ValueError as problem:
        raise BadEvents(f"the body can not be read: {problem}") from None
    if len(raws) > MAX_EVENTS:
        raise BadEvents(f"a request may carry {MAX_EVENTS} events, and this one has {len(raws)}: send them in parts")
    return raws


def _event(raw: bytes | msgspec.Raw, now_ms: int, index: int) -> IncomingEvent:
    size = len(memoryview(raw))
    if size > MAX_EVENT_BYTES:
        message = f"it has {size} bytes, more than {MAX_EVENT_BYTES}: store the data elsewhere and send a reference"
        raise BadEvents(message, index)
    try:
        value = as_object(decode(raw))
        if value is None:
            raise ValueError("it has to be a JSON object")
        _check_depth(raw)
        return _normal(value, decode_as(raw, _Raws), now_ms)
    except ValueError as problem:
        raise BadEvents(str(problem), index) from None


def _check_depth(raw: bytes | msgspec.Raw) -> None:
    """What is taken must be readable later too, inside of other events and from deeper code. Raises ValueError."""
    text = bytes(raw)
    if text.count(b"[") + text.count(b"{") > _SPARE_DEPTH:
        decode(b"[" * _SPARE_DEPTH + text + b"]" * _SPARE_DEPTH)


def _normal(value: dict[str, Any], raws: _Raws, now_ms: int) -> IncomingEvent:
    name, ts, event_id = _name(value.get("name")), _ts(value.get("ts"), now_ms), _text(value, "id")
    out: dict[str, Any] = {} if event_id is None else {"id": event_id}
    out |= {"name": name, "data": _data(value.get("data"), raws), "user": _object(value, "user", raws.user), "ts": ts}
    version = _text(value, "v")
    if version is not None:
        out["v"] = version
    sessions = _sessions(value.get("meta"))
    if sessions:
        out["meta"] = {"sessions": sessions}
    return IncomingEvent(event_id, name, ts, msgspec.json.encode(out))


def _name(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise ValueError("it has no name: give it one as a string, such as 'shop/order.created'")
    if len(name) > MAX_NAME:
        raise ValueError(f"its name has {len(name)} characters, more than {MAX_NAME}")
    if name.lower().startswith(_RESERVED):
        raise ValueError(f"names that begin with {_RESERVED!r} are reserved for the platform: rename {name!r}")
    return name


def _ts(ts: object, now_ms: int) -> int:
    if ts is None or ts == 0:
        return now_ms
    if isinstance(ts, float) and ts.is_integer():
        ts = int(ts)
    if not isinstance(ts, int) or isinstance(ts, bool):
        raise ValueError("its ts has to be an integer: milliseconds since 1970")
    if not MIN_TS <= ts <= MAX_TS:
        raise ValueError(f"its ts is {ts}, and must lie in the years 1980 to 2100: it is in milliseconds since 1970")
    return ts


def _text(value: dict[str, Any], key: str) -> str | None:
    found = value.get(key)
    if found is not None and not isinstance(found, str):
        raise ValueError(f"its {key} has to be a string")
    return found or None


def _object(value: dict[str, Any], key: str, raw: msgspec.Raw) -> msgspec.Raw:
    found = value.get(key)
    if found is None:
        return _EMPTY
    if not isinstance(found, dict):
        raise ValueError(f"its {key} has to be a JSON object")
    return raw


def _data(data: Any, raws: _Raws) -> Any:
    """The data as it was written, without the member that only the platform may set."""
    members = as_object(data)
    if members is not None and "_inngest" in members:
        return {key: item for key, item in members.items() if key != "_inngest"}
    return _object({"data": data}, "data", raws.data)


def _sessions(meta: Any) -> dict[str, str | int | float]:
    """Both layers of session keys as one: set by hand wins over handed on, null takes a key away."""
    if meta is None:
        return {}
    members = as_object(meta)
    if members is None:
        raise ValueError("its meta has to be a JSON object")
    layers: list[Any] = [members.get("propagated_sessions"), members.get("sessions", {})]
    if layers[1] is None:
        return {}
    merged: dict[str, Any] = {}
    for layer in layers:
        if layer is not None and not isinstance(layer, dict):
            raise ValueError("its sessions have to be JSON objects")
        merged |= layer or {}
    kept = {key: item for key, item in merged.items() if item is not None}
    if any(isinstance(item, bool) or not isinstance(item, str | int | float) for item in kept.values()):
        raise ValueError("the values of its sessions have to be strings or numbers")
    if len(kept) > MAX_SESSIONS:
        raise ValueError(f"it has {len(kept)} sessions, more than {MAX_SESSIONS}")
    return kept


def _is_form(content_type: str | None) -> bool:
    kind = (content_type or "").split(";", 1)[0].strip().lower()
    if kind == "multipart/form-data":
        raise BadEvents("multipart forms are not taken: send JSON, or a form as application/x-www-form-urlencoded")
    return kind == "application/x-www-form-urlencoded"


def _from_form(body: bytes) -> bytes:
    """A form as an event: ``name``, ``id`` and ``data`` (JSON) by first value; other fields as lists in ``data``."""
    try:
        fields = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=1_000)
        own = {key: fields.pop(key)[0] for key in ("name", "id") if key in fields}
        given = as_object(decode(fields.pop("data", ["{}"])[0].encode()))
    except ValueError as problem:
        raise BadEvents(f"the form can not be read: {problem}") from None
    if given is None:
        raise BadEvents("the form's data has to be a JSON object")
    return msgspec.json.encode({**own, "data": {**fields, **given}})
