"""Processes that are there at once: one has imported everything, and forks for each that is asked for.

``python -m tests.crash.nursery`` takes a line of JSON for each (:class:`Birth`), and answers with its process id.
"""

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import msgspec

from stepwell.testing.platform.crash_points import Crash

_DEATH_SIGNAL = 1
ROOT = Path(__file__).parents[2]


class Birth(msgspec.Struct, frozen=True, kw_only=True):
    """``argv``: the arguments of ``stepwell``, or ``["app", port]`` for the functions alone, behind HTTP."""

    argv: list[str]
    env: dict[str, str]
    log: str
    crash: Crash


class Nursery:
    """The process that forks; ends, with all that it has made, when it is closed."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.crash.nursery"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def bear(self, birth: Birth) -> int:
        """Start a process: its id."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(birth) + b"\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate(timeout=20)


def _live(birth: Birth) -> NoReturn:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log = os.open(birth.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for fd, place in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(fd, place)
    os.environ.clear()
    os.environ.update(birth.env)
    code = 1
    try:
        code = _run(birth)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _run(birth: Birth) -> int:
    from stepwell.cli.main import run
    from stepwell.testing.platform.crash_arming import arm

    trap = arm(birth.crash)
    if birth.argv[0] != "app":
        return run(birth.argv)
    import uvicorn

    from stepwell.frameworks import asgi
    from stepwell.testing.platform.crash_seams import trapped_app
    from tests.crash.matrix_app import client

    app = trapped_app(asgi.serve(None, client), trap)
    uvicorn.run(app, port=int(birth.argv[1]), log_level="warning", lifespan="off")
    return 0


def main() -> None:
    import asyncpg  # noqa: F401
    import uvicorn  # noqa: F401

    import stepwell.cli.dev
    import stepwell.embed
    import stepwell.frameworks.asgi
    import stepwell.server.store.postgres
    import stepwell.testing.platform.crash_arming  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them: an id that is gone has ended
    for line in sys.stdin.buffer:
        birth = msgspec.json.decode(line, type=Birth)
        pid = os.fork()
        if not pid:
            _live(birth)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
