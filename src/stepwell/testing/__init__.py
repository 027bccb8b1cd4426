"""Tests of durable functions: run them in memory on a virtual clock, script their HTTP, record it and play it back."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepwell.testing.cassette import Cassette, CassetteMiss
    from stepwell.testing.clock import FakeClock
    from stepwell.testing.http import Failure, Reply, Rule, ScriptedHttp, SentRequest, UnexpectedRequest
    from stepwell.testing.outcome import RunFailed, RunOutcome, StepOutcome
    from stepwell.testing.overrides import UnknownStep, each
    from stepwell.testing.run import arun_function, run_function

__all__ = [
    "Cassette",
    "CassetteMiss",
    "Failure",
    "FakeClock",
    "Reply",
    "Rule",
    "RunFailed",
    "RunOutcome",
    "ScriptedHttp",
    "SentRequest",
    "StepOutcome",
    "UnexpectedRequest",
    "UnknownStep",
    "arun_function",
    "each",
    "run_function",
]

_MODULES = {
    "cassette": ("Cassette", "CassetteMiss"),
    "clock": ("FakeClock",),
    "http": ("Failure", "Reply", "Rule", "ScriptedHttp", "SentRequest", "UnexpectedRequest"),
    "outcome": ("RunFailed", "RunOutcome", "StepOutcome"),
    "overrides": ("UnknownStep", "each"),
    "run": ("arun_function", "run_function"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    """Everything is loaded when it is asked for: the plugin is part of every pytest run, also of those without a use for it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
