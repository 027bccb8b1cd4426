"""Whole platforms under faults that a seed decides: nothing that must not be is ever stored, and in the end all is done."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from stepwell.testing.platform.simulation.generate import script
from stepwell.testing.platform.simulation.script import Script
from stepwell.testing.platform.simulation.world import simulate


class Failed(msgspec.Struct):
    """A script that has failed, and what was wrong then."""

    found: str
    script: Script


CHUNKS = 20
SEEDS = 1_000 if os.environ.get("CI") == "true" else 100
FAILED = [
    msgspec.json.decode(line, type=Failed)
    for line in (Path(__file__).parent / "failed.jsonl").read_text(encoding="utf-8").splitlines()
]


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_nothing_goes_wrong_that_must_not(chunk: int) -> None:
    size = SEEDS // CHUNKS
    seeds = range(chunk * size, (chunk + 1) * size)
    assert {seed: problems for seed in seeds if (problems := simulate(script(seed)).problems)} == {}


@pytest.mark.parametrize("failed", FAILED, ids=lambda failed: f"seed-{failed.script.seed}")
def test_what_has_failed_does_so_no_more(failed: Failed) -> None:
    assert simulate(failed.script).problems == [], failed.found


def test_the_same_seed_has_the_same_trace() -> None:
    for seed in range(10):
        assert simulate(script(seed), keep=True).lines == simulate(script(seed), keep=True).lines


def test_the_trace_does_not_depend_on_the_process() -> None:
    program = (
        "from stepwell.testing.platform.simulation.generate import script\n"
        "from stepwell.testing.platform.simulation.world import simulate\n"
        "for seed in range(20): print(simulate(script(seed)).trace)\n"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            check=True,
            capture_output=True,
            text=True,
            timeout=50,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
        ).stdout
        for hash_seed in ("0", "1", "12345")
    }
    assert len(found) == 1
    assert len(set(found.pop().split())) == 20
