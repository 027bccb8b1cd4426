"""Disks and files that fail: the API says so and asks to come again, nothing accepted is lost, work goes on by itself."""

import asyncio
import contextlib
import resource
import signal
import socket
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from stepwell.server.store.sqlite import SQLiteStore
from stepwell.server.store.sqlite.connect import limit_size
from stepwell.server.store.sqlite.lane import Lane
from stepwell.server.store.sqlite.writer import Writer
from tests.crash.platform_process import PlatformProcess
from tests.e2e.ugly import Call, Endpoint, api, bare, finish, ops, platform, returned, step_run, until
from tests.ports import free_port

STEPWELL = str(Path(sys.executable).with_name("stepwell"))
APP = Path(__file__).with_name("blocking_app.py")


async def command(*arguments: str, cwd: Path) -> tuple[int, str]:
    """Run the CLI to its end: exit code, and what it said."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        STEPWELL, *arguments, cwd=cwd, stdout=pipe, stderr=asyncio.subprocess.STDOUT
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(), 20)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode is not None
    return process.returncode, out.decode()


# ---------------------------------------------------------------------------------------------------------- at the start


async def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        code, said = await command("dev", "--no-discovery", "--port", port, cwd=tmp_path)
    assert code == 1
    assert len(said.splitlines()) == 1, said
    assert f"127.0.0.1:{port}" in said
    assert "in use" in said
    assert "--port" in said


async def test_a_second_process_on_the_same_file(tmp_path: Path) -> None:
    first = PlatformProcess(None, tmp_path / "one.db", {})
    await first.start()
    try:
        code, said = await command(
            "dev", "--no-discovery", "--port", str(free_port()), "--db", f"sqlite:///{first.db}", cwd=tmp_path
        )
        assert code == 1
        assert len(said.splitlines()) == 1, said
        assert f"is in use by process {first._process.pid}" in said
        assert f"ask it with --url {first.url}" in said
        assert first.url in said, "it says where the other one is"
        assert "choose another database file" in said
        assert (await first.get("/health"))["status"] == 200, "the first one is not disturbed"
    finally:
        assert await first.stop() == 0


def _foreign(path: Path) -> None:
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE theirs (x)")


def _scribble(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[100:] = b"\x5a" * (len(data) - 100)
    path.write_bytes(data)


DAMAGED: dict[str, tuple[Any, str]] = {
    "not a database": (lambda path: path.write_bytes(b"hello world " * 1000), "is not a Stepwell database"),
    "another program's": (_foreign, "SQLite database of another program"),
    "its pages are garbage": (_scribble, "the file is damaged: restore it from a backup"),
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:5000]), "the file is damaged"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "cannot be made or opened here (Is a directory)"),
}


@pytest.mark.parametrize("name", DAMAGED)
async def test_a_file_that_is_no_good(name: str, tmp_path: Path) -> None:
    damage, message = DAMAGED[name]
    async with platform(tmp_path) as running:
        await running.send("go", {})
    db = tmp_path / "ugly.db"
    damage(db)
    code, said = await command(
        "dev", "--no-discovery", "--port", str(free_port()), "--db", f"sqlite:///{db}", cwd=tmp_path
    )
    assert code == 1
    assert len(said.splitlines()) == 1, said
    assert str(db) in said
    assert message in said


# ------------------------------------------------------------------------------------------------------- while it is running


class Disk:
    """The room that the platform's file has."""

    def __init__(self) -> None:
        self.store: SQLiteStore | None = None

    def make(self, path: Path, **options: Any) -> SQLiteStore:
        """The store, to be filled."""
        self.store = SQLiteStore(path, **options)
        return self.store

    async def limit(self, running: Any, size: int) -> None:
        """Let the file grow to ``size`` bytes and no further."""
        assert self.store is not None
        lane: Lane[Writer] = self.store._writer
        await running._host.ask(lane.do(lambda writer: limit_size(writer._conn, size)))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    made = Disk()
    monkeypatch.setattr("stepwell.server.build.SQLiteStore", made.make)
    return made


async def test_a_full_disk_while_running(disk: Disk, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A run is between two steps as the disk fills up: events are refused with 503, the run goes on once there is room."""
    full, called = asyncio.Event(), []

    async def answer(call: Call, request: web.Request) -> web.StreamResponse:
        called.append(call["ctx"]["run_id"])
        if not call["steps"]:
            await full.wait()
            return ops(step_run("big", "x" * 1_000_000))
        return returned(len(call["steps"]["big"]["data"]))

    async with bare(tmp_path, answer) as rig:
        event_id = await rig.platform.send("go", {})
        await until(lambda: len(called) == 1)
        await disk.limit(rig.platform, 1)
        full.set()
        await until(lambda: any("the disk is full" in each.getMessage() for each in caplog.records))
        for _ in range(3):
            status, headers, said = await api(
                rig.platform, "POST", "/e/key", json={"name": "go", "data": {"x": "y" * 20_000}}
            )
            assert (status, said["ids"]) == (503, [])
            assert headers["retry-after"] == "1"
            assert "the disk is full, nothing was saved: free some space" in said["error"]
        status, headers, said = await api(rig.platform, "POST", "/fn/register", json=registration())
        assert (status, headers.get("retry-after")) == (503, "1"), said
        (run,) = (await api(rig.platform, "GET", f"/v1/events/{event_id}/runs"))[2]["data"]
        status, headers, said = await api(rig.platform, "DELETE", f"/v1/runs/{run['run_id']}")
        assert status == 503, "a cancelling that was not recorded is not confirmed"
        assert headers["retry-after"] == "1"
        assert (await api(rig.platform, "GET", "/health"))[0] == 200, "it can be read, and says so"
        await disk.limit(rig.platform, 1 << 40)
        result = await finish(rig.platform, event_id)
        assert (result.status, result.output) == ("completed", 1_000_000)
        assert len(called) == 2, "the answer that could not be stored was kept: the app was not called again for it"
        status, _, said = await api(rig.platform, "POST", "/e/key", json={"name": "go"})
        assert status == 200
        assert (await finish(rig.platform, said["ids"][0])).status == "completed"
        status, _, said = await api(rig.platform, "POST", "/fn/register", json=registration())
        assert (status, said["modified"]) == (200, True), "what was refused as unsaved is new the next time"
    told = [each.getMessage() for each in caplog.records if "the disk is full" in each.getMessage()]
    assert len(told) < 10, "the log is not flooded"
    assert any("the store works again" in each.getMessage() for each in caplog.records)


def registration() -> dict[str, Any]:
    """An app large enough to need room."""
    endpoint = Endpoint(lambda call, request: asyncio.sleep(0, returned()))
    endpoint.url = "http://127.0.0.1:9/api"
    functions = [{**endpoint.functions(1)[0], "id": f"other-{n}", "name": "n" * 200} for n in range(50)]
    return {"appName": "other", "url": endpoint.url, "sdk": "bare:v1", "functions": functions}


async def test_a_process_whose_file_may_not_grow(tmp_path: Path) -> None:
    """The kernel refuses its writes (a file size limit): 503 with the reason, and all is well when that ends."""

    async def answer(call: Call, request: web.Request) -> web.StreamResponse:
        return returned("done")

    process = PlatformProcess(None, tmp_path / "limited.db", {"STEPWELL_RETRY_INTERVAL": "50ms"})
    async with Endpoint(answer).serving() as endpoint:
        await process.start()
        try:
            body = {"appName": "bare", "url": endpoint.url, "sdk": "bare:v1", "functions": endpoint.functions(2)}
            assert (await api(process, "POST", "/fn/register", json=body))[0] == 200
            pid = process._process.pid
            wal = Path(f"{process.db}-wal")
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (wal.stat().st_size, resource.RLIM_INFINITY))
            status, headers, said = await api(process, "POST", "/e/key", json={"name": "go"})
            assert (status, headers["retry-after"], said["ids"]) == (503, "1", [])
            assert "the disk failed to read or write" in said["error"] or "the disk is full" in said["error"]
            assert (await api(process, "GET", "/health"))[0] == 200
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            (event_id,) = await process.send([{"name": "go"}])

            async def done() -> bool:
                runs = (await api(process, "GET", f"/v1/events/{event_id}/runs"))[2]["data"]
                return [run["status"] for run in runs] == ["Completed"]

            await until(done)
            assert len(await process.runs()) == 1, "what was refused was not stored"
        finally:
            assert await process.stop() == 0


async def test_another_program_holds_the_file_locked(tmp_path: Path) -> None:
    """A database browser with a write transaction: events are refused in time, and taken again once it lets go."""

    async def answer(call: Call, request: web.Request) -> web.StreamResponse:
        return returned("done")

    async with bare(tmp_path, answer) as rig:
        with contextlib.closing(sqlite3.connect(tmp_path / "ugly.db", isolation_level=None)) as browser:
            browser.execute("BEGIN IMMEDIATE")
            status, headers, said = await api(rig.platform, "POST", "/e/key", json={"name": "go"})
            assert status == 503
            assert headers["retry-after"] == "1"
            assert "another program has locked the file" in said["error"]
            browser.execute("ROLLBACK")
        assert (await rig.run()).output == "done"


# ------------------------------------------------------------------------------------------------------------ at the end


@pytest.mark.parametrize("event", ["function", "step", "swallow"])
async def test_sigterm_ends_a_platform_whose_user_code_never_does(event: str, tmp_path: Path) -> None:
    process = PlatformProcess(APP, tmp_path / "stuck.db", {"STEPWELL_DRAIN_SECONDS": "0.3"})
    await process.start()
    try:
        (event_id,) = await process.send([{"name": event}])

        async def busy() -> bool:
            runs = (await api(process, "GET", f"/v1/events/{event_id}/runs"))[2]["data"]
            return "busy" in process.db.with_suffix(".log").read_text() and len(runs) == 1

        await until(busy)
        assert (await process.get("/health"))["status"] == 200
        process.signal(signal.SIGTERM)
        await process.gone(15)
        assert set((await process.runs()).values()) <= {"queued", "running"}, "the run is there for the next start"
    finally:
        with contextlib.suppress(ProcessLookupError):
            await process.kill()
