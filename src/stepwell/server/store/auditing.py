"""Looks at everything that is stored, a few runs at a time, for what must never be (``core.invariants``). Reads only.

Each batch is of one moment, so what processes do meanwhile is no finding.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
from msgspec.structs import replace

from stepwell.core import invariants
from stepwell.core.invariants import Stored
from stepwell.core.model import Item
from stepwell.server.crypto.seal import CannotOpen, Sealer
from stepwell.server.store.sealed_records import open_step

_RUNS = 20
_MOST = 100
"""More sentences are counted, and not kept."""


class Slots(msgspec.Struct, frozen=True):
    """Every claimed item, and how many runs hold a slot as a whole, by bucket; of one moment."""

    claimed: Sequence[Item]
    holders: dict[str, int]


class Audited(Protocol):
    """A database that is read while others write to it. Every verb may raise StoreError."""

    async def runs(self, after: str, limit: int) -> list[Stored]:
        """The next runs by id, with all that is stored of each; of one moment."""
        ...

    async def these(self, run_ids: Sequence[str]) -> list[Stored]:
        """Those runs, likewise."""
        ...

    async def slots(self) -> Slots:
        """What is claimed and held."""
        ...

    async def close(self) -> None:
        """Let go of it."""
        ...


class Audit(msgspec.Struct):
    """How many runs were looked at; one sentence for each thing that is wrong, the first ones; how many ``more`` there are."""

    runs: int = 0
    problems: list[str] = []
    more: int = 0

    def found(self, sentences: Sequence[str]) -> None:
        """Keep sentences, or count them."""
        room = max(0, _MOST - len(self.problems))
        self.problems += sentences[:room]
        self.more += len(sentences[room:])


async def audit(
    source: Audited, keys: Sealer | None, now: int, so_far: Callable[[int], None] = lambda _: None
) -> Audit:
    """Look at everything. ``keys`` open what is sealed; None where nothing is. Raises StoreError.

    ``so_far``: called with how many runs have been looked at, again and again.
    """
    told, after = Audit(), ""
    singles: dict[str, list[str]] = {}
    while batch := await source.runs(after, _RUNS):
        after = batch[-1].run.run_id
        told.runs += len(batch)
        for stored in batch:
            told.found(_problems(stored, keys))
            _note_singles(stored, singles)
        so_far(told.runs)
    for ids in singles.values():
        if len(ids) > 1:
            told.found(await _alone(source, ids))
    slots = await source.slots()
    counted = [item for item in slots.claimed if item.expires_at is None or item.expires_at > now]
    told.found(invariants.over_limit(counted, slots.holders))
    return told


def _problems(stored: Stored, keys: Sealer | None) -> list[str]:
    try:
        opened = replace(stored, steps=[open_step(keys, step) for step in stored.steps]) if keys else stored
    except (CannotOpen, msgspec.DecodeError) as problem:
        return [f"run {stored.run.run_id} has a step that can not be read: {problem}"]
    return invariants.problems(opened)


def _note_singles(stored: Stored, singles: dict[str, list[str]]) -> None:
    if not stored.run.status.ended:
        for bucket in stored.run.buckets:
            if bucket.startswith("singleton:"):
                singles.setdefault(bucket, []).append(stored.run.run_id)


async def _alone(source: Audited, run_ids: Sequence[str]) -> list[str]:
    """They were seen one after the other: were they there together?"""
    found = await source.these(run_ids)
    return invariants.not_alone([one.run for one in found], [item for one in found for item in one.items])
