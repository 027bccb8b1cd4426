"""Puts a client's functions and the engine together in one process.

``async with stepwell.embedded(client)`` is for people's own programs and tests; ``serve_forever`` is what ``stepwell dev`` and
``stepwell serve`` run. The engine has a thread and a loop of its own; functions run on the loop of the caller.
"""

from stepwell.embed.block import embedded
from stepwell.embed.platform import Embedded, Result
from stepwell.embed.serving import serve_forever

__all__ = ["Embedded", "Result", "embedded", "serve_forever"]
