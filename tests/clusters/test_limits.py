"""Flow control over three servers on one PostgreSQL, one of which is killed: what their app and their upstream counted."""

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

import pytest

from tests.clusters.counting_app import BUSY_S, Seen
from tests.clusters.laws import LATE_S, most_at_once, too_many
from tests.clusters.play import WAVES, Played, play

LONG = os.environ.get("CI") == "true"
MODES = ["one of three is killed", "all three live"] if LONG else ["one of three is killed"]


def by_key(played: Played, what: str) -> Iterator[tuple[str, list[Seen]]]:
    """What was seen of a name, key by key."""
    found = sorted((one for one in played.seen if one.what == what), key=lambda one: one.key)
    assert found, f"nothing was seen of {what}"
    for key, group in groupby(found, key=lambda one: one.key):
        yield key, list(group)


def of(played: Played, *names: str) -> list[Seen]:
    return [one for name in names for _, seen in by_key(played, name) for one in seen]


def at_once(seen: Sequence[Seen]) -> int:
    assert all(one.ended for one in seen)
    return most_at_once((one.began, one.ended) for one in seen)


def firsts(seen: Iterable[Seen]) -> list[float]:
    """When each run was seen first: the call of a process that was killed is made again."""
    times: dict[str, float] = {}
    for one in seen:
        times[one.run] = min(one.began, times.get(one.run, one.began))
    return list(times.values())


def every_run_ends_and_all_servers_take_part(played: Played) -> None:
    assert played.owners == 3
    expected = {"skipping": {"completed", "skipped"}, "taking": {"completed", "cancelled"}}
    for name, statuses in played.ended.items():
        assert statuses.keys() == expected.get(name, {"completed"}), name
    for name in played.sent.keys() - {"limited", "idempotent", "calm", "together", "sent-again"}:
        sent = sum(len(each.numbers) for each in played.sent[name].values())
        assert sum(played.ended[name].values()) == sent, name


SLOTS = [
    (("few",), 3),
    (("of-the-account-one", "of-the-account-two"), 3),
    (("of-the-environment-one", "of-the-environment-two"), 2),
    (("few-requests",), 2),
    (("narrow-host",), 3),
]


def no_more_at_once_than_the_limit(played: Played) -> None:
    for names, limit in SLOTS:
        assert at_once(of(played, *names)) <= limit, names


def the_limits_were_reached(played: Played) -> None:
    """Some, at least: what a killed process held is free again only when its lease has ended."""
    assert sum(at_once(of(played, *names)) == limit for names, limit in SLOTS) >= 2


def no_more_at_once_of_a_key(played: Played) -> None:
    assert max(at_once(seen) for _, seen in by_key(played, "few-of-a-key")) <= 2


def no_more_whole_runs_at_once(played: Played) -> None:
    """A run is from its first call to its last one, its sleep in between."""
    stretches: dict[str, tuple[float, float]] = {}
    for one in of(played, "whole-runs"):
        began, ended = stretches.get(one.run, (one.began, one.ended))
        stretches[one.run] = min(began, one.began), max(ended, one.ended)
    assert most_at_once(stretches.values()) <= 2


def no_more_runs_begin_in_a_time(played: Played) -> None:
    for key, seen in by_key(played, "throttled"):
        assert too_many(firsts(seen), 2, 1) <= 0, key


def no_more_requests_in_a_time(played: Played) -> None:
    for key, seen in by_key(played, "throttled-requests"):
        assert too_many([one.began for one in seen], 2, 2) <= 0, key


def no_more_requests_to_a_host_in_a_time(played: Played) -> None:
    assert too_many([one.began for one in of(played, "paced-host")], 3, 2) <= 0


def a_host_that_complains_is_left_alone_by_all(played: Played) -> None:
    """What was under way is seen a little later."""
    (complaint,) = of(played, "complaint")
    after = [one.began - complaint.ended for one in of(played, "busy-host")]
    assert [seconds for seconds in after if LATE_S < seconds < BUSY_S] == []
    assert max(after) > BUSY_S


def a_rate_limit_lets_so_many_pass_and_no_more(played: Played) -> None:
    assert {key: len(firsts(seen)) for key, seen in by_key(played, "limited")} == {"0": 3, "1": 3}


def one_run_for_each_value_of_an_idempotency_key(played: Played) -> None:
    assert {key: len(firsts(seen)) for key, seen in by_key(played, "idempotent")} == {"0": 1, "1": 1}


def an_event_that_was_sent_to_several_has_one_run(played: Played) -> None:
    runs = {one.run: one.numbers for one in of(played, "sent-again")}
    assert sorted(runs.values()) == [[n] for n in range(len(played.same_ids))]


def a_debounce_runs_with_the_newest_event_once_there_was_a_pause(played: Played) -> None:
    for key, seen in by_key(played, "calm"):
        sent = played.sent["calm"][key]
        runs = {one.run: one.numbers for one in seen}
        assert [max(sent.numbers)] in runs.values()
        assert len(runs) <= 1 + sent.took / 2, "a run more needs a pause of two seconds"


def each_event_is_in_one_batch_and_batches_are_filled_by_all(played: Played) -> None:
    for key, seen in by_key(played, "together"):
        sent = played.sent["together"][key]
        batches = list({one.run: one.numbers for one in seen}.values())
        assert sorted(n for batch in batches for n in batch) == sorted(sent.numbers)
        assert max(map(len, batches)) <= 5
        assert sum(len(batch) < 5 for batch in batches) <= 1 + sent.took / 3, "one that is not full took three seconds"


def a_singleton_that_skips_has_one_run_at_a_time(played: Played) -> None:
    for _, seen in by_key(played, "skipping-before"):
        assert len(firsts(seen)) == WAVES
    assert played.ended["skipping"]["completed"] == 2 * WAVES


def a_singleton_that_cancels_leaves_the_last_one(played: Played) -> None:
    for _, seen in by_key(played, "taking-after"):
        assert len(firsts(seen)) == WAVES
    assert played.ended["taking"]["completed"] == 2 * WAVES


def runs_of_a_higher_priority_go_first(played: Played) -> None:
    """They all waited behind one run for the only slot: ``rank`` is the rest of its number by three."""
    begun: dict[str, tuple[float, int]] = {}
    for one in sorted(of(played, "ranked"), key=lambda one: one.began):
        begun.setdefault(one.run, (one.began, one.numbers[0] % 3))
    first, *ranks = [rank for _, rank in begun.values()]
    assert first == -1 % 3
    assert ranks == sorted(ranks, reverse=True)
    assert at_once(of(played, "ranked")) == 1


def a_tick_of_a_cron_has_one_run(played: Played) -> None:
    """Several servers found the same one when they started."""
    assert {len(firsts(seen)) for _, seen in by_key(played, "ticking")} == {1}


LAWS = [
    every_run_ends_and_all_servers_take_part,
    no_more_at_once_than_the_limit,
    the_limits_were_reached,
    no_more_at_once_of_a_key,
    no_more_whole_runs_at_once,
    no_more_runs_begin_in_a_time,
    no_more_requests_in_a_time,
    no_more_requests_to_a_host_in_a_time,
    a_host_that_complains_is_left_alone_by_all,
    a_rate_limit_lets_so_many_pass_and_no_more,
    one_run_for_each_value_of_an_idempotency_key,
    an_event_that_was_sent_to_several_has_one_run,
    a_debounce_runs_with_the_newest_event_once_there_was_a_pause,
    each_event_is_in_one_batch_and_batches_are_filled_by_all,
    a_singleton_that_skips_has_one_run_at_a_time,
    a_singleton_that_cancels_leaves_the_last_one,
    runs_of_a_higher_priority_go_first,
    a_tick_of_a_cron_has_one_run,
]


@pytest.mark.timeout(170)
@pytest.mark.parametrize("mode", MODES)
def test_limits_hold_over_three_servers(
    mode: str, tmp_path: Path, subtests: pytest.Subtests, request: pytest.FixtureRequest
) -> None:
    """One load for all, as it takes half a minute: the lease of a process that was killed has to end."""
    seed = request.config.getoption("randomly_seed", 1)
    played = play(tmp_path, 3 if LONG else 1, mode == MODES[0], seed)
    for law in LAWS:
        with subtests.test(law.__name__):
            law(played)
