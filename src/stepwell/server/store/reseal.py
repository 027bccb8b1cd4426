"""Records sealed anew, with the newest key. None: it is sealed with that one already."""

from base64 import b64decode
from collections.abc import Callable
from typing import TypeVar

from stepwell.core.model import Cancellation, Item, Run, Step, StoredEvent, Wait
from stepwell.server.crypto import pieces
from stepwell.server.crypto.seal import Sealer, sealed_with
from stepwell.server.store.sealed_records import (
    open_event,
    open_item,
    open_run,
    open_step,
    piece_place,
    seal_event,
    seal_item,
    seal_run,
    seal_step,
)
from stepwell.server.store.sealed_waits import open_cancellation, open_wait, seal_cancellation, seal_wait, wait_keys

_T = TypeVar("_T")


def event(keys: Sealer, found: StoredEvent) -> StoredEvent | None:
    """An event."""
    return _again(keys, found, (found.body,), open_event, seal_event)


def run(keys: Sealer, found: Run) -> Run | None:
    """A run's header; one without output and error holds nothing that is sealed."""
    if found.output is None and found.error is None:
        return None
    return _again(keys, found, (found.output,), open_run, seal_run)


def step(keys: Sealer, found: Step) -> Step | None:
    """A step."""
    return _again(keys, found, (found.memo, found.input), open_step, seal_step)


def item(keys: Sealer, found: Item) -> Item | None:
    """A work item."""
    return _again(keys, found, (found.payload,), open_item, seal_item)


def wait(keys: Sealer, found: Wait) -> Wait | None:
    """A wait; what it is found by changes with the key."""
    if all(name == keys.key for name in wait_keys(found)):
        return None
    return seal_wait(keys, open_wait(keys, found))


def cancellation(keys: Sealer, found: Cancellation) -> Cancellation | None:
    """A cancellation of many runs."""
    if found.condition is None or sealed_with(b64decode(found.condition)) == keys.key:
        return None
    return seal_cancellation(keys, open_cancellation(keys, found))


def body(keys: Sealer, ref: str, data: bytes) -> bytes | None:
    """A whole body."""
    return _value(keys, data, ref.encode(), pieces.MAGIC)


def piece(keys: Sealer, ref: str, start: int, data: bytes) -> bytes | None:
    """A piece of a body, from byte ``start`` on. It is as long as it was."""
    return _value(keys, data, piece_place(ref, start), pieces.IN_A_ROW)


def _again(
    keys: Sealer,
    found: _T,
    values: tuple[bytes | None, ...],
    unseal: Callable[[Sealer, _T], _T],
    seal: Callable[[Sealer, _T], _T],
) -> _T | None:
    if all(value is None or sealed_with(value) == keys.key for value in values):
        return None
    return seal(keys, unseal(keys, found))


def _value(keys: Sealer, data: bytes, place: bytes, magic: bytes) -> bytes | None:
    part = pieces.part(data[: pieces.HEAD], 0, None)
    if part is None:
        return pieces.seal(keys, data, place, magic) if magic == pieces.MAGIC and data else None
    if part.head[4:8].hex() == keys.key:
        return None
    return pieces.seal(keys, part.open(keys, data[part.start : part.end], place), place, magic)
