"""The load is played once for all tests, whatever number of processes they run in."""

import fcntl
import os
from pathlib import Path

import msgspec
import pytest

from tests.clusters.play import Played, play

LONG = os.environ.get("CI") == "true"
MODES = ["one of three is killed", "all three live"] if LONG else ["one of three is killed"]


@pytest.fixture(scope="session", params=MODES)
def played(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Played:
    """What was seen. Who comes first plays; others wait for it, and read."""
    seed = request.config.getoption("randomly_seed", 1)
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    killed = request.param == MODES[0]
    record = shared / f"cluster-{MODES.index(request.param)}"
    with Path(f"{record}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not record.exists():
            folder = tmp_path_factory.mktemp("cluster")
            record.write_bytes(msgspec.json.encode(play(folder, 3 if LONG else 1, killed, seed)))
        return msgspec.json.decode(record.read_bytes(), type=Played)
