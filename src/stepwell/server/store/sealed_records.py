"""Records as a store keeps them that may not read them: what belongs to the user sealed, each value for its place."""

from collections.abc import Callable
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from stepwell.core.model import Attempt, Item, Run, RunView, Step, StoredEvent
from stepwell.server.crypto.seal import CannotOpen, Sealer
from stepwell.server.store.base import StoreError
from stepwell.server.store.codec import build_view

_T = TypeVar("_T")

IN_A_THREAD = 1024 * 1024
"""Bodies from this size on are sealed and opened in a thread."""
_EVENT = b"event"

_pack = msgspec.msgpack.Encoder().encode
_unpack_step = msgspec.msgpack.Decoder(tuple[bytes | None, bytes | None, tuple[Attempt, ...]]).decode
_unpack_run = msgspec.msgpack.Decoder(tuple[bytes | None, str | None]).decode


def seal_event(keys: Sealer, event: StoredEvent) -> StoredEvent:
    """The event, its body sealed."""
    return replace(event, body=keys.seal(event.body, _EVENT))


def open_event(keys: Sealer, event: StoredEvent) -> StoredEvent:
    """The event as it was. Raises :class:`CannotOpen`, as all that open do."""
    return replace(event, body=keys.open(event.body, _EVENT))


def seal_run(keys: Sealer, run: Run) -> Run:
    """The header, its output and error sealed together."""
    return replace(run, output=keys.seal(_pack((run.output, run.error)), run.run_id.encode()), error=None)


def open_run(keys: Sealer, run: Run) -> Run:
    """The header as it was."""
    if run.output is None:
        return run
    data = keys.open(run.output, run.run_id.encode())
    if data is run.output:
        return run
    output, error = _unpack_run(data)
    return replace(run, output=output, error=error)


def seal_step(keys: Sealer, step: Step) -> Step:
    """The step; memo, info and attempts sealed together, its input alone."""
    place = _place(step.run_id, step.step_id)
    if step.input is not None:
        step = replace(step, input=keys.seal(step.input, place))
    if step.memo is None and step.info is None and not step.attempts:
        return step
    data = _pack((step.memo, step.info, step.attempts))
    return replace(step, memo=keys.seal(data, place), info=None, attempts=())


def open_step(keys: Sealer, step: Step) -> Step:
    """The step as it was."""
    place = _place(step.run_id, step.step_id)
    if step.input is not None:
        step = replace(step, input=keys.open(step.input, place))
    if step.memo is None:
        return step
    data = keys.open(step.memo, place)
    if data is step.memo:
        return step
    memo, info, attempts = _unpack_step(data)
    return replace(step, memo=memo, info=info, attempts=attempts)


def open_view(keys: Sealer, view: RunView) -> RunView:
    """The run as it was, with its events and steps."""
    events = [keys.open(event, _EVENT) for event in view.events]
    return build_view(open_run(keys, view.run), events, [open_step(keys, step) for step in view.steps.values()])


def seal_item(keys: Sealer, item: Item) -> Item:
    """The item, its payload sealed."""
    if item.payload is None:
        return item
    return replace(item, payload=keys.seal(item.payload, _place(item.run_id, item.key)))


def open_item(keys: Sealer, item: Item, *, lenient: bool = False) -> Item:
    """``lenient``: an item that was claimed can not be refused; one that does not open ends its run with an error."""
    if item.payload is None:
        return item
    try:
        return replace(item, payload=keys.open(item.payload, _place(item.run_id, item.key)))
    except CannotOpen:
        if lenient:
            return item
        raise


def opening(work: Callable[[], _T]) -> _T:
    """What ``work`` opens. Raises StoreError where it does not open, or is not what it should be."""
    try:
        return work()
    except (CannotOpen, msgspec.DecodeError) as problem:
        raise StoreError(f"The database can not be read: {problem}.") from None


def piece_place(ref: str, start: int) -> bytes:
    """What the piece of a body that begins at ``start`` is sealed for."""
    return f"{ref}/{start}".encode()


def _place(run_id: str, key: str) -> bytes:
    return f"{run_id}/{key}".encode()
