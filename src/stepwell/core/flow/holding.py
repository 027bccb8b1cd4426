"""Who waits for which limit: what is held back, put together by what holds it. Pure."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from stepwell.core.flow.gates import Shut
from stepwell.core.model import Item, Reason

GATES = 200
"""So many groups of work that is held back alike are looked at: the largest."""


class Waiter(msgspec.Struct, frozen=True):
    """A work item that is held back since ``due_at`` (ms). ``function_id``: of its run, empty where there is none."""

    run_id: str
    key: str
    function_id: str
    due_at: int


class Holding(msgspec.Struct, frozen=True):
    """What holds work back: ``count`` items, of which ``items`` are the first."""

    shut: Shut
    count: int
    items: tuple[Waiter, ...]


class Behind(NamedTuple):
    """Work that is held back alike: how much there is, and the first of it, each with the function of its run."""

    size: int
    items: list[tuple[Item, str]]


def holdings(groups: Iterable[Behind], shut: Callable[[Item], Shut | None], limit: int) -> list[Holding]:
    """What a store says of work that is held back (``Store.held``). A group whose first items may pass by now is left out."""
    found: dict[tuple[str, Reason], Holding] = {}
    for group in groups:
        by = next((by for item, _ in group.items if (by := shut(item)) is not None), None)
        if by is None:
            continue
        where = (by.by.bucket, by.reason)
        known = found.get(where) or Holding(by, 0, ())
        waiters = (*known.items, *(Waiter(item.run_id, item.key, name, item.due_at) for item, name in group.items))
        first = sorted(waiters, key=lambda one: (one.due_at, one.run_id, one.key))[:limit]
        found[where] = replace(known, count=known.count + group.size, items=tuple(first))
    return sorted(found.values(), key=lambda one: (-one.count, one.shut.by.bucket, one.shut.reason))
