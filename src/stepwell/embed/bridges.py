"""What lives on the engine's loop, as the user's loop meets it."""

from collections.abc import AsyncIterator, Sequence

import msgspec

from stepwell.sdk.realtime import Published
from stepwell.server.host import Host
from stepwell.server.realtime.texts import TextStream
from stepwell.server.realtime.tokens import Tokens
from stepwell.server.runtime.engine import Engine
from stepwell.server.settings import Settings
from stepwell.server.streams import Channel
from stepwell.wire.realtime import Topic, message


class Live:
    """A body that arrives on the engine's loop, read from the user's."""

    def __init__(self, host: Host, channel: Channel) -> None:
        self._host = host
        self._channel = channel
        self.head = channel.head

    @property
    def broken(self) -> str | None:
        """Why no more of it will come; None while all is well."""
        return self._channel.broken

    async def read(self, offset: int) -> bytes:
        """The bytes from ``offset`` on, once there are some. Empty: nothing more comes from here."""
        return await self._host.ask(self._channel.read(offset))


class Realtime:
    """Publishes on the engine's loop, from the user's."""

    def __init__(self, host: Host, engine: Engine, settings: Settings) -> None:
        self._host = host
        self._engine = engine
        self._tokens = Tokens(settings.signing_keys, engine.now)

    async def publish(self, sent: Published) -> None:
        """Hand a message to the subscribers."""
        more = {"run_id": sent.run_id} if sent.run_id else {}
        data = msgspec.Raw(sent.body)
        made = message("data", sent.channel, sent.topic, data, self._engine.now(), **more)
        await self._host.ask(self._engine.realtime.tell(made))

    async def stream(self, channel: str, topic: str, run_id: str | None, pieces: AsyncIterator[str]) -> None:
        """Hand a text to them, piece by piece."""
        members = {"run_id": run_id} if run_id else {}
        sent = TextStream(self._engine.realtime, [Topic(channel, topic)], self._engine.now, members)
        await self._host.ask(sent.begin())
        try:
            async for piece in pieces:
                await self._host.ask(sent.piece(piece))
        finally:
            await self._host.ask(sent.end())

    async def token(self, topics: Sequence[Topic]) -> str:
        """A token to read the topics."""
        return self._tokens.make(topics)
