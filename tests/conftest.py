"""What all tests share: quick Hypothesis defaults, and what a missing Node, Chromium, curl or PgBouncer means."""

import os
import shutil
import signal
import subprocess
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parent.parent
NODE_MODULES = [ROOT / folder / "node_modules" for folder in ("examples/typescript", "tests/conformance/sdks/npm")]
MISSING = "Node 20+ or the npm packages of the tests are missing: run `make test`, which installs them"

# Who starts us in the background may have SIGINT ignored, and children inherit that: the tests of Ctrl-C need it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadline: the machine may be busy, and a slow example is not a wrong one.
settings.register_profile("quick", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("long", deadline=None, max_examples=2_000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def has_node() -> bool:
    """Whether the TypeScript examples can be run."""
    return shutil.which("node") is not None and all(map(Path.is_dir, NODE_MODULES))


@cache
def has_chromium() -> bool:
    """Whether the dashboard can be opened in a browser."""
    return (
        subprocess.run(["sh", ROOT / "scripts" / "chromium.sh"], stdout=subprocess.DEVNULL, check=False).returncode == 0
    )


@cache
def has_pgbouncer() -> bool:
    """Whether a database can be put behind a real PgBouncer."""
    script = ROOT / "scripts" / "pgbouncer.sh"
    return subprocess.run(["sh", script], stdout=subprocess.DEVNULL, check=False).returncode == 0


NEEDS = {
    "curl": (lambda: shutil.which("curl") is not None, "curl is missing: install it"),
    "node": (has_node, MISSING),
    "browser": (has_chromium, "Chromium is missing: run `make test` as root on Debian, or install it"),
    "pgbouncer": (has_pgbouncer, "PgBouncer is missing: run `make test` as root on Debian, or install it"),
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a marked test where what it needs is missing; on CI a skip would hide a hole, so it is a failure there."""
    for name, (there, missing) in NEEDS.items():
        if item.get_closest_marker(name) is None or there():
            continue
        if os.environ.get("CI") == "true":
            pytest.fail(missing, pytrace=False)
        pytest.skip(missing)
