"""Hides credentials in the recorded answer of a request before a person sees it. Pure."""

from typing import cast

import msgspec

from stepwell.wire.builtins import FETCH_EVENT

MASK = "***"
_SENSITIVE = frozenset(
    {
        "set-cookie",
        "cookie",
        "authorization",
        "proxy-authorization",
        "authentication-info",
        "x-api-key",
        "www-authenticate",
    }
)


def mask_gateway(output: msgspec.Raw) -> msgspec.Raw:
    """A request's recorded answer with the values of sensitive headers replaced, those of its redirects included."""
    if not any(name in bytes(output).lower() for name in _BYTES):
        return output
    try:
        value = msgspec.json.decode(output)
    except msgspec.DecodeError:
        return output
    return msgspec.Raw(msgspec.json.encode(_masked(value)))


_BYTES = tuple(name.encode() for name in _SENSITIVE)


def mask_event(event: dict[str, object]) -> dict[str, object]:
    """An event for people: the request headers in the one of `stepwell fetch` may be credentials."""
    data = event.get("data")
    if event.get("name") != FETCH_EVENT or not isinstance(data, dict):
        return event
    return {**event, "data": _masked(cast("object", data))}


def _masked(value: object) -> object:
    if not isinstance(value, dict):
        return value
    answer = cast("dict[str, object]", value)
    shown = dict(answer)
    if "headers" in answer:
        shown["headers"] = _headers(answer["headers"])
    hops = answer.get("history")
    if isinstance(hops, list):
        shown["history"] = [_masked(hop) for hop in cast("list[object]", hops)]
    return shown


def _headers(headers: object) -> object:
    if isinstance(headers, dict):
        named = cast("dict[str, object]", headers)
        return {name: MASK if name.lower() in _SENSITIVE else value for name, value in named.items()}
    if isinstance(headers, list):
        return [_pair(pair) for pair in cast("list[object]", headers)]
    return headers


def _pair(pair: object) -> object:
    parts = cast("list[object]", pair) if isinstance(pair, list) else []
    if len(parts) == 2 and str(parts[0]).lower() in _SENSITIVE:
        return [parts[0], MASK]
    return cast("object", pair)
