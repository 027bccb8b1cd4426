"""What is played in the cells of the kill matrix. Each returns what the process that fell was about."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator

from stepwell.wire.constants import DISCOVERY
from tests.crash.matrix import Scene
from tests.crash.matrix_checks import Fall
from tests.crash.matrix_places import claims, read
from tests.crash.matrix_processes import Server, until
from tests.crash.matrix_reader import Reader

LATE = {
    "call-unsent", "call-unrecorded", "answer-unstored", "request-claimed", "request-unsent", "response-unrecorded",
    "result-unstored", "timer-claimed", "retry-claimed", "piece-unstored", "piece-stored", "chunk-read",
}  # fmt: skip
"""Where a process that has stalled holds an outcome, or makes one, that somebody else has recorded by then."""
QUEUED = 30
"""Calls that may wait for a stalled app: it makes all of them when it comes back."""
DROPPED = "a late result was dropped"


@contextlib.asynccontextmanager
async def _sending(at: Scene, server: Server, *, whole: bool = False) -> AsyncIterator[None]:
    """The events on their way meanwhile; ``whole``: until all of them are accepted. Somebody reads along where that matters."""
    if at.cell.point == "chunk-read":
        at.reader = Reader(at.upstream, server)
    else:
        at.upstream.read_along.set()
    sending = asyncio.create_task(at.send(server))
    try:
        yield
        if whole:
            await sending
    finally:
        sending.cancel()
        await asyncio.wait([sending])


async def a_server_is_killed(at: Scene) -> str:
    """Another one starts on what it left; what the one that fell was about."""
    first = at.server("first", at.crash("first"))
    await first.ready()
    async with _sending(at, first):
        subject = await first.fallen()
    at.falls.append(Fall(at.upstream, await claims(at.place), await read(at.place)))
    second = await at.successor("second")
    await at.over(second)
    await second.stop()
    return subject


async def a_server_stalls(at: Scene) -> str:
    """Its lease runs out and another one goes on; then it comes back, and is late."""
    first = at.server("first", at.crash("first"))
    await first.ready()
    at.upstream.held |= set() if at.cell.point.startswith(("once", "end")) else {"once"}
    async with _sending(at, first):
        subject = await first.fallen()
    at.upstream.holding = True
    at.upstream.read_along.clear()
    held = await claims(at.place)
    at.falls.append(Fall(at.upstream, held, await read(at.place)))
    second = await at.successor("second")

    async def taken_over() -> bool:
        return not held & await claims(at.place)

    await until(taken_over, at.logs)
    first.signal(signal.SIGCONT)

    async def dropped() -> bool:
        return DROPPED in first.log.read_text()

    if at.cell.point in LATE:
        await until(dropped, at.logs)
    at.upstream.holding = False
    at.upstream.held.clear()
    at.upstream.read_along.set()
    await at.over(second)
    await first.stop()
    await second.stop()
    return subject


async def an_owner_stalls(at: Scene) -> str:
    """Nobody else may have its file. It goes on as if nothing had happened, though its lease has run out."""
    first = at.server("first", at.crash("first"))
    await first.ready()
    async with _sending(at, first, whole=True):
        subject = await first.fallen()
        at.falls.append(Fall(at.upstream, ()))
        await at.leases_run_out()
        first.signal(signal.SIGCONT)
    await at.over(first)
    await first.stop()
    return subject


async def a_server_falls_in_recovery(at: Scene) -> str:
    """One is killed; the one that takes over falls before it has; a third one does."""
    first = at.server("first", at.crash("first", "response-unrecorded", how=signal.SIGKILL))
    await first.ready()
    async with _sending(at, first):
        await first.fallen()
    at.falls.append(Fall(at.upstream, await claims(at.place), await read(at.place)))
    await at.leases_run_out()
    second = at.server("second", at.crash("second"))
    freed = await second.fallen()
    third = await at.successor("third")
    second.signal(signal.SIGCONT)
    await at.over(third)
    if at.cell.stalls:
        await second.ready()
        await second.stop()
    await third.stop()
    return freed


async def an_app_falls(at: Scene) -> str:
    """The app alone, in the middle of a call. Another one takes its place, where it was or elsewhere."""
    app = at.app("app", at.crash("app"))
    await app.answers()
    at.apps.append(app.url)
    server = at.server("server", **({"STEPWELL_CALL_TIMEOUT": "1s"} if at.cell.stalls else {}))
    await server.ready()
    async with _sending(at, server, whole=True):
        subject = await app.fallen()
        called = {
            (run, DISCOVERY, 0) for run in await server.statuses()
        }  # the server may have learnt of the end by now
        at.falls.append(Fall(at.upstream, called, calls=QUEUED if at.cell.stalls else 1))
    if at.cell.stalls:
        other = at.app("other", platform=server.url)
        await other.answers()
        await other.register()
    else:
        await at.app("again", port=app.port).answers()
    await at.over(server)
    if at.cell.stalls:
        app.signal(signal.SIGCONT)
        await app.answers()
    await server.stop()
    return subject


async def an_upstream_stalls(at: Scene) -> str:
    """It answers the first attempt when the second one is on record."""
    at.upstream.held.add("stalled")
    at.events = [{**at.events[0], "name": "stall"}]
    server = await at.successor("server")
    await at.over(server)
    at.upstream.held.clear()

    async def answered() -> bool:
        return not at.upstream.flying.total()

    await until(answered, at.logs)
    await server.stop()
    assert set(at.upstream.seen.values()) == {2}
    return ""
