"""A server that answers with whatever bytes a test wants, and remembers what it was sent."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.server.listening import listening

Script = bytes | Callable[["Exchange"], Awaitable[None]]


@dataclass
class Exchange:
    """One request as it came in, and the way to answer it."""

    head: bytes
    body: bytes
    writer: asyncio.StreamWriter
    reader: asyncio.StreamReader

    @property
    def lines(self) -> list[bytes]:
        """Request line and header lines."""
        return self.head.split(b"\r\n")[:-2]

    def header(self, name: bytes) -> list[bytes]:
        """The values of a header."""
        pairs = (line.split(b": ", 1) for line in self.lines[1:])
        return [value for key, value in pairs if key.lower() == name]

    async def send(self, data: bytes) -> None:
        """Write and flush."""
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """Break the connection without a goodbye."""
        self.writer.transport.abort()


@dataclass
class Server:
    """A running server: its port, its connections so far and the requests that it has seen."""

    port: int = 0
    connections: int = 0
    seen: list[Exchange] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client has gone away."""
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        """Its address, without a path."""
        return f"http://127.0.0.1:{self.port}"


def plain(body: bytes = b"ok", status: str = "200 OK", *headers: str) -> bytes:
    """A whole, correct response."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def redirect(location: str, status: str = "302 Found") -> bytes:
    """A response that sends the client elsewhere."""
    return plain(b"", status, f"Location: {location}")


@asynccontextmanager
async def hostile(*scripts: Script, read_body: bool = True) -> AsyncIterator[Server]:
    """Serve: the n-th request gets the n-th script, the last one again and again."""
    server = Server()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        try:
            await _serve(server, scripts, reader, writer, read_body)
        finally:
            server.gone.set()

    async with listening(talk) as server.port:
        yield server


async def _serve(
    server: Server,
    scripts: tuple[Script, ...],
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    read_body: bool,
) -> None:
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        exchange = Exchange(head, b"", writer, reader)
        length = exchange.header(b"content-length")
        if length and read_body:
            exchange.body = await reader.readexactly(int(length[0]))
        script = scripts[min(len(server.seen), len(scripts) - 1)]
        server.seen.append(exchange)
        server.arrived.set()
        if isinstance(script, bytes):
            await exchange.send(script)
        else:
            await script(exchange)
