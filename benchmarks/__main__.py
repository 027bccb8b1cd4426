"""``make bench``: runs every scenario a few rounds and prints the table; ``--write`` keeps it in docs/benchmarks.md."""

import argparse
import asyncio
import statistics
import subprocess
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from benchmarks import large, process, scenarios
from stepwell.server.host import new_loop

Scenario = Callable[[str], Awaitable[float]]

ROWS: list[tuple[str, str, str, str, Scenario]] = [
    ("runs of one step, in process, 50 at once", "/s", "2,000", "7,000", scenarios.one_step_runs),
    ("sequential steps, in process, run of 300", "/s", "1,000", "1,500", partial(scenarios.sequential, steps=300)),
    ("sequential steps, in process, run of 1,000", "/s", "1,000", "1,500", partial(scenarios.sequential, steps=1_000)),
    ("runs of one fetch, functions over HTTP, 50 at once", "/s", "500", "1,000", scenarios.http_fetch_runs),
    ("300 parallel fetches in one run, in process", "/s", "1,500", "3,000", scenarios.parallel_fetches),
    ("the same 300 requests by plain aiohttp", "/s", "", "", scenarios.plain_fetches),
    ("one run, event in to run done, in process", "ms", "5", "2", scenarios.latency),
    ("one run of one fetch, event in to run done, over HTTP", "ms", "15", "6", scenarios.http_latency),
    ("300 sequential steps of one run, over HTTP", "/s", "300", "900", scenarios.http_sequential),
    ("100 MB downloaded by one durable fetch and read, in process", "MB/s", "", "", large.durable_speed),
    ("the same 100 MB by plain aiohttp", "MB/s", "", "", large.plain_speed),
    ("the same by plain aiohttp into a file, synced", "MB/s", "", "", large.saved_speed),
    ("extra memory of the durable 100 MB", "MB", "40", "20", large.durable_memory),
    ("idle memory of `stepwell dev`", "MB", "80", "60", process.idle_memory),
    ("start of `stepwell dev` to healthy", "s", "1", "0.5", process.start_time),
]


def main() -> None:
    """Run what was asked for, print the table."""
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="run the rows whose name contains this")
    parser.add_argument("--write", type=Path, help="also write the table there")
    options = parser.parse_args()
    peer = subprocess.Popen([sys.executable, "-m", "benchmarks.peers"], stdout=subprocess.PIPE, text=True)
    try:
        port = peer.stdout.readline().strip() if peer.stdout else ""
        lines = table(f"http://127.0.0.1:{port}", options.rounds, options.only)
    finally:
        peer.terminate()
        peer.wait(10)
    if options.write:
        options.write.write_text(_PAGE + "\n".join(lines) + "\n")


def table(peer: str, rounds: int, only: str) -> list[str]:
    """Print the rows as they come."""
    lines = ["| | median | lowest–highest | at least | the aim |", "|---|---|---|---|---|"]
    print("\n".join(lines))
    medians: dict[str, float] = {}
    for name, unit, floor, aim, scenario in ROWS:
        if only and only not in name:
            continue
        figures = [_round(scenario, peer) for _ in range(rounds)]
        medians[name] = statistics.median(figures)
        span = f"{_show(min(figures))}–{_show(max(figures))}"
        lines.append(f"| {name} | {_show(medians[name])} {unit} | {span} | {floor} | {aim} |")
        print(lines[-1], flush=True)
    for what, ours, plain in (("fetch", 4, 5), ("100 MB", 9, 10)):
        durable, bare = medians.get(ROWS[ours][0]), medians.get(ROWS[plain][0])
        if durable and bare:
            lines.append(f"| durable {what}, share of the plain client's rate | {durable / bare:.0%} | | | |")
            print(lines[-1])
    return lines


def _round(scenario: Scenario, peer: str) -> float:
    async def run() -> float:
        return await scenario(peer)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(run())


def _show(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.2g}" if figure < 10 else f"{figure:.1f}"


_PAGE = """# Benchmarks

Printed by `make bench`: two cores, SQLite with `synchronous=FULL`, client, platform and upstream on the same machine.
Medians of the rounds, each on a new database file.

"""

if __name__ == "__main__":
    main()
