"""Connections. This module alone touches the library.

Each statement is planned for the values that it has and the tables as they are, however small these were when it was first
sent. Behind a proxy that hands out a connection for one transaction at a time no statement is prepared by name.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol, cast

import asyncpg  # pyright: ignore[reportMissingTypeStubs]
from asyncpg.exceptions import InternalClientError  # pyright: ignore[reportMissingTypeStubs]

from stepwell.server.store.base import StoreError
from stepwell.server.store.postgres.failures import explained

CONNECT_S = 10.0
"""For all hosts of a URL together; each has its share, as one that says nothing must not keep us from the next."""
COMMAND_S = 20.0
"""A statement that takes longer is given up, and the server told so."""
_CUT_S = 5.0
"""More for a transaction to end; then its connection is cut, whatever the server does."""
_READ_S = 10.0
"""For what only reads."""
_IDLE_S = 300.0
_STATEMENTS = 120
_WAITS_FOR_STANDBY = "SyncRepWaitForLSN"
"""Of PostgreSQL: where it waits. What it says there comes in the language of the server."""
PLANS = {"plan_cache_mode": "force_custom_plan", "jit": "off", "enable_seqscan": "off"}
"""Every statement of the hot path has an index. Statistics of another moment (a table that held one run) must not make it read
the whole table."""
IDLE, WHOLE = "15s", "25s"
"""How long a transaction may do nothing (as long as a lease), and last. A process that stalls within one holds locks that
nobody gets past, and its own watch stalls too; the database ends it, and what it did is undone."""
_KNOWS_WHOLE = 17
"""The first version with a limit for whole transactions. To the other limit a process is not idle that stalls when it has had a
statement prepared, and before it has it run."""

_create_pool = cast("Callable[..., Awaitable[Any]]", asyncpg.create_pool)  # pyright: ignore[reportUnknownMemberType]
_connect = cast("Callable[..., Awaitable[Any]]", asyncpg.connect)  # pyright: ignore[reportUnknownMemberType]


class Conn(Protocol):
    """What is used of a connection."""

    async def fetch(self, query: str, *args: object) -> list[Any]:
        """The rows."""
        ...

    async def execute(self, query: str, *args: object) -> str:
        """Run a statement; many, when there are no arguments."""
        ...


class Pool:
    """Connections of one process."""

    def __init__(self, url: str, size: int, *, proxied: bool) -> None:
        self._url = url
        self._size = size
        self._proxied = proxied
        self._pool: Any = None

    async def open(self) -> None:
        """Make the first connection. Raises StoreError."""
        with explained():
            self._pool = await _create_pool(
                self._url,
                min_size=0,  # else asyncpg's own attempts fill the log while the database is away
                max_size=self._size,
                statement_cache_size=0 if self._proxied else _STATEMENTS,
                server_settings=None if self._proxied else PLANS | {"idle_in_transaction_session_timeout": IDLE},
                command_timeout=COMMAND_S,
                max_inactive_connection_lifetime=_IDLE_S,
                reset=_nothing,
                connect=_connect_to_any,
                connection_class=_Quiet,
                init=None if self._proxied else _bounded,
            )
            async with self._pool.acquire(timeout=CONNECT_S + 1):
                pass

    async def close(self) -> None:
        """Close all of them."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            await asyncio.wait_for(pool.close(), 5)
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            pool.terminate()

    @asynccontextmanager
    async def transaction(self, *, snapshot: bool = False, begun: bool = True) -> AsyncGenerator[Conn]:
        """A transaction; ``snapshot``: one that reads only, and sees one moment. Not ``begun``: ``BEGIN`` is the caller's."""
        if self._pool is None:
            raise StoreError("The database is not open: call open() first.")
        level = "repeatable_read" if snapshot else "read_committed"
        seconds = _READ_S if snapshot else COMMAND_S + _CUT_S
        conn = await self._pool.acquire(timeout=CONNECT_S + 1)
        watch = asyncio.get_running_loop().call_later(seconds, conn.terminate)
        heard = _Heard()
        try:
            conn.add_log_listener(heard.warning)
            async with conn.transaction(isolation=level, readonly=snapshot) if begun else _ended(conn):
                yield cast("Conn", conn)
        except asyncpg.ReadOnlySQLTransactionError:
            await self._pool.expire_connections()  # the primary has become a standby: it is looked for again
            raise
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            if not isinstance(error, TimeoutError) and asyncio.get_running_loop().time() < watch.when():
                raise
            await self._pool.expire_connections()  # the others lead to the same silence
            raise TimeoutError("no answer in time") from error
        else:
            if heard.alone:
                raise TimeoutError("no synchronous standby has confirmed it")
        finally:
            watch.cancel()
            with suppress(asyncpg.InterfaceError):  # of a connection that was cut
                conn.remove_log_listener(heard.warning)
            await self._pool.release(conn)


class _Quiet(asyncpg.Connection):  # pyright: ignore[reportUntypedBaseClass]
    """One whose end interests nobody: the pool closes what has expired in a task that nobody waits for."""

    async def close(self, *, timeout: float | None = None) -> None:
        """Close it, or cut it when the server does not answer."""
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await super().close(timeout=timeout)  # pyright: ignore[reportUnknownMemberType]


class _Heard:
    """What the server said of a transaction. ``alone``: it gave up to wait for a standby, and committed all the same."""

    def __init__(self) -> None:
        self.alone = False

    def warning(self, _conn: object, message: Any) -> None:
        """It is a warning and not an error: somebody has cancelled the wait."""
        if message.server_source_function == _WAITS_FOR_STANDBY:
            self.alone = True


@asynccontextmanager
async def _ended(conn: Any) -> AsyncGenerator[None]:
    """End the transaction that was begun inside."""
    try:
        yield
    except BaseException:
        if not conn.is_closed() and conn.is_in_transaction():
            await conn.execute("ROLLBACK")
        raise
    if conn.is_in_transaction():
        await conn.execute("COMMIT")


async def _bounded(conn: Any) -> None:
    if conn.get_server_version().major >= _KNOWS_WHOLE:
        await conn.execute(f"SET transaction_timeout = '{WHOLE}'")


async def _nothing(_conn: object) -> None:
    """There is nothing to reset: all that a transaction sets ends with it."""


async def connect(url: str, command_s: float = COMMAND_S) -> Any:
    """One connection outside the pool. ``command_s``: for each statement, seconds."""
    return await _connect_to_any(url, statement_cache_size=0, command_timeout=command_s)


async def _connect_to_any(url: str, **options: Any) -> Any:
    """To the first host of the URL that is up, and is what ``target_session_attrs`` wants."""
    each = hosts_of(url)
    problems: list[Exception] = []
    for one in each:
        try:
            return await _connect(one, timeout=CONNECT_S / len(each), **options)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, InternalClientError, OSError) as problem:
            problems.append(problem)
    telling = [
        problem for problem in problems if not isinstance(problem, InternalClientError)
    ]  # more than "not that one"
    raise (telling or problems)[-1]


def hosts_of(url: str) -> list[str]:
    """The URL once for each host that it names between ``@`` and ``/``."""
    head, slashes, rest = url.partition("://")
    end = min((at for mark in "/?#" if (at := rest.find(mark)) >= 0), default=len(rest))
    user, at, hosts = rest[:end].rpartition("@")
    return [f"{head}{slashes}{user}{at}{host}{rest[end:]}" for host in hosts.split(",")]
