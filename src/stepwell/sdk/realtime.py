"""Realtime: publishing to whoever reads a topic now, and tokens for those who want to (protocol 1.9)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol
from urllib.parse import urlencode

import msgspec

from stepwell.sdk import values
from stepwell.sdk.config import Config
from stepwell.sdk.platform import Platform
from stepwell.wire.realtime import MAX_MESSAGE, RESERVED, Topic


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

    async def token(self, topics: Sequence[Topic]) -> str:
        """A token to read the topics."""
        ...


def published(channel: str, topic: str, data: Any, run_id: str | None) -> Published:
    """A message to be sent. Raises ``ValueError``, ``ValueNotSerializable``."""
    if not channel or not topic:
        raise ValueError("say where to publish: publish(channel='order/1', topic='progress', data={...})")
    if topic in RESERVED:
        raise ValueError(f"the topic {topic!r} is the platform's own: take another name")
    body = values.encode(data, f"what is published to {topic!r} has")
    if len(body) > MAX_MESSAGE:
        raise ValueError(
            f"what is published to {topic!r} has {len(body)} bytes, and {MAX_MESSAGE} are allowed: send less at once"
        )
    return Published(channel, topic, body, run_id)


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

    async def token(self, topics: Sequence[Topic]) -> str:
        """Raises ``PlatformError``."""
        answer = await self._platform.post("/v1/realtime/token", msgspec.json.encode(topics), 201)
        return msgspec.json.decode(answer, type=_Token).jwt


class _Token(msgspec.Struct):
    jwt: str
