"""Names to checked addresses, and sockets for checked addresses only: what is connected is what was judged."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address

from aiohttp.abc import AbstractResolver, ResolveResult

from stepwell.server.fetcher.guard import Guard, GuardDenied
from stepwell.wire.hosts import Address

Lookup = Callable[[str], Sequence[str]]
"""The addresses of a name; raises ``OSError`` when there are none. Called in a thread."""

_LOOKUP_THREADS = 32
_MAX_GRANTS = 10_000
_NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


def system_lookup(host: str) -> list[str]:
    """The machine's own resolver, in its order of preference."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    except UnicodeError:
        raise socket.gaierror(socket.EAI_NONAME, "Name is not valid") from None
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class GuardedResolver(AbstractResolver):
    """An aiohttp resolver and socket factory that let only pass what the guard admits.

    Addresses admitted because of their host's name are remembered as ``grants``, for the socket's check sees no name.
    Look-ups have threads of their own, so that slow name servers hold up nothing else, and a time-out in seconds.
    """

    def __init__(self, guard: Guard, lookup: Lookup = system_lookup, timeout: float = 10.0) -> None:
        self._guard = guard
        self._lookup = lookup
        self._timeout = timeout
        self._threads = ThreadPoolExecutor(_LOOKUP_THREADS, thread_name_prefix="stepwell-dns")
        self._grants: dict[tuple[Address, int], None] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The admitted addresses of ``host``. Raises :class:`GuardDenied` where there are only others."""
        found = await self._find(host)
        admitted: list[ResolveResult] = []
        denied: GuardDenied | None = None
        for text in found:
            address = ip_address(text.split("%")[0])
            try:
                self._guard.check_address(host.rstrip(".").lower(), address, port)
            except GuardDenied as error:
                denied = error
                continue
            self._grant(address, port)
            admitted.append(_result(host, address, port))
        if not admitted:
            raise denied or socket.gaierror(socket.EAI_NONAME, "No address")
        return admitted

    def socket(self, info: tuple[int, int, int, str, tuple[object, ...]]) -> socket.socket:
        """The socket for one address, judged once more: literal addresses never come to :meth:`resolve`."""
        family, kind, protocol, _, where = info
        address, port = ip_address(str(where[0]).split("%")[0]), int(str(where[1]))
        if (address, port) not in self._grants:
            self._guard.check_address(None, address, port)
        return socket.socket(family, kind, protocol)

    async def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _find(self, host: str) -> Sequence[str]:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._timeout):
            return await loop.run_in_executor(self._threads, self._lookup, host)

    def _grant(self, address: Address, port: int) -> None:
        """Remember an address that would not pass without its host's name."""
        try:
            self._guard.check_address(None, address, port)
        except GuardDenied:
            while len(self._grants) >= _MAX_GRANTS:
                del self._grants[next(iter(self._grants))]
            self._grants[address, port] = None


def _result(host: str, address: Address, port: int) -> ResolveResult:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    return ResolveResult(hostname=host, host=str(address), port=port, family=family, proto=0, flags=_NUMERIC)
