"""A script from a seed."""

from random import Random
from typing import Any

from stepwell.testing.platform.simulation.script import Do, Fault, Function, Script, Send, Stage

EVENTS = ("go", "stop", "other")
_SETTINGS: dict[str, Any] = {
    "concurrency": {"limit": 1, "key": "event.data.n"},
    "throttle": {"limit": 1, "period": "10s"},
    "rateLimit": {"limit": 1, "period": "1m", "key": "event.data.n"},
    "debounce": {"period": "5s", "key": "event.data.n", "timeout": "20s"},
    "singleton": {"mode": "cancel", "key": "event.data.n"},
    "priority": {"run": "event.data.n"},
    "timeouts": {"start": "30s", "finish": "2m"},
    "cancel": [{"event": "stop", "if": "async.data.n == event.data.n"}],
}
_ALONE: tuple[dict[str, Any], ...] = (
    {"batchEvents": {"maxSize": 2, "timeout": "10s", "key": "event.data.n"}},
    {"singleton": {"mode": "skip"}},
    {"concurrency": {"fn": [{"limit": 1}]}},
    {"concurrency": {"limit": 2}},
)
_PACES: dict[str, tuple[dict[str, Any], ...]] = {
    "throttle": (
        {"limit": 2, "period": "10s", "burst": 3},
        {"limit": 1, "period": "5s", "key": "event.data.n"},
        {"limit": 3, "period": "10s", "key": "event.data.n", "burst": 2},
    ),
    "rateLimit": ({"limit": 2, "period": "20s"}, {"limit": 3, "period": "1m", "key": "event.data.n"}),
    "fetch_throttle": ({"limit": 1, "period": "3s"}, {"limit": 4, "period": "10s", "burst": 2, "key": "event.data.n"}),
}
_KINDS = ("run", "run", "run", "sleep", "event", "signal", "invoke", "fetch", "fetch", "once", "send")
_ENDS = ("before", "after", "stop")
_TROUBLES = ("stall", "refuse", "jump", "lost", "late", "twice", "unanswered")


def script(seed: int) -> Script:
    """The simulation of a seed."""
    rng = Random(f"script {seed}")  # noqa: S311 - no secret; text, because its hash does not depend on the process
    until = rng.choice((20_000, 60_000))
    processes = rng.choice((1, 1, 2, 2, 3))
    count = rng.randint(1, 3)
    functions = [_function(rng, number, count) for number in range(count)]
    hosts = _paces(seed, functions)
    heals = rng.random() < 0.75
    sends = [*_sends(rng, until), *_pauses(seed, until), *(_crowd(seed, until) if hosts else ())]
    return Script(
        seed=seed,
        processes=processes,
        until=until,
        heals=heals,
        functions=functions,
        hosts=hosts,
        sends=sorted(sends, key=lambda send: send.at),
        faults=sorted((_fault(rng, until) for _ in range(rng.randint(0, 6))), key=lambda fault: fault.at),
    )


def _function(rng: Random, number: int, count: int) -> Function:
    if rng.random() < 0.3:
        settings = rng.choice(_ALONE)
    else:
        settings = {name: _SETTINGS[name] for name in rng.sample(sorted(_SETTINGS), rng.choice((0, 0, 1, 1, 2)))}
    stages = [_stage(rng, f"s{place}", number, count) for place in range(rng.randint(0, 4))]
    return Function(f"a-f{number}", EVENTS[number], dict(settings), stages, raises=rng.random() < 0.1)


def _paces(seed: int, functions: list[Function]) -> dict[str, dict[str, Any]]:
    """In one of three simulations the upstream has a pace, and some functions have, too."""
    rng = Random(f"paces {seed}")  # noqa: S311 - no secret
    if rng.random() < 2 / 3:
        return {}
    for function in functions:
        for name, choices in _PACES.items():
            if rng.random() < 0.4 and "batchEvents" not in function.settings:
                function.settings[name] = rng.choice(choices)
    return {"up": {"rate": rng.choice(("1/4s", "2/5s", "5/s")), "burst": rng.choice((0, 0, 1, 3))}}


def _stage(rng: Random, name: str, number: int, count: int) -> Stage:
    if rng.random() < 0.15:
        steps = [Do("run", f"{name}{letter}", ms=rng.choice((0, 50))) for letter in "abc"[: rng.randint(1, 3)]]
        return Stage(steps, told=True)
    size = rng.choice((1, 1, 1, 2, 3))
    does = [_do(rng, f"{name}{letter}", number, count) for letter in "abc"[:size]]
    return Stage(does, race=size > 1 and rng.random() < 0.3)


def _do(rng: Random, name: str, number: int, count: int) -> Do:
    kind = rng.choice(_KINDS)
    if kind == "invoke" and number + 1 >= count:
        kind = "run"  # only functions after it, so that programs end
    if kind == "send" and number:
        kind = "sleep"
    target = {"event": "other", "send": "other", "signal": rng.choice("pq"), "invoke": f"a-f{number + 1}"}.get(kind, "")
    fails = rng.choice((0, 0, 0, 1, 2, 9)) if kind in ("run", "fetch") else 0
    return Do(kind, name, rng.choice((0, 10, 500, 2_000, 10_000)), fails, target)


def _sends(rng: Random, until: int) -> list[Send]:
    """Some at any time, some at the same time as others."""
    sends: list[Send] = []
    for _ in range(rng.randint(1, 14)):
        at = sends[-1].at + rng.choice((0, 1, 50)) if sends and rng.random() < 0.4 else rng.randrange(until)
        sends.append(_send(rng, at))
    return sends


def _crowd(seed: int, until: int) -> list[Send]:
    """Where something has a pace many come within a short time."""
    rng = Random(f"crowd {seed}")  # noqa: S311 - no secret
    begin = rng.randrange(until)
    return [_send(rng, begin + rng.choice((0, 1, 50, 2_000, 5_000))) for _ in range(8)]


def _pauses(seed: int, until: int) -> list[Send]:
    """In one of four simulations a function is paused for a while, or for good; its runs go on, or end (``x``)."""
    rng = Random(f"pauses {seed}")  # noqa: S311 - no secret
    if rng.random() < 0.75:
        return []
    number, begin = rng.randrange(3), rng.randrange(until)
    found = [Send(begin, "pause", rng.choice(("", "x")), number)]
    return found if rng.random() < 0.3 else [*found, Send(rng.randrange(begin, until), "resume", "", number)]


def _send(rng: Random, at: int) -> Send:
    kind = rng.choice(("event",) * 8 + ("signal", "signal", "cancel", "poke", "cancel_many"))
    name = rng.choice("pq") if kind == "signal" else rng.choice(("go", "go", "go", "stop", "other"))
    return Send(at, kind, name, rng.randrange(3), rng.choice(("", "", "", "same")))


def _fault(rng: Random, until: int) -> Fault:
    kind = rng.choice(_ENDS + _TROUBLES + ("stall",))
    ms = rng.choice((100, 3_000, 20_000, 40_000))
    if kind == "jump":
        ms *= rng.choice((1, -1))
    fault = Fault(rng.randrange(until), kind, ms, rng.randrange(3))
    if kind == "refuse" and fault.at % 2:
        fault.kind = "silent"
    return fault
