"""Realtime: publishing to whoever reads a topic now, and tokens for those who want to (protocol 1.9)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, Protocol
from urllib.parse import urlencode

import msgspec

from stepwell.sdk import values
from stepwell.sdk.config import Config
from stepwell.sdk.platform import Platform
from stepwell.wire.realtime import MAX_MESSAGE, RESERVED, Topic

NOTHING: Final = object()
"""Stands for data that is not given, since None is a message as well."""


class Published(msgspec.Struct, frozen=True):
    """One message. ``body`` is JSON."""

    channel: str
    topic: str
    body: bytes
    run_id: str | None = None


class Realtime(Protocol):
    """Who takes messages and gives tokens: the platform, over HTTP or in this process."""

    async def publish(self, sent: Published) -> None:
        """Hand a message to the subscribers."""
        ...

    async def stream(self, channel: str, topic: str, run_id: str | None, pieces: AsyncIterator[str]) -> None:
        """Hand a text to the subscribers, piece by piece as it comes."""
        ...

    async def token(self, topics: Sequence[Topic]) -> str:
        """A token to read the topics."""
        ...


def published(channel: str, topic: str, data: Any, run_id: str | None) -> Published:
    """A message to be sent. Raises ``ValueError``, ``ValueNotSerializable``."""
    check_place(channel, topic)
    body = values.encode(data, f"what is published to {topic!r} has")
    if len(body) > MAX_MESSAGE:
        raise ValueError(
            f"what is published to {topic!r} has {len(body)} bytes, and {MAX_MESSAGE} are allowed: send less at once"
        )
    return Published(channel, topic, body, run_id)


def check_place(channel: str, topic: str) -> None:
    """Raises ``ValueError``."""
    if not channel or not topic:
        raise ValueError("say where to publish: publish(channel='order/1', topic='progress', data={...})")
    if topic in RESERVED:
        raise ValueError(f"the topic {topic!r} is the platform's own: take another name")


def one_of(data: object, stream: object | None) -> None:
    """Raises ``ValueError`` unless exactly one of the two is given."""
    if (data is NOTHING) == (stream is None):
        raise ValueError("publish either data= or stream=")


def topics_of(channel: str, topics: Sequence[str]) -> list[Topic]:
    """What a token names. Raises ``ValueError``."""
    if not channel or isinstance(topics, str) or not topics or not all(topics):
        raise ValueError("say what may be read: realtime_token(channel='order/1', topics=['progress'])")
    return [Topic(channel, name) for name in topics]


class OverHttp:
    """The platform's API. A message is sent again when its answer is lost, so it may come twice."""

    def __init__(self, config: Config) -> None:
        self._platform = Platform(config)

    async def publish(self, sent: Published) -> None:
        """Raises ``PlatformError``."""
        query = {"channel": sent.channel, "topic": sent.topic} | ({"run_id": sent.run_id} if sent.run_id else {})
        await self._platform.post(f"/v1/realtime/publish?{urlencode(query)}", sent.body, 200)

    async def stream(self, channel: str, topic: str, run_id: str | None, pieces: AsyncIterator[str]) -> None:
        """Raises ``PlatformError``. A text can not be sent again: a token tells first that the key is right."""
        asked = msgspec.json.encode([Topic(channel, topic)])
        answer = await self._platform.post("/v1/realtime/token?publish=true", asked, 201)
        token = msgspec.json.decode(answer, type=_Token).jwt
        query = {"channel": channel, "topic": topic} | ({"run_id": run_id} if run_id else {})
        await self._platform.stream(f"/v1/realtime/publish?{urlencode(query)}", pieces, token)

    async def token(self, topics: Sequence[Topic]) -> str:
        """Raises ``PlatformError``."""
        answer = await self._platform.post("/v1/realtime/token", msgspec.json.encode(topics), 201)
        return msgspec.json.decode(answer, type=_Token).jwt


class _Token(msgspec.Struct):
    jwt: str
