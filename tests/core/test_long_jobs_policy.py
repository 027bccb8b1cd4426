"""What a 202 leads to, and what a call-back URL is made of and known by."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from stepwell.core.callbacks import PATH, arm, owner, parse_token, timed_out, waits
from stepwell.core.model import Step, StepStatus
from stepwell.core.polling import JOB_MS, LONGEST_DELAY_MS, SHORTEST_DELAY_MS, Poll, deadline, next_poll
from stepwell.wire.constants import CALLBACK_URL
from stepwell.wire.fetch import FetchBroken, FetchPolicy, FetchRequest, FetchResponse, Header, Hop
from stepwell.wire.fetch_policy import BadPolicy, check_policy, split_policy
from stepwell.wire.gateway import BadGateway
from stepwell.wire.secrets import reference

RUN = "01KAPRZC0C000000000000000A"
START = FetchRequest(
    url="https://api.x/jobs",
    method="POST",
    headers=(("Authorization", "s"), ("Content-Type", "text/plain"), ("Idempotency-Key", "k"), ("X", "1")),
    body=b"b",
    policy=FetchPolicy(poll=True, at_most_once=True),
)


def answer(status: int = 202, *headers: Header, url: str = START.url, history: tuple[Hop, ...] = ()) -> FetchResponse:
    return FetchResponse(status=status, url=url, headers=headers, history=history)


def after(outcome: FetchResponse | FetchBroken, asked: int = 1, **policy: object) -> Poll | FetchBroken | None:
    request = replace(START, policy=replace(START.policy, **policy))
    return next_poll(request, outcome, asked, JOB_MS, 1_000, 0.5)


def test_a_poll_is_a_bare_get_of_the_place_that_is_named() -> None:
    found = after(answer(202, ("Location", "/jobs/1?a=b"), ("Retry-After", "5")))
    assert isinstance(found, Poll)
    assert (found.request.method, found.request.url, found.request.body) == ("GET", "https://api.x/jobs/1?a=b", None)
    assert found.request.headers == (("Authorization", "s"), ("X", "1"))
    assert found.request.policy == replace(START.policy, at_most_once=False)
    assert found.delay_ms == 5_000


@pytest.mark.parametrize(
    ("headers", "url"),
    [
        ((("Operation-Location", "https://api.x/op"),), "https://api.x/op"),
        ((("Azure-AsyncOperation", "/a"),), "https://api.x/a"),
        ((("Azure-AsyncOperation", "/a"), ("Location", "/l")), "https://api.x/l"),
        ((("azure-asyncoperation", "/a"), ("operation-location", "/o")), "https://api.x/o"),
    ],
)
def test_where_to_look(headers: tuple[Header, ...], url: str) -> None:
    found = after(answer(202, *headers))
    assert isinstance(found, Poll)
    assert found.request.url == url


def test_the_same_place_is_asked_again_and_a_first_202_without_a_place_is_the_result() -> None:
    assert after(answer()) is None
    for found in (
        after(answer(url="https://api.x/j/1"), 2),
        after(answer(url="https://api.x/j/1", history=(Hop(302, "u"),))),
    ):
        assert isinstance(found, Poll)
        assert found.request.url == "https://api.x/j/1"


@pytest.mark.parametrize(
    "outcome", [answer(200), answer(302, ("Location", "/x")), answer(404), FetchBroken(kind="dns", message="")]
)
def test_anything_else_is_the_result(outcome: FetchResponse | FetchBroken) -> None:
    assert after(outcome, 3) is None


def test_nothing_is_polled_unasked() -> None:
    assert after(answer(202, ("Location", "/l")), poll=False) is None


def test_303_is_looked_up_at_once_and_a_ring_of_them_slows_down() -> None:
    first, late = after(answer(303, ("Location", "/r"))), after(answer(303, ("Location", "/r")), 50)
    assert isinstance(first, Poll)
    assert isinstance(late, Poll)
    assert first.delay_ms == 0 < late.delay_ms


def test_another_origin_gets_no_credentials_and_encryption_is_not_lost() -> None:
    found = after(answer(202, ("Location", "https://other/l")))
    assert isinstance(found, Poll)
    assert found.request.headers == (("X", "1"),)
    refused = after(answer(202, ("Location", "http://api.x/l")))
    assert isinstance(refused, FetchBroken)
    assert refused.final


def test_another_origin_gets_no_reference_to_a_secret() -> None:
    request = replace(START, headers=(("X-Plain", f"key {reference('KEY')}"), ("X", "1")))
    here, there = (
        next_poll(request, answer(202, ("Location", to)), 1, JOB_MS, 0, 0.5) for to in ("/l", "https://other/l")
    )
    assert isinstance(here, Poll)
    assert here.request.headers == request.headers
    assert isinstance(there, Poll)
    assert there.request.headers == (("X", "1"),)
    leak = next_poll(request, answer(202, ("Location", f"https://other/?k={reference('KEY')}")), 1, JOB_MS, 0, 0.5)
    assert isinstance(leak, FetchBroken)
    assert (leak.kind, leak.final) == ("redirect", True)


def test_redirects_of_one_poll_do_not_count_for_the_next() -> None:
    hops = tuple(Hop(302, f"https://api.x/{n}") for n in range(20))
    found = next_poll(replace(START, history=hops), answer(202, ("Location", "/l"), history=hops), 3, JOB_MS, 0, 0.5)
    assert isinstance(found, Poll)
    assert found.request.history == ()


@given(st.integers(1, 500), st.floats(0, 1, exclude_max=True), st.one_of(st.none(), st.text(max_size=8)))
def test_delays_are_bounded(asked: int, jitter: float, retry_after: str | None) -> None:
    headers: tuple[Header, ...] = (("Location", "/l"),)
    headers += () if retry_after is None else (("Retry-After", retry_after),)
    found = next_poll(START, answer(202, *headers), asked, JOB_MS, 0, jitter)
    assert isinstance(found, Poll | FetchBroken)
    if isinstance(found, Poll):
        assert SHORTEST_DELAY_MS <= found.delay_ms < JOB_MS
        assert retry_after is not None or found.delay_ms <= LONGEST_DELAY_MS


@pytest.mark.parametrize(("deadline_ms", "now"), [(10_000, 9_000), (None, JOB_MS - 1)])
def test_no_poll_after_the_deadline(deadline_ms: int | None, now: int) -> None:
    request = replace(START, policy=replace(START.policy, deadline_ms=deadline_ms))
    until = deadline(request, 0, 0)
    found = next_poll(request, answer(202, ("Location", "/l"), ("Retry-After", "1")), 1, until, now, 0.5)
    assert isinstance(found, FetchBroken)
    assert (found.kind, found.final) == ("timeout", True)
    assert "not done when its time was up" in found.message


def test_without_a_deadline_a_day_counts_from_the_first_request() -> None:
    """Not from when the step was made: limits may have held it back for longer than that."""
    assert deadline(START, 5, 7 + JOB_MS) == 7 + 2 * JOB_MS
    assert deadline(replace(START, policy=replace(START.policy, deadline_ms=10)), 5, 7) == 15


CALLED = FetchRequest(url="https://api.x/j", method="POST", policy=FetchPolicy(callback=True), rich=True)
ARMED = f"https://me{PATH}{RUN}s3cret"


@pytest.mark.parametrize(
    "spelling",
    [CALLBACK_URL, quote(CALLBACK_URL, safe=""), quote(CALLBACK_URL, safe="/"), quote(CALLBACK_URL, safe="").lower()],
)
def test_the_url_takes_the_place_of_the_placeholder_in_its_form(spelling: str) -> None:
    url = ARMED if spelling == CALLBACK_URL else quote(ARMED, safe="")
    for request, armed in (
        (
            replace(CALLED, url=f"https://api.x/j?cb={spelling}&x=1"),
            replace(CALLED, url=f"https://api.x/j?cb={url}&x=1"),
        ),
        (replace(CALLED, headers=(("X-Cb", spelling),)), replace(CALLED, headers=(("X-Cb", url),))),
        (
            replace(CALLED, headers=(("Content-Length", "9"),), body=b"\xff" + spelling.encode() + b"\x00"),
            replace(CALLED, body=b"\xff" + url.encode() + b"\x00"),
        ),
    ):
        made, callback = arm(request, RUN, "s3cret", "https://me/")
        assert made == armed
        assert callback.rich
        assert b"s3cret" not in callback.digest


def test_a_request_that_can_not_be_called_back() -> None:
    with pytest.raises(BadGateway, match="CALLBACK_URL"):
        arm(CALLED, RUN, "s", "https://me")
    with pytest.raises(BadGateway, match="STEPWELL_PUBLIC_URL"):
        arm(replace(CALLED, body=CALLBACK_URL.encode()), RUN, "s", "")


def test_who_holds_the_secret_is_known_and_nobody_else() -> None:
    _, callback = arm(replace(CALLED, body=CALLBACK_URL.encode()), RUN, "s3cret", "https://me")
    plain = Step(run_id=RUN, step_id="a", name="a", op="Gateway", status=StepStatus.WAITING, number=0)
    armed = replace(plain, step_id="b", callback=callback)
    assert parse_token(f"{RUN}s3cret") == (RUN, "s3cret")
    assert [parse_token(token) for token in ("", RUN, "x" * 60)] == [None, None, None]
    assert owner([plain, armed], "s3cret") is armed
    assert owner([plain, armed], "s3creT") is None
    assert b'"kind":"timeout"' in timed_out(armed)
    assert waits(CALLED, answer(202))
    assert not waits(CALLED, answer(400))
    assert not waits(CALLED, FetchBroken(kind="dns", message=""))
    assert not waits(START, answer(202))


def test_the_policy_headers() -> None:
    kept, policy = split_policy((("Stepwell-Poll", "true"), ("stepwell-callback", "0"), ("A", "b")), FetchPolicy())
    assert (kept, policy) == ((("A", "b"),), FetchPolicy(poll=True))
    with pytest.raises(BadPolicy, match="not both"):
        check_policy(FetchPolicy(poll=True, callback=True))
