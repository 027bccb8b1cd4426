"""Messages between the processes of a platform. What is sent by one is heard by those that listen; nothing of it is kept."""

from collections.abc import Callable, Collection

Receive = Callable[[str, bytes | None], None]
"""Told of a message: its key, its data; None for the data where messages were lost."""


class Post:
    """That of a process which is alone: each method does nothing. All methods belong to the engine's loop.

    A key says what a message is about: its part before the first ``/`` who takes it, the whole of it who listens.
    """

    def __init__(self) -> None:
        self.takers: dict[str, Receive] = {}
        self.told: list[Callable[[Collection[bytes]], None]] = []
        """Called when other processes begin to listen, with what stands for the keys."""

    def among(self, key: str, names: Collection[bytes]) -> bool:
        """Whether one of the names stands for the key."""
        return False

    async def listen(self, keys: Collection[str]) -> None:
        """Hear of these keys from now on. Raises StoreError."""

    def leave(self, keys: Collection[str]) -> None:
        """The opposite, once for each ``listen``."""

    def wanted(self, key: str) -> bool:
        """Whether another process listens, as far as is known here: it costs next to nothing."""
        return False

    def send(self, key: str, data: bytes) -> None:
        """To all who listen, soon."""

    async def deliver(self, key: str, data: bytes) -> None:
        """To all who listen, whether that is known here or not. Raises StoreError."""
