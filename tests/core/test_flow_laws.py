"""The laws of pace, slow-down and breaker, each against what people would say it promises."""

from hypothesis import given
from hypothesis import strategies as st

from stepwell.core.flow.breaker import Circuit, observed, probed
from stepwell.core.flow.gates import FlowState, Reason, observe, opening, taken
from stepwell.core.flow.pace import SLACK_MS, interval_us, opens_at, passed
from stepwell.core.flow.slowdown import again, begin, rate_at, recovered
from stepwell.core.model import Breaker, Pace
from stepwell.core.outputs import Observed

RULE = Breaker(ratio=0.5, window_ms=1_000, minimum=4, open_ms=500)
HOST = Pace("host:h", slows=True, breaker=RULE)


@given(
    limit=st.integers(1, 2_000),
    period=st.sampled_from([1, 100, 1_000, 60_000]),
    burst=st.integers(0, 20),
    gaps=st.lists(st.integers(0, 300), min_size=1, max_size=150),
)
def test_never_above_the_rate_in_any_window(limit: int, period: int, burst: int, gaps: list[int]) -> None:
    interval, tat, now = interval_us(limit, period), 0, 1_000_000
    times: list[int] = []
    for gap in gaps:
        now += gap
        while opens_at(tat, interval, burst) <= now and len(times) < 400:
            times.append(now)
            tat = passed(tat, interval, now)
    for first in range(len(times)):
        for last in range(first, len(times)):
            most = burst + 1 + (times[last] - times[first] + SLACK_MS) * 1_000 / interval
            assert last - first + 1 <= most


@given(
    limit=st.integers(1, 100),
    period=st.sampled_from([1_000, 60_000]),
    burst=st.integers(0, 5),
    moves=st.lists(st.tuples(st.integers(0, 30_000), st.booleans()), min_size=1, max_size=60),
)
def test_places_that_are_given_back_let_no_more_pass(
    limit: int, period: int, burst: int, moves: list[tuple[int, bool]]
) -> None:
    """Some items pass and do nothing, which is known when the next one comes; those that do something keep to the rate."""
    pace = Pace("throttle:f:", limit, period, burst)
    interval, state, now = interval_us(limit, period), None, 1_000_000
    worked: list[int] = []
    idle: list[int] = []
    for gap, works in moves:
        now += gap
        if idle and gap % 2:
            state = observe(state, Observed(pace, idle.pop(), given_back=True), now)
        if opening(pace, state, now)[0] <= now:
            state = taken(pace, state, now)
            (worked if works else idle).append(now)
    for first in range(len(worked)):
        for last in range(first, len(worked)):
            most = burst + 1 + (worked[last] - worked[first] + 2 * SLACK_MS) * 1_000 / interval
            assert last - first + 1 <= most


def test_a_place_that_is_given_back_at_once_is_free() -> None:
    pace = Pace("throttle:f:", 1, 86_400_000)
    state = taken(pace, None, 5_000)
    assert opening(pace, state, 5_010)[0] > 5_010
    assert opening(pace, observe(state, Observed(pace, 5_005, given_back=True), 5_010), 5_010)[0] <= 5_010


@given(limit=st.integers(1, 500), burst=st.integers(0, 5))
def test_who_takes_each_opening_gets_the_whole_rate(limit: int, burst: int) -> None:
    interval, tat, now, count = interval_us(limit, 1_000), 0, 5_000, 0
    while now < 15_000:
        tat = passed(tat, interval, now)
        count += 1
        now = max(now, opens_at(tat, interval, burst))
    assert count >= 10 * limit * 0.99 - 1


known = st.none() | st.floats(0.01, 5_000)


@given(
    known=known, waits=st.lists(st.integers(0, 60_000), max_size=6), ages=st.lists(st.integers(0, 90_000), min_size=2)
)
def test_recovery_only_ever_grows_and_ends(known: float | None, waits: list[int], ages: list[int]) -> None:
    now = 1_000
    slow = begin(now + 500, now, known)
    for wait in waits:
        now += wait
        before = rate_at(slow, now)
        slow = again(slow, now + wait, now, now)
        assert rate_at(slow, now) <= max(before, 0.1)
    rates = [rate_at(slow, now + age) for age in sorted(ages)]
    assert rates == sorted(rates)
    assert rates[-1] <= slow.ceiling
    assert recovered(slow, slow.until + 24 * 3_600_000)


def test_complaints_of_one_moment_count_once() -> None:
    slow = begin(2_000, 1_000, 100.0)
    same = again(slow, 5_000, started_at=900, now=1_010)
    assert (same.until, same.rate) == (5_000, 50.0)
    later = again(same, 9_000, started_at=5_500, now=5_600)
    assert later.until == 9_000
    assert later.rate < 50.0


def test_a_request_that_began_as_the_first_complaint_was_recorded_is_no_new_complaint() -> None:
    """It had been let through before: the host is left alone until a time, and nothing is let through before that."""
    slow = begin(8_000, 1_000, None)
    assert again(slow, 8_000, started_at=1_400, now=1_500).rate == slow.rate
    assert again(slow, 8_000, started_at=8_000, now=8_100).rate < slow.rate
    unsaid = begin(1_000, 1_000, None)
    assert again(unsaid, 1_030, started_at=1_010, now=1_030).rate == unsaid.rate
    assert again(unsaid, 1_600, started_at=1_500, now=1_600).rate < rate_at(unsaid, 1_600)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 400)), max_size=60))
def test_a_breaker_opens_on_the_share_and_only_a_probe_closes_it(results: list[tuple[bool, int]]) -> None:
    circuit, now = Circuit(), 10_000
    for failed, gap in results:
        now += gap
        if not circuit.is_open:
            after = observed(RULE, circuit, failed, now, now)
            assert not after.is_open or failed
            circuit = after
            continue
        assert observed(RULE, circuit, False, circuit.since - 1, now) == circuit, "an old answer changes nothing"
        now = max(now, circuit.opens_at)
        half = probed(RULE, circuit, now)
        assert half.opens_at == now + RULE.open_ms
        circuit = observed(RULE, half, failed, now, now)
        assert circuit.is_open == failed


def test_a_probe_that_takes_longer_than_the_breaker_is_open_closes_it() -> None:
    """Others are let through meanwhile, which take as long: the first word counts, or the breaker would never close."""
    first = probed(RULE, Circuit(since=100, opens_at=600), 600)
    second = probed(RULE, first, first.opens_at)
    assert second.opens_at > first.opens_at
    assert not observed(RULE, second, False, 600, 1_300).is_open
    opened = observed(RULE, second, True, 600, 1_300)
    assert opened.opens_at == 1_300 + RULE.open_ms
    assert observed(RULE, opened, False, 1_100, 1_400) == opened, "it was let through before the breaker opened anew"


def test_time_outs_from_before_do_not_open_a_breaker_that_has_closed() -> None:
    """The host is well again; what was sent to it before it failed ends only now."""
    circuit = observed(RULE, probed(RULE, Circuit(since=100, opens_at=600), 600), False, 600, 700)
    for late in range(20):
        circuit = observed(RULE, circuit, True, 90, 701 + 100 * late)
        assert not circuit.is_open
    for _ in range(RULE.minimum):
        circuit = observed(RULE, circuit, True, 2_800, 2_900)
    assert circuit.is_open, "what was sent since then counts, in later windows too"


def test_a_breaker_needs_enough_requests() -> None:
    circuit = Circuit(since=100)
    for _ in range(3):
        circuit = observed(RULE, circuit, True, 100, 100)
        assert not circuit.is_open
    assert observed(RULE, circuit, True, 100, 100).opens_at == 600


def test_a_host_waits_then_goes_on_slowly() -> None:
    state = observe(None, Observed(HOST, 10, wait_ms=5_000), 20)
    assert opening(HOST, state, 20) == (5_020, Reason.SLOW_DOWN)
    assert opening(HOST, state, 5_020)[0] <= 5_020
    state = taken(HOST, state, 5_020)
    assert 5_200 <= opening(HOST, state, 5_021)[0] <= 5_270


def test_a_host_that_fails_is_left_alone_and_comes_back_slowly() -> None:
    state: FlowState | None = None
    for _ in range(4):
        state = observe(state, Observed(HOST, 100, failed=True), 100)
    assert opening(HOST, state, 100) == (600, Reason.BREAKER)
    state = taken(HOST, state, 600)
    assert opening(HOST, state, 601) == (1_100, Reason.BREAKER), "one probe, not two"
    state = observe(state, Observed(HOST, 600), 700)
    assert opening(HOST, state, 700)[0] <= 700
    assert opening(HOST, taken(HOST, state, 700), 701)[1] is Reason.BREAKER


def test_a_pace_without_a_rule_remembers_nothing() -> None:
    assert taken(Pace("host:h", slows=True), None, 5) is None
