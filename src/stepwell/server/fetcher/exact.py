"""Header values with the bytes that they have: aiohttp writes text as UTF-8, and values are any bytes (RFC 9110, 5.5).

A request with other than ASCII values is sent through a thin view of its connection, which turns the head that aiohttp
has written from UTF-8 into Latin-1, where one character stands for one byte.
"""

from collections.abc import Iterable
from typing import Any, cast

from aiohttp import ClientRequest, ClientResponse
from aiohttp.connector import Connection
from multidict import CIMultiDict

_NO_TYPE = CIMultiDict({"Content-Type": None})
_END_OF_HEAD = b"\r\n\r\n"


class ExactRequest(ClientRequest):
    """A request that has the headers it was given and no others, and whose values are Latin-1: one byte for a character."""

    def update_auto_headers(self, skip_auto_headers: Iterable[str] | None) -> None:
        """Add none of the headers that aiohttp has for every request."""
        self._skip_auto_headers = _NO_TYPE  # it looks there once more, for a body

    async def send(self, conn: Connection) -> ClientResponse:
        """See :meth:`ClientRequest.send`."""
        if "".join(self.headers.values()).isascii():
            return await super().send(conn)
        return await super().send(cast("Connection", _View(conn, protocol=_HeadWriter(conn))))


class _View:
    """Another object, but for some attributes."""

    def __init__(self, real: Any, **other: object) -> None:
        self.real = real
        self.__dict__.update(other)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


class _HeadWriter(_View):
    """A connection's protocol, whose transport is given the head in UTF-8 and writes it in Latin-1."""

    def __init__(self, conn: Connection) -> None:
        super().__init__(conn.protocol)
        self._head_left = True

    @property
    def transport(self) -> Any:
        """What aiohttp writes to: the head comes whole, with the first write."""
        found: Any = self.real.transport
        if found is None or not self._head_left:
            return found
        return _View(found, write=self._write, writelines=self._writelines)

    def _write(self, data: bytes) -> None:
        head, end, rest = bytes(data).partition(_END_OF_HEAD)
        self._head_left = False
        self.transport.write(head.decode().encode("latin-1") + end + rest)

    def _writelines(self, pieces: Iterable[bytes]) -> None:
        self._write(b"".join(pieces))
