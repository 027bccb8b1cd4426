"""The laws of what is decided when an event comes in, on the pure code (docs/flow-control.md says them in words)."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from stepwell.core.flow.admission import Gathered, State, admit, gathered_of, idle_at
from stepwell.core.model import Item, Run, RunKey, WorkKind
from stepwell.core.outputs import Admission, Batched, Commit, Debounced, Joining, RateLimited, Release, Single
from stepwell.wire.function_config import RateLimit

gaps = st.lists(st.integers(0, 40) | st.sampled_from([0, 0, 0, 100]), min_size=1, max_size=60)


def times(found: list[int]) -> list[int]:
    at, result = 1_000, list[int]()
    for gap in found:
        at += gap
        result.append(at)
    return result


def all_of(commits: tuple[Commit, ...]) -> list[Commit]:
    return [one for commit in commits for one in (commit, *all_of(commit.more))]


class Bucket:
    """One bucket, driven as a store drives it; the items that it puts, as they are stored."""

    def __init__(self) -> None:
        self.state: State | None = None
        self.items: dict[tuple[str, str], Item] = {}
        self.runs: list[str] = []

    def ask(self, admission: Admission, now: int, *, forget: bool = True) -> bool:
        if forget and self.state is not None and (idle := idle_at(self.state)) is not None and idle <= now:
            self.state = None
        verdict = admit(admission, self.state, now)
        self.state = verdict.state
        for commit in all_of(verdict.writes):
            self.runs += [commit.run.run_id] if commit.run is not None else []
            self.items.update({(item.run_id, item.key): item for item in commit.put})
        return verdict.passes

    def starts(self) -> dict[str, tuple[int, Gathered]]:
        """When each run is due, and with which events."""
        found = [item for item in self.items.values() if item.kind is WorkKind.START]
        return {item.run_id: (item.due_at, gathered_of(item)) for item in found}


def joining(number: int, ts: int = 0, size: int = 10, parent: str | None = None) -> Joining:
    run = Run(run_id=f"R{number}", function_id="f", app_id="a")
    return Joining(run, f"E{number}", RunKey("f", f"e{number}", 0, run.run_id), ts, size, parent)


@given(gaps, st.integers(1, 6), st.integers(1, 100))
def test_in_any_window_no_more_than_the_limit_and_the_rate_pass(found: list[int], limit: int, period: int) -> None:
    """``limit`` and one more for each ``period / limit``; forgetting what is idle changes nothing."""
    rule = RateLimit(limit=limit, period_ms=period)
    asked = RateLimited("b", rule.limit, rule.period_ms)
    bucket, keeps = Bucket(), Bucket()
    passed: list[int] = []
    for now in times(found):
        passes = bucket.ask(asked, now)
        assert passes == keeps.ask(asked, now, forget=False)
        if passes:
            passed.append(now)
        else:
            recent = [at for at in passed if at >= now - period]  # the interval is rounded up to microseconds
            assert len(recent) >= limit, "refused although the limit was not used up"
    for i, start in enumerate(passed):
        for j in range(i, len(passed)):
            assert j - i + 1 <= limit + (passed[j] - start) * limit / period


@given(gaps, st.integers(1, 100))
def test_a_limit_of_one_lets_one_pass_in_each_period(found: list[int], period: int) -> None:
    bucket = Bucket()
    passed = [now for now in times(found) if bucket.ask(RateLimited("b", 1, period), now)]
    assert all(after - before >= period for before, after in pairwise(passed))


@given(gaps, st.integers(2, 5), st.integers(1, 60), st.data())
def test_every_event_is_in_exactly_one_batch_in_order(
    found: list[int], size: int, timeout: int, data: st.DataObject
) -> None:
    bucket = Bucket()
    came: dict[str, int] = {}
    for number, now in enumerate(times(found)):
        large = data.draw(st.sampled_from([10, 10, 4_000_000]))
        bucket.ask(Batched("b", joining(number, size=large, parent=f"P.{number}"), size, timeout), now)
        came[f"E{number}"] = now
    starts = bucket.starts()
    assert sorted(starts) == sorted(bucket.runs), "a run waits for nothing"
    in_order = [event for run_id in bucket.runs for event in starts[run_id][1].events]
    assert in_order == list(came)
    for due, gathered in starts.values():
        first = came[gathered.events[0]]
        assert len(gathered.events) <= size
        assert due <= first + timeout
        assert due == first + timeout or len(gathered.events) == size or large_next(due, came)
        assert all(came[event] <= due for event in gathered.events)
        assert gathered.parents == tuple(f"P.{event[1:]}" for event in gathered.events)


def large_next(due: int, came: dict[str, int]) -> bool:
    """Whether a batch may have been closed by an event that did not fit: then it is due when that one came."""
    return due in came.values()


@given(gaps, st.integers(1, 60), st.none() | st.integers(1, 150), st.data())
def test_a_debounced_run_has_the_newest_of_its_events_and_begins_once_they_have_calmed_down(
    found: list[int], period: int, timeout: int | None, data: st.DataObject
) -> None:
    bucket = Bucket()
    groups: list[list[tuple[int, int, str]]] = []
    for number, now in enumerate(times(found)):
        ts = now + data.draw(st.integers(-50, 50))
        before = len(bucket.runs)
        bucket.ask(Debounced("b", joining(number, ts, parent=f"P.{number}"), period, timeout), now)
        if len(bucket.runs) > before:
            groups.append([])
        groups[-1].append((now, ts, f"E{number}"))
    starts = bucket.starts()
    told = {f"{run}.{step}" for (run, step), item in bucket.items.items() if item.kind is WorkKind.RESUME}
    for run_id, group in zip(bucket.runs, groups, strict=True):
        due, gathered = starts[run_id]
        taken = [group[0]]
        for entry in group[1:]:
            if entry[1] >= taken[-1][1]:
                taken.append(entry)
        end = taken[-1][0] + period
        assert due == (end if timeout is None else min(end, group[0][0] + timeout))
        (winner,) = gathered.events
        assert winner == taken[-1][2]
        assert all(now < due for now, _, _ in group)
        lost = {f"P.{event[1:]}" for _, _, event in group} - {f"P.{winner[1:]}"}
        assert lost <= told, "a caller whose event was superseded waits for ever"
        assert f"P.{winner[1:]}" not in told


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 5)), max_size=60))
def test_at_most_one_run_of_a_singleton_is_active(steps: list[tuple[bool, bool, int]]) -> None:
    """Or is about to end: whoever was passed over by a newer one has the item that ends it."""
    bucket = Bucket()
    active: list[str] = []
    for number, (begins, cancels, which) in enumerate(steps):
        if begins:
            before = going(active, bucket)
            passes = bucket.ask(Single("b", f"R{number}", cancels), number)
            assert passes == (cancels or not before)
            active += [f"R{number}"] if passes else []
        elif active:
            ended = active.pop(which % len(active))
            bucket.ask(Release("b", ended), number)
        assert len(going(active, bucket)) <= 1
        assert (bucket.state is None) == (not going(active, bucket))


def going(active: list[str], bucket: Bucket) -> list[str]:
    return [run_id for run_id in active if (run_id, "cancel:singleton") not in bucket.items]
