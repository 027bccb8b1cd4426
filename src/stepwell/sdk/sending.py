"""Sending events over HTTP (protocol 1.2): retried with the same seed, so that a repeat gives the same ids."""

from __future__ import annotations

import asyncio
import base64
import os
import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import msgspec

from stepwell.errors import SendEventsError
from stepwell.sdk import values
from stepwell.sdk.config import Config
from stepwell.sdk.events import Event
from stepwell.sdk.pausing import pause_s
from stepwell.sdk.scope import TRACE
from stepwell.wire.constants import H_ENV, H_EVENT_SEED, H_SDK, MAX_EVENTS, SDK_NAME, VERSION

if TYPE_CHECKING:
    import httpx2

ATTEMPTS = 5
_BASE_DELAY_S = 0.1
_TIMEOUT_S = 30.0
_KNOWN = frozenset(Event.__struct_fields__)
_NO_OBJECTS = (str, bytes, int, float, list, tuple, set)


class Copies:
    """Copies of one event or several, with plain data, which middleware may change. Raises ``SendEventsError``."""

    def __init__(self, events: Any) -> None:
        whole = msgspec.json.decode(encode_events(events), type=list[dict[str, Any]])
        try:
            self.events = msgspec.convert(whole, list[Event[dict[str, Any]]])
        except msgspec.ValidationError as problem:
            raise SendEventsError(f"what is sent is not an event: {problem}") from None
        self._rest = [
            (event, {key: value for key, value in members.items() if key not in _KNOWN})
            for event, members in zip(self.events, whole, strict=True)
        ]

    def encode(self) -> bytes:
        """The JSON array of them, with the members that an ``Event`` has no place for. Raises ``SendEventsError``."""
        body = encode_events(self.events)
        rest = {id(event): members for event, members in self._rest if members}
        if not rest:
            return body
        plain = msgspec.json.decode(body, type=list[dict[str, Any]])
        whole = [{**rest.get(id(event), {}), **members} for event, members in zip(self.events, plain, strict=True)]
        return msgspec.json.encode(whole)


def encode_events(events: Any) -> bytes:
    """The JSON array of one event or several. Raises ``SendEventsError``."""
    listed = _listed(events)
    if len(listed) > MAX_EVENTS:
        raise SendEventsError(f"{len(listed)} events are too many for one send: {MAX_EVENTS} is the most")
    for event in listed:
        given: Any = event
        name, data = (given.name, given.data) if isinstance(event, Event) else (given.get("name"), given.get("data"))
        if not name or not isinstance(name, str):
            raise SendEventsError("an event needs a name: Event(name='shop/order.placed', data={...})")
        if isinstance(data, _NO_OBJECTS):
            raise SendEventsError(
                f"the data of the event {name!r} is an object, a dict or a model, and not {data!r:.60}"
            )
    return values.encode(list(listed), "the event has")


def _listed(events: Any) -> list[Any]:
    """Raises ``SendEventsError`` for what is neither an event nor a list of them."""
    several = isinstance(events, Sequence | Iterator) and not isinstance(events, str | bytes)
    listed: list[Any] = list(cast("Iterable[Any]", events)) if several else [events]
    for each in listed:
        if not isinstance(each, Event | Mapping):
            raise SendEventsError(
                f"an event is sent as Event(name=..., data=...) or as a dict with these members, not as {each!r:.60}"
            )
    return listed


async def send(config: Config, body: bytes) -> list[str]:
    """Post the events; the ids given to them."""
    import httpx2

    seed = f"{time.time_ns() // 1_000_000},{base64.b64encode(os.urandom(10)).decode()}"
    headers = {"content-type": "application/json", H_SDK: f"{SDK_NAME}:v{VERSION}", H_EVENT_SEED: seed}
    headers |= TRACE.get()
    if config.env:
        headers[H_ENV] = config.env
    url = f"{config.event_url}/e/{config.event_key}"
    trouble, answer = "", None
    async with httpx2.AsyncClient(timeout=config.timeout_s or _TIMEOUT_S, follow_redirects=False) as client:
        for attempt in range(ATTEMPTS):
            if attempt:
                own_s = _BASE_DELAY_S * 2**attempt * random.uniform(0.5, 1.5)  # noqa: S311 - jitter
                await asyncio.sleep(pause_s(own_s, answer))
            answer = None
            try:
                answer = await client.post(url, content=body, headers=headers)
            except httpx2.TransportError as error:
                trouble = (
                    f"{config.event_url} can not be reached ({type(error).__name__}: {error}): is the platform running?"
                )
                continue
            if answer.status_code < 500:
                return _ids(answer)
            trouble = f"the platform answered with status {answer.status_code}"
    raise SendEventsError(f"the events were not sent after {ATTEMPTS} attempts: {trouble}")


class _Reply(msgspec.Struct):
    ids: list[str] = []
    status: int = 0
    error: str | None = None


def _ids(answer: httpx2.Response) -> list[str]:
    try:
        reply = msgspec.json.decode(answer.content, type=_Reply)
    except msgspec.MsgspecError:
        reply = _Reply(error="it is not the answer of a platform: check the event URL")
    if answer.status_code != 200 or reply.error:
        raise SendEventsError(
            f"the platform did not take the events (status {answer.status_code}): {reply.error or 'no reason given'}",
            reply.ids,
        )
    return reply.ids
