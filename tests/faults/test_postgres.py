"""PostgreSQL that fails under load, with two platforms on it: nothing acknowledged is lost, and all of it ends."""

import os
from pathlib import Path

import pytest

from tests.faults.cluster import Cluster, cluster, small_disk
from tests.faults.platforms import through

LONG = os.environ.get("CI") == "true"
EACH = ("cut", "restart", "full", "freeze", "fail_over")
FAULTS = [(name,) for name in EACH] if LONG else [("cut", "restart", "full", "fail_over")]


async def happen(database: Cluster, name: str) -> None:
    match name:
        case "cut":
            await database.cut(8 if LONG else 3)
        case "restart":
            for _ in range(2 if LONG else 1):
                await database.restart()
        case "full":
            await database.full(6 if LONG else 3)
        case "freeze":
            await database.freeze(15)
        case _:
            await database.fail_over()


async def happens(database: Cluster, faults: tuple[str, ...]) -> None:
    for name in faults:
        await happen(database, name)


@pytest.mark.timeout(170)
@pytest.mark.parametrize("faults", FAULTS, ids="-".join)
async def test_a_database_that_fails_under_load_loses_nothing(faults: tuple[str, ...], tmp_path: Path) -> None:
    with small_disk() as disk:
        if disk is None:
            faults = tuple(name for name in faults if name != "full")
        if not faults:
            pytest.skip("only root can have a disk that is small enough to fill")
        async with cluster(disk) as database:
            clients = await through(database.url, tmp_path, lambda: happens(database, faults))
    assert clients.refused or faults == ("cut",)
