"""The statements of ``queries.sql`` and ``upkeep.sql`` as typed attributes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from stepwell.server.store.statements import load_statements

Row = Sequence[object]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Queries:
    """One attribute for each statement of the files; they are compared at import."""

    begin: str
    lock: str
    lock_all: str
    look: str
    write: str
    versions: str
    headers: str
    admissions: str
    lock_items: str
    lock_lost_items: str
    holds_of_runs: str
    used: str
    flows: str
    opening_gates: str
    ready_items: str
    parked_items: str
    expired_items: str
    put_waits: str
    drop_waits: str
    put_cancellations: str
    put_bodies: str
    touch_items: str
    park_items: str
    free_items: str
    put_gates: str
    drop_gates: str
    open_gates: str
    add_used: str
    drop_unused: str
    put_holds: str
    drop_holds: str
    put_flows: str
    drop_flows: str
    forget_flows: str
    put_admissions: str
    drop_admissions: str
    forget_admissions: str
    next_due: str
    mark: str
    notify: str
    hold_claim: str
    put_arriving: str
    put_piece: str
    drop_pieces: str
    drop_arriving: str
    keep_bodies: str
    put_lease: str
    end_leases: str
    put_worker: str
    forget_workers: str
    workers: str
    drop_worker: str
    lead: str
    resign: str
    put_app: str
    drop_cancellations: str
    put_pause: str
    drop_pause: str
    apps: str
    events_by_id: str
    steps_of_runs: str
    items_of_run: str
    due_of_run: str
    list_runs: str
    list_active_runs: str
    list_runs_of_event: str
    list_events: str
    body: str
    body_pieces: str
    find_waits: str
    item_seq: str
    waited_places: str
    find_signal: str
    waiting_names: str
    cancellations: str
    keys_of: str
    held_items: str
    pauses: str
    old_runs: str
    runs_of_events: str
    working: str
    row_bodies: str
    forget_bodies: str
    forget_steps: str
    forget_runs: str
    old_events: str
    forget_links: str
    forget_events: str
    old_keys: str
    forget_keys: str
    old_cancellations: str
    sealed_rows: str
    sealed_events: str
    reseal_events: str
    sealed_runs: str
    reseal_runs: str
    sealed_steps: str
    reseal_steps: str
    sealed_items: str
    reseal_items: str
    sealed_waits: str
    reseal_waits: str
    sealed_cancellations: str
    reseal_cancellations: str
    sealed_bodies: str
    reseal_bodies: str
    sealed_pieces: str
    reseal_pieces: str
    drop_apps: str
    runs_after: str
    items_of_runs: str
    waits_of_runs: str
    claimed_items: str
    holders: str
    runs_by_status: str
    item_counts: str
    put_listeners: str
    drop_listeners: str
    forget_listeners: str
    listeners: str
    tell: str
    tell_parcel: str
    parcel: str
    forget_parcels: str


SQL = Queries(**load_statements(__package__ or "", Queries))


def columns(rows: Iterable[Sequence[_T]], width: int = 0) -> list[list[_T]]:
    """Rows as one array for each column, ordered by the first columns: whoever writes takes rows in one order.

    ``width``: how many there are of them where there may be no row.
    """
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(width)]


def whole(numbers: Iterable[int | None]) -> str:
    """An array of whole numbers as PostgreSQL writes it: the library looks at each element of a list, and takes long for it."""
    return "{" + ",".join(["NULL" if number is None else str(number) for number in numbers]) + "}"


def texts(values: Iterable[str | None]) -> str:
    """An array of texts in the same way."""
    return "{" + ",".join(["NULL" if value is None else f'"{_escaped(value)}"' for value in values]) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
