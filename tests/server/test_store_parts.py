"""The pure parts of the stores: record codec, migrations, statements for many rows."""

import re
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.core.model import Attempt, Item, Limit, Run, Step, StepStatus, StoredEvent, WorkKind
from stepwell.server.store.base import StoreError
from stepwell.server.store.codec import build_view, decode_event, decode_item, decode_run, decode_step, encode
from stepwell.server.store.migrate import Migration, check, load_migrations, pending, reach
from stepwell.server.store.sqlite.queries import write_rows
from stepwell.testing.platform.store_conformance import a_run, a_step

_WIDE = 2**63
"""Integers beyond 64 bits cannot be stored; whoever takes them from outside refuses them."""


def _fits(record: object) -> bool:
    numbers = re.findall(r"-?\d{19,}", repr(record))
    return all(-_WIDE <= int(number) < _WIDE for number in numbers)


@given(st.one_of(st.from_type(Run), st.from_type(Step), st.from_type(Item), st.from_type(StoredEvent)).filter(_fits))
def test_records_read_back(record: Run | Step | Item | StoredEvent) -> None:
    decode = {Run: decode_run, Step: decode_step, Item: decode_item, StoredEvent: decode_event}[type(record)]
    assert repr(decode(encode(record))) == repr(record)


def test_records_of_an_older_version_read_with_defaults() -> None:
    old = encode({"run_id": "R", "key": "k", "kind": "call", "due_at": 1, "of_the_future": 1})
    assert decode_item(old) == Item(run_id="R", key="k", kind=WorkKind.CALL, due_at=1)


@given(st.permutations(range(6)), st.permutations(range(6)))
def test_a_view_orders_steps_and_stack(numbers: list[int], positions: list[int]) -> None:
    steps = [a_step("R", number, position) for number, position in zip(numbers, positions, strict=True)]
    view = build_view(a_run("R"), [], [*steps, a_step("R", 6)])
    assert list(view.steps) == [f"s{n}" for n in range(7)]
    assert [view.steps[step_id].position for step_id in view.stack] == list(range(6))
    assert list(view.memos) == view.stack


def test_migrations_are_numbered_and_only_go_forward() -> None:
    known = load_migrations("stepwell.server.store.sqlite")
    assert [migration.number for migration in known] == list(range(1, len(known) + 1))
    two = [Migration(1, "a", ""), Migration(2, "b", "")]
    assert [pending(two, at, "f") for at in (0, 1, 2)] == [two, two[1:], []]
    with pytest.raises(StoreError, match="f was written by a newer Stepwell"):
        pending(two, 3, "f")


def test_what_old_processes_can_not_work_with_waits() -> None:
    """1 and 2 of the last version; 3 and 4 add something, 5 takes something away."""
    names = ["a", "b.post", "c", "d", "e.post"]
    known = [Migration(number, name, "") for number, name in enumerate(names, 1)]
    assert [migration.post for migration in known] == [False, True, False, False, True]
    assert [reach(known, at, post=False) for at in (0, 1, 2, 3, 4, 5)] == [5, 1, 4, 4, 4, 5]
    assert [reach(known, at, post=True) for at in (0, 1, 4)] == [5, 5, 5]


def test_who_can_work_with_which_schema() -> None:
    """The one before knows two; this one five, of which it can do without the last."""
    before = [Migration(1, "a", ""), Migration(2, "b.post", "")]
    known = [*before, Migration(3, "c", ""), Migration(4, "d", ""), Migration(5, "e.post", "")]
    for version, oldest in ((4, 2), (5, 5), (6, 5)):
        check(known, version, oldest, "f")
    for version, oldest in ((1, 0), (2, 2), (4, 2)):
        check(before, version, oldest, "f")
    with pytest.raises(StoreError, match="f has schema 3, this Stepwell needs 4: run `stepwell migrate`"):
        check(known, 3, 2, "f")
    with pytest.raises(StoreError, match="f was written by a newer Stepwell"):
        check(before, 5, 5, "f")


@given(st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=3)), max_size=400))
def test_many_rows_are_written_in_order(rows: list[tuple[int, bytes]]) -> None:
    conn = sqlite3.connect(":memory:")
    conn.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b BLOB)")
    statement = "INSERT INTO t (a, b) VALUES (?, ?) ON CONFLICT (a) DO UPDATE SET b = excluded.b"
    write_rows(conn, statement, rows)
    assert dict(conn.execute("SELECT a, b FROM t").fetchall()) == dict(rows)
    conn.close()


def test_the_model_reads_back_in_full() -> None:
    attempt = Attempt(number=1, started_at=1, ended_at=2, status=503, phases={"dns": 1.5})
    step = Step(
        run_id="R", step_id="s", name="n", op="Gateway", status=StepStatus.RETRYING, number=0, attempts=(attempt,)
    )
    assert decode_step(encode(step)) == step
    item = Item(run_id="R", key="k", kind=WorkKind.TIMER, due_at=1, limits=(Limit("b c", 2),), payload=b"\xff")
    assert decode_item(encode(item)) == item
