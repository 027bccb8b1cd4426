"""The kill matrix: a process dies or stalls at a named point, and what must be so afterwards is so (docs/guarantees.md).

A cell is named by point, signal, store, and who falls: the server, the app, or both in one process.
"""

import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from stepwell.testing.platform.crash_points import APP_POINTS, RECOVERY_POINTS, SERVER_POINTS, Crash
from stepwell.testing.platform.postgres import clean_database
from tests.crash.matrix import Cell, Scene, scene
from tests.crash.matrix_places import Postgres, SQLite
from tests.crash.matrix_plays import (
    a_server_falls_in_recovery,
    a_server_is_killed,
    a_server_stalls,
    an_app_falls,
    an_owner_stalls,
    an_upstream_stalls,
)
from tests.crash.matrix_processes import App
from tests.crash.nursery import Nursery

Play = Callable[[Scene], Awaitable[str]]

STORES = ("sqlite", "postgresql")
SIGNALS = ("SIGKILL", "SIGSTOP")
NTH = {
    "event-unstored": 2,
    "event-stored": 2,
    "commit-open": 6,
    "piece-unstored": 2,
    "chunk-read": 2,
    "result-stored": 2,
    "call-received": 3,
    "call-answered": 3,
    "call-half-answered": 3,
}
"""Which passing it is, where it is not the first: something is on record by then."""
SENT = {
    "request-unsent": (1, 2),
    "response-unrecorded": (2, 2),
    "result-unstored": (2, 2),
    "result-stored": (1, 1),
    "once-unsent": (0, 1),
    "once-unrecorded": (1, 1),
}
"""How often the upstream sees the request that the point is about, when its sender is killed; when it stalls and comes back."""


def cell(point: str, how: str, store: str, who: str = "server") -> Cell:
    return Cell(point, how, store, who, NTH.get(point, 1))


# A large response is read in process, where the function reads along; else the functions are behind HTTP.
SERVERS = [
    cell(point, how, store, "both" if point.startswith(("piece", "chunk")) else "server")
    for how in SIGNALS
    for store in STORES
    for point in SERVER_POINTS
]
# What an answer of the app is part of falls together with the app where both are one process.
BOTH = [cell(point, "SIGKILL", "sqlite", "both") for point in SERVER_POINTS if point.startswith(("call", "answer"))]
# A file has one owner: while that one stalls nobody else can start, and recover.
RECOVERIES = [
    cell(point, how, store)
    for point in RECOVERY_POINTS
    for how, store in (("SIGKILL", "sqlite"), ("SIGKILL", "postgresql"), ("SIGSTOP", "postgresql"))
]
APPS = [cell(point, how, store, "app") for point in APP_POINTS for how in SIGNALS for store in STORES]
# An upstream that dies is a transport error, which is retried: tests/e2e/test_hostile.py.
UPSTREAMS = [cell("response-late", "SIGSTOP", store, "upstream") for store in STORES]
CELLS = SERVERS + BOTH + RECOVERIES + APPS + UPSTREAMS
USUAL = [
    cell("commit-open", "SIGKILL", "sqlite"),
    cell("event-stored", "SIGKILL", "sqlite"),
    cell("once-unsent", "SIGKILL", "sqlite"),
    cell("chunk-read", "SIGKILL", "sqlite", "both"),
    cell("response-unrecorded", "SIGKILL", "postgresql"),
    cell("response-unrecorded", "SIGSTOP", "postgresql"),
    cell("commit-open", "SIGSTOP", "postgresql"),
    cell("call-answered", "SIGKILL", "sqlite", "app"),
]
"""What runs everywhere; the others where CI=true."""
PLAYS = {"app": an_app_falls, "upstream": an_upstream_stalls}


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    made = Nursery()
    yield made
    made.close()


@pytest.fixture(scope="module")
def app(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> App:
    """The functions behind HTTP, for all cells in which they live on."""
    made = App(nursery, tmp_path_factory.mktemp("app"), "app", Crash())
    made.start()
    return made


def play_of(found: Cell) -> Play:
    """What is played in a cell."""
    if found.who in PLAYS:
        return PLAYS[found.who]
    if found.point in RECOVERY_POINTS:
        return a_server_falls_in_recovery
    if not found.stalls:
        return a_server_is_killed
    return an_owner_stalls if found.store == "sqlite" else a_server_stalls


@pytest.mark.timeout(120)
@pytest.mark.parametrize("found", CELLS if os.environ.get("CI") == "true" else USUAL, ids=str)
async def test_nothing_is_lost_and_nothing_is_done_twice_that_was_done(
    found: Cell, nursery: Nursery, app: App, tmp_path: Path
) -> None:
    await app.answers()
    place = SQLite(tmp_path / "state.db") if found.store == "sqlite" else Postgres(await clean_database())
    async with scene(found, nursery, tmp_path, place) as at:
        at.apps += [app.url] if found.who in ("server", "upstream") else []
        subject = await play_of(found)(at)
        await at.check()
        if found.point in SENT:
            alone = found.stalls and not place.shared
            assert at.upstream.sent(subject) == (1 if alone else SENT[found.point][found.stalls])
        if found.point == "recovery-stored":
            assert int(subject) > 0, "there was nothing to take over"


def test_the_usual_cells_are_cells() -> None:
    assert set(USUAL) <= set(CELLS)
    assert len(CELLS) == len(set(map(str, CELLS)))
