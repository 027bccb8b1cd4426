"""Hides credentials in what a person sees of a request: sensitive headers, and parameters of URLs. Pure."""

from typing import cast

import msgspec

from stepwell.core.systemevents import NAMES
from stepwell.wire.builtins import FETCH_EVENT
from stepwell.wire.fetch_headers import is_sensitive
from stepwell.wire.masks import MASK, mask_url

_OF_ANSWERS = frozenset({"authentication-info", "proxy-authentication-info", "www-authenticate"})
_URLS = frozenset(
    {"location", "content-location", "referer", "link", "refresh", "operation-location", "azure-asyncoperation"}
)


def mask_gateway(output: msgspec.Raw) -> msgspec.Raw:
    """A request's recorded answer with its sensitive values replaced, those of its redirects included."""
    try:
        value = msgspec.json.decode(output)
    except msgspec.DecodeError:
        return output
    masked = _masked(value)
    return output if masked == value else msgspec.Raw(msgspec.json.encode(masked))


def mask_event(event: dict[str, object]) -> dict[str, object]:
    """An event for people: the request in the one of `stepwell fetch` may hold credentials, and so may events about it."""
    data = event.get("data")
    if not isinstance(data, dict):
        return event
    if event.get("name") == FETCH_EVENT:
        return {**event, "data": _masked(cast("object", data))}
    return {**event, "data": _about(cast("dict[str, object]", data))} if event.get("name") in NAMES else event


def _about(data: dict[str, object]) -> dict[str, object]:
    """What the platform tells of a run that has ended, its events masked."""
    shown = dict(data)
    if isinstance(data.get("event"), dict):
        shown["event"] = mask_event(cast("dict[str, object]", data["event"]))
    if isinstance(data.get("events"), list):
        events = cast("list[object]", data["events"])
        shown["events"] = [mask_event(cast("dict[str, object]", e)) if isinstance(e, dict) else e for e in events]
    return shown


def _masked(value: object) -> object:
    if not isinstance(value, dict):
        return value
    answer = cast("dict[str, object]", value)
    shown = dict(answer)
    if "headers" in answer:
        shown["headers"] = _headers(answer["headers"])
    url = answer.get("url")
    if isinstance(url, str):
        shown["url"] = mask_url(url)
    hops = answer.get("history")
    if isinstance(hops, list):
        shown["history"] = [_masked(hop) for hop in cast("list[object]", hops)]
    return shown


def _headers(headers: object) -> object:
    if isinstance(headers, dict):
        named = cast("dict[str, object]", headers)
        return {name: _value(name, value) for name, value in named.items()}
    if isinstance(headers, list):
        return [_pair(pair) for pair in cast("list[object]", headers)]
    return headers


def _pair(pair: object) -> object:
    parts = cast("list[object]", pair) if isinstance(pair, list) else []
    return [parts[0], _value(str(parts[0]), parts[1])] if len(parts) == 2 else cast("object", pair)


def _value(name: str, value: object) -> object:
    lower = name.lower()
    if is_sensitive(lower) or lower in _OF_ANSWERS:
        return MASK
    return mask_url(value) if lower in _URLS and isinstance(value, str) else value
