"""Realtime messages as subscribers get them, and the topics that a token names (protocol 1.9). Pure."""

from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from stepwell.wire.ids import ZERO_UUID

TOPIC_STEP: Final = "$step"
TOPIC_RUN: Final = "$run"
TOPIC_STREAM: Final = "$stream"
RESERVED: Final = frozenset({TOPIC_STEP, TOPIC_RUN, TOPIC_STREAM})
"""Topics that only the platform writes to."""
MAX_MESSAGE: Final = 512 * 1024
"""Bytes of what is published at once."""
MAX_TEE: Final = 1_000_000
MAX_CHUNK: Final = 1024
MAX_CHUNKS: Final = 1_000
TOKEN_S: Final = 60
"""For how long a token can be used, seconds."""
ISSUER: Final = "rt.inngest.com"
TEXT_STREAM: Final = "text/stream"


class Topic(msgspec.Struct, frozen=True):
    """One topic of a channel, as a token names it."""

    channel: str
    name: str
    kind: str = "run"


class Message(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What is sent to the subscribers of a topic. ``data`` is JSON."""

    kind: str
    data: msgspec.Raw
    created_at: datetime
    channel: str
    topic: str
    env_id: str
    metadata: msgspec.Raw | None = None
    fn_id: str | None = None
    fn_slug: str | None = None
    run_id: str | None = None


class Chunk(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A piece of a stream of text."""

    kind: str
    channel: str
    topic: str
    stream_id: str
    data: str
    run_id: str | None = None


def message(kind: str, channel: str, topic: str, data: msgspec.Raw, now: int, **more: Any) -> Message:
    """A message of ``now`` (ms). ``more``: further members."""
    at = datetime.fromtimestamp(now / 1000, UTC)
    return Message(kind=kind, channel=channel, topic=topic, data=data, created_at=at, env_id=ZERO_UUID, **more)


def as_json(body: bytes) -> msgspec.Raw:
    """What was published as JSON; what is not JSON is a text. Raises ``ValueError`` when it is not UTF-8 either."""
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return msgspec.Raw(msgspec.json.encode(body.decode()))
    return msgspec.Raw(body)
