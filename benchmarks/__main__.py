"""``make bench``: runs every scenario a few rounds and prints the table; ``--write`` keeps it in docs/benchmarks.md.

``make bench STORE=postgresql`` has a table of its own, which is kept under the first.
"""

import argparse
import asyncio
import statistics
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from benchmarks import large, pages, process, scenarios, several, storage
from benchmarks.peers import started
from stepwell.server.host import new_loop

Scenario = Callable[[str], Awaitable[float]]

Rows = list[tuple[str, str, str, str, Scenario]]
"""Name, unit, the least, the aim."""

ONE, TWO = "runs of one step, a burst of events and functions over HTTP, one process", "the same with two processes"
PARALLEL, PLAIN = "300 parallel fetches in one run, in process", "the same 300 requests by plain aiohttp"
LARGE = "100 MB downloaded by one durable fetch and read, in process"
DROPPED = "the same 100 MB by plain aiohttp, which drops them"
HELD = "the same 100 MB by plain aiohttp, which has them in the end"
HTTPX2 = "the same 100 MB by httpx2, which has them in the end"
SAVED = "the same 100 MB by plain aiohttp, into a file, synced"

SQLITE: Rows = [
    ("runs of one step, in process, 50 at once", "/s", "2,000", "7,000", scenarios.one_step_runs),
    ("sequential steps, in process, run of 300", "/s", "1,000", "1,500", partial(scenarios.sequential, steps=300)),
    ("sequential steps, in process, run of 1,000", "/s", "1,000", "1,500", partial(scenarios.sequential, steps=1_000)),
    ("runs of one step, functions over HTTP, 50 at once", "/s", "", "", scenarios.http_one_step_runs),
    ("runs of one fetch, functions over HTTP, 50 at once", "/s", "500", "1,000", scenarios.http_fetch_runs),
    (PARALLEL, "/s", "2,500", "3,000", scenarios.parallel_fetches),
    (PLAIN, "/s", "", "", scenarios.plain_fetches),
    ("one run, event in to run done, in process", "ms", "5", "2", scenarios.latency),
    ("one run of one fetch, event in to run done, over HTTP", "ms", "15", "6", scenarios.http_latency),
    ("300 sequential steps of one run, over HTTP", "/s", "300", "900", scenarios.http_sequential),
    (LARGE, "MB/s", "", "", large.durable_speed),
    (DROPPED, "MB/s", "", "", large.plain_speed),
    (HELD, "MB/s", "", "", large.held_speed),
    (HTTPX2, "MB/s", "", "", large.httpx2_speed),
    (SAVED, "MB/s", "", "", large.saved_speed),
    ("extra memory of the durable 100 MB", "MB", "40", "20", large.durable_memory),
    ("idle memory of `stepwell dev`", "MB", "80", "60", process.idle_memory),
    ("start of `stepwell dev` to healthy", "s", "1", "0.5", process.start_time),
    ("page of a run of 10,000 steps, from the platform", "ms", "1,000", "200", pages.served),
]
if pages.has_chromium():
    SQLITE.append(("the same page, opened in Chromium until it can be used", "ms", "1,000", "500", pages.opened))

POSTGRESQL: Rows = [
    ("runs of one step, functions over HTTP, 50 at once", "/s", "1,000", "", scenarios.http_one_step_runs),
    ("the same, 200 at once", "/s", "1,000", "", partial(scenarios.http_one_step_runs, total=2_000, at_once=200)),
    (ONE, "/s", "", "", partial(several.one_step_runs, processes=1)),
    (TWO, "/s", "", "", partial(several.one_step_runs, processes=2)),
    ("runs of one step, in process, 50 at once", "/s", "", "", scenarios.one_step_runs),
    ("300 sequential steps of one run, over HTTP", "/s", "300", "", scenarios.http_sequential),
    (PARALLEL, "/s", "1,500", "", scenarios.parallel_fetches),
    (PLAIN, "/s", "", "", scenarios.plain_fetches),
    ("one run, event in to run done, in process", "ms", "", "", scenarios.latency),
]
ROWS = {"sqlite": SQLITE, "postgresql": POSTGRESQL}
RATIOS = [
    ("durable fetch, share of the plain client's rate", PARALLEL, PLAIN),
    ("durable 100 MB, share of the plain client that drops them", LARGE, DROPPED),
    ("durable 100 MB, share of aiohttp that has them", LARGE, HELD),
    ("durable 100 MB, share of httpx2 that has them", LARGE, HTTPX2),
    ("durable 100 MB, share of aiohttp that stores them", LARGE, SAVED),
    ("two processes, share of one's rate", TWO, ONE),
]


def main() -> None:
    """Run what was asked for, print the table."""
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--store", choices=storage.STORES, default="sqlite")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="run the rows whose name contains this")
    parser.add_argument("--write", type=Path, help="also write the table there")
    options = parser.parse_args()
    storage.chosen = options.store
    with started() as peer:
        lines = table(peer, options.rounds, options.only)
    if options.write:
        _keep(options.write, options.store, "\n".join(lines) + "\n")


def table(peer: str, rounds: int, only: str) -> list[str]:
    """Print the rows as they come."""
    lines = ["| | median | lowest–highest | at least | the aim |", "|---|---|---|---|---|"]
    print("\n".join(lines))
    medians: dict[str, float] = {}
    for name, unit, floor, aim, scenario in ROWS[storage.chosen]:
        if only and only not in name:
            continue
        figures = [_round(scenario, peer) for _ in range(rounds)]
        medians[name] = statistics.median(figures)
        span = f"{_show(min(figures))}–{_show(max(figures))}"
        lines.append(f"| {name} | {_show(medians[name])} {unit} | {span} | {floor} | {aim} |")
        print(lines[-1], flush=True)
    for what, ours, other in RATIOS:
        if medians.get(ours) and medians.get(other):
            lines.append(f"| {what} | {medians[ours] / medians[other]:.0%} | | | |")
            print(lines[-1])
    return lines


def _round(scenario: Scenario, peer: str) -> float:
    async def run() -> float:
        return await scenario(peer)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(run())


def _show(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.2g}" if figure < 10 else f"{figure:.1f}"


def _keep(page: Path, store: str, table: str) -> None:
    """Replace the store's part of the page; PostgreSQL's is the second one."""
    text = page.read_text() if page.exists() else _FIRST
    first, _, second = text.partition(_SECOND)
    if store == "sqlite":
        first = _FIRST + table + "\n" * bool(second)
    else:
        second = table
    page.write_text(first.rstrip("\n") + "\n" + ("\n" + _SECOND + second if second else ""))


_FIRST = """# Benchmarks

Printed by `make bench`: two cores, SQLite with `synchronous=FULL`, client, platform and upstream on the same machine.
Medians of the rounds, each on a new database file.

"""
_SECOND = """## PostgreSQL

Printed by `make bench STORE=postgresql`: the same two cores, shared with a PostgreSQL that syncs each commit.
Each round has a new database.

"""

if __name__ == "__main__":
    main()
