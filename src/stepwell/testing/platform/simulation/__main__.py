"""``python -m stepwell.testing.platform.simulation --seeds 10000``: says which seeds fail, and with how little."""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor

import click
import msgspec

from stepwell.testing.platform.simulation.generate import script
from stepwell.testing.platform.simulation.script import Script
from stepwell.testing.platform.simulation.shrink import shrink
from stepwell.testing.platform.simulation.world import simulate

_CHUNK = 20


def failing(seeds: range) -> dict[int, list[str]]:
    """What is wrong, by seed."""
    return {seed: problems for seed in seeds if (problems := simulate(script(seed)).problems)}


def story(seed: int) -> str:
    """A failing seed told in full: the shrunk script, what is wrong, and the end of the trace."""
    small = shrink(script(seed))
    report = simulate(small, keep=True)
    lines = [
        f"seed {seed} fails; the least that fails still:",
        _text(small),
        "(keep it: a line of tests/simulation/failed.jsonl) the end of its trace:",
    ]
    lines += [f"  {line[:300]}" for line in report.lines[-40:]]
    return "\n".join((*lines, *(f"  ! {problem}" for problem in report.problems)))


def _text(small: Script) -> str:
    """As a line of tests/simulation/failed.jsonl, which keeps it from coming back."""
    return msgspec.json.encode({"found": "", "script": small}).decode()


def _chunks(first: int, count: int) -> Iterator[range]:
    for start in range(first, first + count, _CHUNK):
        yield range(start, min(start + _CHUNK, first + count))


def _all(parts: list[range], jobs: int) -> Iterable[dict[int, list[str]]]:
    if jobs == 1:
        yield from map(failing, parts)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(failing, parts)


@click.command()
@click.option("--seeds", default=1_000, show_default=True, help="How many.")
@click.option("--first", default=0, show_default=True, help="The first one.")
@click.option("--jobs", default=os.cpu_count() or 1, show_default="one a core", help="Processes to use.")
@click.option("--all", "everything", is_flag=True, help="Go on after a seed that fails.")
def main(seeds: int, first: int, jobs: int, everything: bool) -> None:
    """Simulate whole platforms, one for each seed, and say which seeds fail."""
    done, bad = 0, dict[int, list[str]]()
    parts = list(_chunks(first, seeds))
    for found, part in zip(_all(parts, jobs), parts, strict=True):
        done += len(part)
        bad |= found
        click.echo(f"\r{done} of {seeds} seeds, {len(bad)} failed", err=True, nl=False)
        if bad and not everything:
            break
    click.echo("", err=True)
    for seed in bad:
        click.echo(story(seed))
    if bad:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
