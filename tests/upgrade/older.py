"""Databases as an older version left them, with runs in flight; and how these go on in this version, and end.

``make`` wrote the rows; the schema around them is made by the migrations that there were then.
"""

import asyncio
import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from stepwell.core.model import RunStatus, StepStatus
from stepwell.embed import Embedded
from stepwell.server.build import open_store
from stepwell.server.clock import SystemClock
from stepwell.server.settings import Settings
from stepwell.server.store.base import RunQuery
from stepwell.server.store.migrate import load_migrations
from stepwell.server.store.postgres.connect import connect
from stepwell.server.store.postgres.schema import migrate
from stepwell.server.store.sqlite.connect import APPLICATION_ID, connect_writer
from stepwell.testing.platform.postgres import make_database
from stepwell.wire.ids import ulid_millis
from tests.upgrade.app import EVENTS, LATE_PORT, OUTPUTS, client
from tests.upgrade.make import SEAL

LATER_MS = 600_000
FIXTURES = sorted(Path(__file__).parent.glob("*.sql"))


def version_of(fixture: Path) -> int:
    """Of the schema that the rows are of."""
    return int(fixture.read_text().split(maxsplit=3)[2])


async def older(fixture: Path, folder: Path) -> str:
    """A database as the older version left it: its URL."""
    rows, version = fixture.read_text(), version_of(fixture)
    if fixture.name.startswith("sqlite"):
        return _as_file(rows, version, folder / "s.db")
    url = await make_database()
    conn = await connect(url)
    await conn.execute("CREATE SCHEMA stepwell; CREATE TABLE stepwell.schema_version (version int NOT NULL)")
    for migration in load_migrations("stepwell.server.store.postgres")[:version]:
        await conn.execute(migration.sql)
    await conn.execute(rows)
    await conn.execute("INSERT INTO stepwell.schema_version VALUES ($1)", version)
    await conn.close()
    return url


def _as_file(rows: str, version: int, path: Path) -> str:
    """Migrations call functions of the program that read records: there were none when they were written."""
    conn = sqlite3.connect(path)
    for name in ("event_received_at", "event_name", "run_app_id"):
        conn.create_function(name, 1, lambda _: None)
    for migration in load_migrations("stepwell.server.store.sqlite")[:version]:
        conn.executescript(migration.sql)
    conn.executescript(rows)
    conn.executescript(f"PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={version};")
    conn.close()
    return f"sqlite:///{path}"


async def migrated(db: str) -> None:
    """As the next start does it, or ``stepwell migrate``."""
    if db.startswith("sqlite"):
        connect_writer(Path(db.removeprefix("sqlite:///")), None).close()
    else:
        assert (await migrate(db))[1] == len(load_migrations("stepwell.server.store.postgres"))


class _Found(msgspec.Struct):
    """What is in a database. ``recorded``: every result, by run and step; ``retrying``: names of steps between two attempts;
    ``queued_at``: of the newest run, ms."""

    recorded: dict[tuple[str, str], bytes]
    retrying: list[str]
    statuses: list[RunStatus]
    queued_at: int


async def _look(db: str) -> _Found:
    store = open_store(db, keys=[SEAL])
    await store.open()
    runs = await store.list_runs(RunQuery(limit=100))
    views = await store.load_runs([run.run_id for run in runs])
    await store.close()
    steps = [step for view in views for step in view.steps.values()]
    return _Found(
        {(step.run_id, step.step_id): step.memo or b"" for step in steps if step.ended},
        [step.name for step in steps if step.status is StepStatus.RETRYING],
        [run.status for run in runs],
        max(ulid_millis(run.run_id) for run in runs),
    )


@asynccontextmanager
async def _upstream() -> AsyncIterator[None]:
    """What the request of the older version waits for. Several tests may be it at once."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="late")

    app = web.Application()
    app.router.add_get("/late", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", LATE_PORT, reuse_port=True).start()
    try:
        yield
    finally:
        await runner.cleanup()


def _later(monkeypatch: pytest.MonkeyPatch, moment: int) -> None:
    """Clocks go on from that time."""
    now: Callable[[SystemClock], int] = SystemClock.now
    ahead = moment - SystemClock().now()
    monkeypatch.setattr(SystemClock, "now", lambda clock: now(clock) + ahead)


async def _until_over(platform: Embedded) -> list[Any]:
    engine = platform._host_engine()
    async with asyncio.timeout(40):
        while True:
            runs = await platform._host.ask(engine.runs(RunQuery(limit=100)))
            if all(run.status.ended for run in runs):
                return runs
            await asyncio.sleep(0.05)


async def runs_go_on(db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run that is in flight in a migrated database ends as it should. Clocks say that it is ten minutes later."""
    before = await _look(db)
    assert len(before.statuses) == len(EVENTS), "a run for each event; of those that are gathered one, and a child"
    assert not [status for status in before.statuses if status.ended], "all of them are in flight"
    assert before.recorded
    assert before.retrying == ["get"]
    _later(monkeypatch, before.queued_at + LATER_MS)
    platform = Embedded(
        Settings(db=db, encryption_keys=(SEAL,), port=0, discovery=False, retry_interval_ms=20), [client]
    )
    async with _upstream():
        await platform.start()
        for order in (7, 8):
            await platform.send("go", {"order": order})
        runs = await _until_over(platform)
        await platform.stop()
    after = await _look(db)
    assert before.recorded.items() <= after.recorded.items(), "a recorded result changed"
    assert {run.status for run in runs} == {RunStatus.COMPLETED}
    outputs: dict[str, list[object]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: run.run_id):
        outputs[run.function_id].append(msgspec.json.decode(run.output))
    assert {function: sorted(found, key=str) for function, found in outputs.items()} == OUTPUTS
