"""Makes a failing script smaller: takes away what it fails without."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

from msgspec.structs import replace

from stepwell.testing.platform.simulation.script import Function, Script
from stepwell.testing.platform.simulation.world import simulate

_T = TypeVar("_T")
MOST = 400
"""Simulations that a shrinking may take."""


@dataclass(slots=True)
class _Budget:
    left: int


def shrink(script: Script, most: int = MOST) -> Script:
    """The smallest script that was found to fail still, in whatever way."""
    budget = _Budget(most)
    while (smaller := _smaller(script, budget)) is not None:
        script = smaller
    return script


def _smaller(script: Script, budget: _Budget) -> Script | None:
    for candidate in _candidates(script):
        if budget.left <= 0:
            return None
        budget.left -= 1
        if simulate(candidate).problems:
            return candidate
    return None


def _candidates(script: Script) -> Iterator[Script]:
    for count in (1, 2):
        if count < script.processes:
            yield replace(script, processes=count)
    for place in range(len(script.faults)):
        yield replace(script, faults=_without(script.faults, place))
    for place in range(len(script.sends)):
        yield replace(script, sends=_without(script.sends, place))
    if script.hosts:
        yield replace(script, hosts={})
    for place, function in enumerate(script.functions):
        if len(script.functions) > 1:
            yield replace(script, functions=_without(script.functions, place))
        for simpler in _simpler(function):
            functions = list(script.functions)
            functions[place] = simpler
            yield replace(script, functions=functions)


def _simpler(function: Function) -> Iterator[Function]:
    for name in function.settings:
        yield replace(function, settings={key: value for key, value in function.settings.items() if key != name})
    for place, stage in enumerate(function.stages):
        yield replace(function, stages=_without(function.stages, place))
        for number in range(len(stage.does) if len(stage.does) > 1 else 0):
            stages = list(function.stages)
            stages[place] = replace(stage, does=_without(stage.does, number))
            yield replace(function, stages=stages)


def _without(values: list[_T], place: int) -> list[_T]:
    return values[:place] + values[place + 1 :]
