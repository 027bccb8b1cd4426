"""Rules of hosts: how they are written, which one holds, what they come to, what is learnt."""

import pytest

from stepwell.core.flow.host_rules import BadHostRule, parse_hosts
from stepwell.core.flow.hosts import NO_RULES, HostRules, host_of, observed
from stepwell.core.model import Breaker, Limit, Pace
from stepwell.wire.fetch import FetchBroken, FetchResponse

PLAIN = Pace("host:h", slows=True)
GUARDED = Pace("host:h", breaker=Breaker())


def rules(*patterns: str) -> HostRules:
    return HostRules(parse_hosts({pattern: {"concurrency": 3} for pattern in patterns}))


@pytest.mark.parametrize(
    ("host", "pattern"),
    [
        ("api.example.com", "api.example.com"),
        ("api.example.com:8080", "api.example.com:8080"),
        ("api.example.com:9", "api.example.com"),
        ("x.api.example.com", "*.api.example.com"),
        ("a.b.example.com", "*.example.com"),
        ("example.com", "*"),
        ("[::1]:80", "*"),
        ("localhost", "*"),
    ],
)
def test_the_closest_rule_holds(host: str, pattern: str) -> None:
    found = rules("*", "*.example.com", "*.api.example.com", "api.example.com", "api.example.com:8080").find(host)
    assert found is not None
    assert found.pattern == pattern


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://API.example.com/x", "api.example.com"),
        ("https://api.example.com.:443/", "api.example.com"),
        ("http://api.example.com:443/", "api.example.com:443"),
        ("http://[::1]:8080/", "[::1]:8080"),
        ("http://[0:0:0:0:0:0:0:1]/", "[::1]"),
        ("http://127.1:8080/", "127.0.0.1:8080"),
        ("http://0x7f.0.0.1/", "127.0.0.1"),
        ("http://2130706433/", "127.0.0.1"),
        ("http://[::ffff:127.0.0.1]/", "127.0.0.1"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example"),
    ],
)
def test_hosts_are_named_as_they_are_connected(url: str, host: str) -> None:
    assert host_of(url) == host


@pytest.mark.parametrize(
    ("pattern", "url"),
    [
        ("127.0.0.1", "http://127.1/"),
        ("127.1", "http://127.0.0.1/"),
        ("0x7f000001:8080", "http://127.0.0.1:8080/"),
        ("[0:0:0:0:0:0:0:1]:90", "https://[::1]:90/"),
        ("[::ffff:10.0.0.1]", "http://10.0.0.1/"),
        ("Bücher.example", "https://xn--bcher-kva.example/"),
        ("*.bücher.example", "https://a.xn--bcher-kva.example:8080/"),
        ("faß.example", "https://xn--fa-hia.example/"),
        ("i❤.example", "https://xn--i-7iq.example/"),
    ],
)
def test_a_rule_holds_however_its_host_is_spelt(pattern: str, url: str) -> None:
    assert rules(pattern).find(host_of(url)) is not None


@pytest.mark.parametrize(("one", "other"), [("127.0.0.1", "127.1"), ("bücher.example", "xn--bcher-kva.example.")])
def test_two_rules_for_one_host_are_refused(one: str, other: str) -> None:
    with pytest.raises(BadHostRule, match="more than once"):
        rules(one, other)


def test_all_members_of_a_rule() -> None:
    breaker = {"failures": 0.2, "window": "1m", "min_requests": 5, "open": "10s"}
    (rule,) = parse_hosts(
        {"H": {"concurrency": 2, "rate": "100/1m", "burst": 5, "slow_down": False, "breaker": breaker}}
    )
    assert HostRules([rule]).admission((Limit("fn", 1),), (), "h") == (
        (Limit("fn", 1), Limit("host:h", 2)),
        (Pace("host:h", 100, 60_000, 5, False, Breaker(0.2, 60_000, 5, 10_000)),),
    )


def test_no_rule_is_the_slow_down_alone() -> None:
    assert NO_RULES.admission((), (), "h") == ((), (PLAIN,))
    assert rules("other").find("h") is None
    (rule,) = parse_hosts({"h": {"slow_down": False}})
    assert HostRules([rule]).admission((), (), "h") == ((), ())


@pytest.mark.parametrize("members", [{"rate": "5/s"}, {"breaker": True}, {"slow_down": True}])
def test_each_member_alone_is_passed(members: dict[str, object]) -> None:
    (rule,) = parse_hosts({"h": {"slow_down": False, **members}})
    limits, (pace,) = HostRules([rule]).admission((), (), "h")
    assert limits == ()
    found = {"rate": pace.limit == 5, "breaker": pace.breaker is not None, "slow_down": pace.slows}
    assert {name for name, there in found.items() if there} == set(members)


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ([], "object"),
        ({"a b": {}}, "no host"),
        ({"api.example.com:443": {"concurrency": 1}}, r"write api\.example\.com\."),
        ({"[::1]:80": {}}, r"write \[::1\]\."),
        ({"h.test": {"concurrency": 1}, "H.Test.": {"concurrency": 9}}, "more than once"),
        ({"a": 5}, "object"),
        ({"a": {"x": 1}}, "'x'"),
        ({"a": {"rate": 5}}, "rate"),
        ({"a": {"rate": "0/s"}}, "rate"),
        ({"a": {"rate": "5/parsec"}}, "rate"),
        ({"a": {"burst": 5}}, "burst"),
        ({"a": {"concurrency": 0}}, "concurrency"),
        ({"a": {"concurrency": True}}, "concurrency"),
        ({"a": {"slow_down": 1}}, "slow_down"),
        ({"a": {"breaker": {"failures": 2}}}, "failures"),
        ({"a": {"breaker": {"open": "x"}}}, "open"),
        ({"a": {"breaker": {"y": 1}}}, "'y'"),
    ],
)
def test_rules_that_make_no_sense(value: object, word: str) -> None:
    with pytest.raises(BadHostRule, match=word) as caught:
        parse_hosts(value)
    assert str(caught.value).endswith(".")


def test_what_is_learnt() -> None:
    def status(code: int) -> FetchResponse:
        return FetchResponse(status=code, url="http://h/")

    assert observed(PLAIN, status(200), None, 1) is None
    assert observed(PLAIN, status(500), None, 1) is None
    slower = observed(PLAIN, status(429), 700, 1)
    assert slower is not None
    assert slower.wait_ms == 700
    silent = observed(PLAIN, status(429), None, 1)
    assert silent is not None
    assert silent.wait_ms == 0
    for outcome, failed in [
        (status(200), False),
        (status(404), False),
        (status(499), False),
        (status(500), True),
        (status(502), True),
        (FetchBroken(kind="connect", message=""), True),
    ]:
        seen = observed(GUARDED, outcome, None, 1)
        assert seen is not None
        assert seen.failed is failed
    assert observed(GUARDED, FetchBroken(kind="guard", message=""), None, 1) is None
    blind = observed(GUARDED, status(429), 700, 1)
    assert blind is not None
    assert blind.wait_ms is None, "slow_down is off"
