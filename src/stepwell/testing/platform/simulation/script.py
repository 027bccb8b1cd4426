"""What a simulation does, as data: functions and their programs, what is sent, what goes wrong. Times in milliseconds."""

from typing import Any

import msgspec


class Do(msgspec.Struct, omit_defaults=True):
    """One step. ``kind``: run, sleep, event, signal, invoke, fetch, once (a fetch at most once) or send."""

    kind: str
    name: str
    ms: int = 0
    """How long it takes, sleeps, or waits at most."""
    fails: int = 0
    """Its first attempts fail."""
    target: str = ""
    """The event or signal that it waits for or sends, the function that it invokes."""


class Stage(msgspec.Struct, omit_defaults=True):
    """Steps side by side. ``race``: the function goes on after the first; ``told``: reported while the call goes on."""

    does: list[Do]
    race: bool = False
    told: bool = False


class Function(msgspec.Struct, omit_defaults=True):
    """A function: its settings as an SDK registers them, and what it does."""

    id: str
    event: str
    settings: dict[str, Any] = {}
    stages: list[Stage] = []
    raises: bool = False


class Send(msgspec.Struct, omit_defaults=True):
    """Somebody asks for something at a time. ``kind``: event, signal, cancel (the ``n``-th run), poke, cancel_many,
    pause or resume (the ``n``-th function)."""

    at: int
    kind: str
    name: str = ""
    n: int = 0
    id: str = ""


class Fault(msgspec.Struct, omit_defaults=True):
    """Something goes wrong from ``at`` on, for ``ms``, in the ``n``-th process.

    ``kind``: before or after (killed at the next commit, before or after it is stored), stop (as told to, and started
    again), stall, refuse (the store does not work), silent (the store does, and every other time its answer is lost), jump
    (its clock moves by ``ms``); and on the way to apps and
    upstreams, each message with a probability of one half: lost, late, twice, unanswered.
    """

    at: int
    kind: str
    ms: int = 0
    n: int = 0


class Script(msgspec.Struct, omit_defaults=True):
    """A whole simulation. ``heals``: faults end at ``until``, and then every run must end; else they go on to the end."""

    seed: int
    processes: int = 1
    until: int = 60_000
    heals: bool = True
    functions: list[Function] = []
    hosts: dict[str, dict[str, Any]] = {}
    """Rules of hosts, as in settings; the upstream is ``up``."""
    sends: list[Send] = []
    faults: list[Fault] = []
