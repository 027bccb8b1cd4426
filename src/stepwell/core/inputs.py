"""What can happen to a run. Each is the outcome of a work item, or a word from outside."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from stepwell.core.flow.hosts import NO_RULES, HostRules
from stepwell.core.model import Item
from stepwell.core.outputs import Commit
from stepwell.wire.calls import Answer
from stepwell.wire.fetch import FetchOutcome, FetchResponse
from stepwell.wire.ops import Op


def _no_secrets() -> str:
    raise RuntimeError("this engine has no source of secrets: give Env one")


@dataclass(slots=True, frozen=True)
class Env:
    """What a decision may know besides the state: the time (ms), a random number in [0, 1), the flat retry interval, hosts."""

    now: int
    jitter: float = 0.5
    flat_retry_ms: int | None = None
    hosts: HostRules = NO_RULES
    public_url: str = ""
    """Where upstreams reach the platform's API; empty where they can not."""
    secret: Callable[[], str] = _no_secrets
    """Makes a text of letters, digits, ``-`` and ``_`` that nobody can guess."""


@dataclass(slots=True, frozen=True)
class Answered:
    """The app answered the call of ``item``, which carried the first ``sent`` entries of the stack."""

    item: Item
    sent: int
    answer: Answer
    started_at: int


class Fetched(msgspec.Struct, frozen=True):
    """An attempt of a request ended."""

    item: Item
    outcome: FetchOutcome
    started_at: int


@dataclass(slots=True, frozen=True)
class Fired:
    """The time of a timer has come, or what cancels the run. ``parents``: as of ``Cancelled``."""

    item: Item
    parents: tuple[str, ...] = ()


@dataclass(slots=True, frozen=True)
class Began:
    """The run's first call began ``at`` (ms). Told of runs that have a time-out; it goes on."""

    at: int


@dataclass(slots=True, frozen=True)
class Held:
    """The item could not be worked on now (its app is not connected); it comes back after ``delay_ms``, uncounted.

    ``tried_at`` (ms): when the attempt began that came to nothing.
    """

    item: Item
    delay_ms: int
    reason: str
    tried_at: int


@dataclass(slots=True, frozen=True)
class Ready:
    """The time of a run that waited for more events has come. ``started``: the commit that would start it anew.

    ``event_ids`` and ``events`` are all of its events, the first is the trigger; ``parents`` the steps that wait for it.
    """

    item: Item
    started: Commit
    event_ids: tuple[str, ...]
    events: Sequence[bytes]
    parents: tuple[str, ...]


@dataclass(slots=True, frozen=True)
class Checkpointed:
    """The app reports steps while its call is still in flight (protocol 1.8)."""

    ops: Sequence[Op]


@dataclass(slots=True, frozen=True)
class CalledBack:
    """The upstream made the request that the step waits for; ``response`` is it, as the function gets it."""

    step_id: str
    response: FetchResponse


@dataclass(slots=True, frozen=True)
class Poked:
    """The app has found something new on its own and wants to be called."""


@dataclass(slots=True, frozen=True)
class Cancelled:
    """Somebody wants the run to end now. ``parents``: steps that wait for it, where its header does not know of them yet."""

    reason: str = "cancelled"
    parents: tuple[str, ...] = ()


@dataclass(slots=True, frozen=True)
class Broken:
    """The run can not go on with the item, mostly as the platform itself failed on it; better an ended run that says so than
    one that hangs."""

    item: Item | None
    message: str
    name: str = "InternalError"


Input = Ready | Broken | Answered | Began | Fetched | Fired | Held | Checkpointed | Poked | Cancelled | CalledBack
