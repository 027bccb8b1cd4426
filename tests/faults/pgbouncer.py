"""A real PgBouncer that pools transactions before a PostgreSQL."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from stepwell.testing.platform.postgres import PostgresServer
from tests.ports import free_port

SCRIPT = Path(__file__).parents[2] / "scripts" / "pgbouncer.sh"
_START_S = 30.0
_CONFIG = """
[databases]
postgres = host=127.0.0.1 port={server} user=stepwell

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {size}
application_name_add_host = 1
logfile = {folder}/log
"""


class PgBouncer:
    """``size``: how many connections to the server it makes at most."""

    def __init__(self, server: PostgresServer, size: int = 6) -> None:
        found = subprocess.run(["sh", SCRIPT], check=True, capture_output=True, text=True)
        self._command = found.stdout.strip()
        self._user = "nobody" if os.geteuid() == 0 else None
        self.port = free_port()
        self.size = size
        self.folder = Path(tempfile.mkdtemp(prefix="stepwell-pgbouncer-"))
        config = _CONFIG.format(server=server.port, port=self.port, size=size, folder=self.folder)
        (self.folder / "ini").write_text(config)
        self.folder.chmod(0o755)
        if self._user is not None:
            shutil.chown(self.folder, self._user)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Of the server's first database, through it."""
        return f"postgresql://stepwell@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        self._process = subprocess.Popen([self._command, "-q", str(self.folder / "ini")], user=self._user)
        end = time.monotonic() + _START_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"PgBouncer does not start: {(self.folder / 'log').read_text()}") from None
                time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """SIGTERM and SIGKILL: at once; SIGINT: when nobody is in a transaction."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.wait(30)

    def remove(self) -> None:
        """Stop it, and delete all of it."""
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)
