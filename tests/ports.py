"""Ports for servers that a test starts as processes, which can not tell it the port that they were given."""

import itertools
import os
import random
import socket

_FIRST, _EACH, _WORKERS = 12_000, 2_000, 10
"""Below those that the system hands out by itself, and for each process of the test run its own."""
_count = itertools.count(random.randrange(_EACH))


def free_port() -> int:
    """A port that was free a moment ago, and that nothing else of the test run is given soon."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
    for _ in range(_EACH):
        port = _FIRST + worker * _EACH + next(_count) % _EACH
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise RuntimeError("no port is free")
