"""A real HTTP proxy: tunnels and plain forwarding, with a password if a test wants one; remembers what it was asked."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from tests.server.listening import listening


@dataclass
class Proxy:
    """A running proxy. ``to``: where every connection really goes."""

    to: int
    answer: bytes = b""
    """Instead of doing its work."""
    port: int = 0
    heads: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def targets(self) -> list[bytes]:
        """Method and target of each request."""
        return [head.split(b" HTTP/")[0] for head in self.heads]


@asynccontextmanager
async def proxy(to: int, answer: bytes = b"", silent: bool = False) -> AsyncIterator[Proxy]:
    """A proxy all of whose connections go to the port ``to`` of this machine."""
    made = Proxy(to, answer)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _serve(made, reader, writer, silent)

    async with listening(talk) as made.port:
        yield made


async def _serve(made: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, silent: bool) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    made.heads.append(head)
    if silent:
        await reader.read()
        return
    if made.answer:
        writer.write(made.answer)
        await writer.drain()
        return
    up_reader, up_writer = await asyncio.open_connection("127.0.0.1", made.to)
    try:
        if head.startswith(b"CONNECT "):
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            up_writer.write(head)
        await asyncio.gather(_pipe(reader, up_writer), _pipe(up_reader, writer))
    finally:
        up_writer.close()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
