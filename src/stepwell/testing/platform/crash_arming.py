"""Puts the crash points where they are, by wrapping: the product has no hooks for it."""

from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, TypeVar, cast

from stepwell.server import build
from stepwell.server.caller.base import Caller
from stepwell.server.fetcher.base import Fetcher
from stepwell.server.runtime import leases
from stepwell.server.runtime.engine import Engine
from stepwell.server.store.base import Store
from stepwell.server.store.postgres import connect as postgres_connect
from stepwell.server.store.postgres import schema as postgres_schema
from stepwell.server.store.postgres import transact as postgres_transact
from stepwell.server.store.sqlite import connect as sqlite_connect
from stepwell.server.store.sqlite import writer as sqlite_writer
from stepwell.testing.platform.crash_migrations import in_postgres, in_sqlite, known
from stepwell.testing.platform.crash_points import Crash, Trap
from stepwell.testing.platform.crash_seams import TrappedCaller, TrappedFetcher, TrappedStore
from stepwell.wire.functions import Registration

_P = ParamSpec("_P")
_R = TypeVar("_R")


def arm(crash: Crash) -> Trap:
    """From now on every engine that this process builds passes the points, with leases as ``crash`` says."""
    trap = Trap(crash)

    class Trapped(Engine):
        """An engine all of whose edges are points."""

        def __init__(self, store: Store, fetcher: Fetcher, http: Caller, **more: Any) -> None:
            trapped = cast("Store", TrappedStore(store, trap))
            super().__init__(trapped, TrappedFetcher(fetcher, trap), TrappedCaller(http, trap), **more)

        async def register(self, registration: Registration, caller: Caller | None = None) -> tuple[bool, str]:
            return await super().register(registration, caller and TrappedCaller(caller, trap))

    changes = {
        (build, "Engine"): Trapped,
        (leases, "LEASE_MS"): crash.lease_ms,
        (leases, "BEAT_S"): crash.beat_s,
        (postgres_connect, "IDLE"): crash.idle,
        (postgres_connect, "WHOLE"): crash.whole,
        (postgres_schema, "IDLE"): crash.idle,
        (postgres_transact, "write"): _open_in_postgres(postgres_transact.write, trap),
        (postgres_schema, "pending"): in_postgres(postgres_schema.pending, trap),
        (sqlite_connect, "pending"): in_sqlite(sqlite_connect.pending, trap),
        (sqlite_connect, "_know"): known(sqlite_connect._know, trap),  # noqa: SLF001 - what is wrapped here  # pyright: ignore[reportPrivateUsage]
        (sqlite_writer, "write"): _open_in_sqlite(sqlite_writer.write, trap),
    }
    for (module, name), value in changes.items():
        if value is not None:
            setattr(module, name, value)
    return trap


def _open_in_postgres(write: Callable[_P, Awaitable[_R]], trap: Trap) -> Callable[_P, Awaitable[_R]]:
    async def written(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        found = await write(*args, **kwargs)
        trap.passes("commit-open", "")
        return found

    return written


def _open_in_sqlite(write: Callable[_P, None], trap: Trap) -> Callable[_P, None]:
    def written(*args: _P.args, **kwargs: _P.kwargs) -> None:
        write(*args, **kwargs)
        trap.passes("commit-open", "")

    return written
