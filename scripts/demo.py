"""``make demo``: the examples on a local platform, shown live. ``--keep`` stays up until Ctrl-C."""

import argparse
import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
DB = ".stepwell/demo.db"
FILES = ["alice.txt", "faust.txt", "odyssey.txt", "walden.txt", "ulysses.txt", "emma.txt"]
EVENTS = [
    {"name": "file.wanted", "data": {"name": "stepwell.txt", "word": "step"}},
    {"name": "files.wanted", "data": {"files": FILES}},
    {"name": "weather.asked", "data": {"question": "What is the weather in Oslo and Rome?"}},
    {"name": "demo.flaky", "data": {}},
]
_START_S = 30.0
_DEMO_S = 60.0
_PAINT = {"Completed": "32", "Failed": "31", "Retrying": "33", "Waiting": "36", "Planned": "36"}


def main() -> int:
    """Run the demo; the exit code."""
    parser = argparse.ArgumentParser(prog="make demo")
    parser.add_argument("--keep", action="store_true", help="stay up until Ctrl-C")
    options = parser.parse_args()
    try:
        return asyncio.run(demo(keep=options.keep))
    except KeyboardInterrupt:
        return 0
    except TimeoutError as problem:
        print(f"demo: {problem}", file=sys.stderr)
        return 1


async def demo(*, keep: bool) -> int:
    """Start everything, send the events, follow the runs, say what was seen."""
    sample, port = free_port(), 8288 if is_free(8288) else free_port()
    url = f"http://127.0.0.1:{port}"
    env = {**os.environ, "SAMPLE_API": f"http://127.0.0.1:{sample}"}
    api = [sys.executable, "-m", "examples.sample_api", "--port", str(sample), "--delay-ms", "150"]
    app = ["dev", "examples/python/demo_app.py", "--port", str(port), "--db", f"sqlite:///{DB}", "--no-discovery"]
    dev = [str(BIN / "stepwell"), *app, "--retry-interval", "700ms"]
    async with process(api, env, f"http://127.0.0.1:{sample}/health"), process(dev, env, f"{url}/health"):
        print(f"the platform listens at {url}, the sample API at {env['SAMPLE_API']}\n")
        runs = await follow(url)
        await summary(url, runs, env["SAMPLE_API"])
        if keep:
            print("\nstaying up; Ctrl-C ends it")
            await asyncio.Event().wait()
    return 0 if all(run["status"] == "Completed" for run in runs) else 1


async def follow(url: str) -> list[dict[str, Any]]:
    """Send the events and print every change of their runs until all have ended."""
    async with httpx2.AsyncClient(base_url=url, timeout=10) as http:
        ids = (await http.post("/e/demo", json=EVENTS)).raise_for_status().json()["ids"]
        seen: dict[str, str] = {}
        end = time.monotonic() + _DEMO_S
        while time.monotonic() < end:
            runs = [run for event in ids for run in (await http.get(f"/v1/events/{event}/runs")).json()["data"]]
            for run in runs:
                steps = (await http.get(f"/v1/runs/{run['run_id']}/steps")).json()["data"]
                report(run, steps, seen)
            if len(runs) >= len(EVENTS) and all(run["ended_at"] for run in runs):
                return runs
            await asyncio.sleep(0.1)
    raise TimeoutError(f"the runs did not end within {_DEMO_S:g} s; see `{BIN / 'stepwell'} runs --url {url}`")


def report(run: dict[str, Any], steps: list[dict[str, Any]], seen: dict[str, str]) -> None:
    """Print what is new: a run's status, a step's, an attempt that has to be repeated."""
    function = str(run["function"]).removeprefix("examples-")
    if not run["ended_at"]:
        show(seen, run["run_id"], function, "the run", run["status"].lower(), "1")
    for step in steps:
        for attempt in step["attempts"]:
            if attempt.get("delay_ms") is not None:
                why = attempt.get("reason") or attempt.get("error") or "failed"
                text = f"attempt {attempt['number'] + 1}: {why}; again in {attempt['delay_ms'] / 1000:.1f} s"
                show(seen, f"{step['id']}{run['run_id']}{attempt['number']}", function, step["name"], text, "33")
        took = f" after {len(step['attempts'])} attempts" if len(step["attempts"]) > 1 and step["ended_at"] else ""
        text = step["status"].lower() + took
        show(seen, step["id"] + run["run_id"], function, step["name"], text, _PAINT.get(step["status"], "0"))
    if run["ended_at"]:
        show(seen, run["run_id"], function, "the run", run["status"].lower(), _PAINT.get(run["status"], "1"))


def show(seen: dict[str, str], key: str, function: str, what: str, text: str, paint: str) -> None:
    """One line, once."""
    if seen.get(key) == text:
        return
    seen[key] = text
    if sys.stdout.isatty():
        text = f"\x1b[{paint}m{text}\x1b[0m"
    print(f"{time.strftime('%H:%M:%S')}  {function:<20} {what:<44} {text}", flush=True)


async def summary(url: str, runs: list[dict[str, Any]], sample: str) -> None:
    """Results, where the data lives, what to try next."""
    print("\nresults")
    for run in runs:
        print(f"  {str(run['function']).removeprefix('examples-'):<20} {run.get('output')}")
    async with httpx2.AsyncClient() as http:
        stats = (await http.get(f"{sample}/stats")).json()
    print(f"\nthe sample API saw {stats['total']} requests, {stats['max_in_flight']} at once at the most")
    print(f"the state is in {DB}: kill the platform at any time, start it again, and every run goes on")
    tool = ".venv/bin/stepwell"
    print("\ntry next")
    print("  make demo KEEP=1                     the same, and stay up")
    print(f"  {tool} runs --db sqlite:///{DB}")
    print(f"  {tool} runs {runs[0]['run_id']} --db sqlite:///{DB}")
    print(f"  {tool} dev examples/python/app.py    the functions are in examples/python: change them")


@contextlib.asynccontextmanager
async def process(command: list[str], env: dict[str, str], health: str) -> AsyncIterator[None]:
    """A process, from healthy to terminated. What it prints goes to .stepwell/demo.log."""
    (ROOT / ".stepwell").mkdir(exist_ok=True)
    log = (ROOT / ".stepwell" / "demo.log").open("ab")
    child = subprocess.Popen(command, env=env, cwd=ROOT, stdout=log, stderr=log)
    try:
        await healthy(child, health)
        yield
    finally:
        child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(child.wait, 40)
        child.kill()
        log.close()


async def healthy(child: "subprocess.Popen[bytes]", url: str) -> None:
    """Wait until the address answers."""
    end = time.monotonic() + _START_S
    async with httpx2.AsyncClient() as http:
        while time.monotonic() < end and child.poll() is None:
            with contextlib.suppress(httpx2.TransportError):
                if (await http.get(url)).status_code == 200:
                    return
            await asyncio.sleep(0.05)
    raise TimeoutError(f"{url} did not come up; .stepwell/demo.log says why")


def free_port() -> int:
    """A port that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether nobody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


if __name__ == "__main__":
    sys.exit(main())
