"""A text that is published piece by piece: a message that says so, the pieces, a message at the end."""

import secrets
from collections.abc import Callable, Mapping, Sequence

import msgspec

from stepwell.server.realtime.hub import Hub
from stepwell.wire.realtime import MAX_CHUNKS, Chunk, Topic, message


class TooManyChunks(ValueError):
    """The text has more pieces than one may have."""


class TextStream:
    """One text, to all of ``places``. ``now``: ms. ``members``: of the first and last message. Verbs may raise StoreError."""

    def __init__(
        self, hub: Hub, places: Sequence[Topic], now: Callable[[], int], members: Mapping[str, object]
    ) -> None:
        self._hub = hub
        self._places = places
        self._now = now
        self._members = members
        self._id = secrets.token_hex(8)
        self._count = 0

    async def begin(self) -> None:
        """It begins."""
        await self._mark("datastream-start")

    async def piece(self, text: str) -> None:
        """At most 1 KiB of it. Raises :class:`TooManyChunks`."""
        self._count += 1
        if self._count > MAX_CHUNKS:
            raise TooManyChunks(f"A stream may have {MAX_CHUNKS} chunks at most; begin another one.")
        run_id = self._members.get("run_id")
        for place in self._places:
            piece = Chunk(
                kind="chunk",
                channel=place.channel,
                topic=place.name,
                stream_id=self._id,
                data=text,
                run_id=run_id if isinstance(run_id, str) else None,
            )
            await self._hub.tell(piece)

    async def end(self) -> None:
        """It has ended, or broke off."""
        await self._mark("datastream-end")

    async def _mark(self, kind: str) -> None:
        data = msgspec.Raw(msgspec.json.encode(self._id))
        for place in self._places:
            await self._hub.tell(message(kind, place.channel, place.name, data, self._now(), **self._members))
