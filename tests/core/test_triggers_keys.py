"""Concurrency keys: who shares a bucket, and who does not."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from stepwell.core.flow.keys import key_hash, limits_for
from stepwell.core.model import Limit
from stepwell.wire.functions import Concurrency, FunctionConfig, Scope


def config(*entries: Concurrency, slug: str = "app-f") -> FunctionConfig:
    return FunctionConfig(id=slug, name=slug, concurrency=entries)


def bucket(key: str, event: Any, scope: Scope = Scope.FN, slug: str = "app-f", env: str = "") -> str:
    (limit,) = limits_for(config(Concurrency(limit=1, key=key, scope=scope), slug=slug), event, env)
    return limit.bucket


def test_no_key_is_one_bucket_of_the_function() -> None:
    assert limits_for(config(Concurrency(limit=10)), b"never read") == (Limit("fn:app-f:", 10),)
    assert limits_for(config(), b"never read") == ()


def test_two_entries_are_two_buckets() -> None:
    event = msgspec.json.encode({"data": {"user": "u1"}})
    limits = limits_for(config(Concurrency(limit=10), Concurrency(limit=2, key="event.data.user")), event)
    assert [limit.limit for limit in limits] == [10, 2]
    assert limits[0].bucket == "fn:app-f:"
    assert limits[1].bucket.startswith("fn:app-f:")
    assert len({limit.bucket for limit in limits}) == 2


def test_values_share_a_bucket_when_they_are_equal() -> None:
    key = "event.data.x"
    one = bucket(key, {"data": {"x": 1}})
    assert one == bucket(key, {"data": {"x": 1.0}})
    assert (
        len(
            {
                one,
                bucket(key, {"data": {"x": "1"}}),
                bucket(key, {"data": {"x": True}}),
                bucket(key, {"data": {"x": 2}}),
            }
        )
        == 4
    )
    assert bucket(key, {"data": {"x": {"a": 1, "b": 2}}}) == bucket(key, {"data": {"x": {"b": 2, "a": 1}}})


def test_missing_value_is_a_bucket_too() -> None:
    missing = bucket("event.data.x", {"data": {}})
    assert missing == bucket("event.data.x", {"data": {"x": None}})
    assert missing != "fn:app-f:"
    assert bucket("1 / event.data.zero", {"data": {"zero": 0}}).startswith("fn:app-f:")


def test_timestamps_and_durations_can_be_keys() -> None:
    assert bucket("date(event.ts)", {"ts": 1_700_000_000_000}) != bucket("date(event.ts)", {"ts": 1_700_000_100_000})
    assert bucket("[duration('1h')]", {}) != bucket("[duration('2h')]", {})


def test_functions_share_buckets_of_wider_scopes_only() -> None:
    event = {"data": {"a": "x", "b": "x"}}
    assert bucket("event.data.a", event) != bucket("event.data.a", event, slug="app-g")
    assert bucket("event.data.a", event) != bucket("event.data.b", event)
    wide = bucket("event.data.a", event, Scope.ENV, env="prod")
    assert wide == bucket("event.data.b", event, Scope.ENV, slug="app-g", env="prod")
    assert wide.startswith("env:prod:")
    assert wide != bucket("event.data.a", event, Scope.ENV, env="test")
    account = bucket("'openai'", event, Scope.ACCOUNT, env="prod")
    assert account == bucket("'openai'", event, Scope.ACCOUNT, slug="app-g", env="test")
    assert account.startswith("account:")


def test_same_bucket_twice_keeps_the_lower_limit() -> None:
    entries = [Concurrency(limit=n, key=key, scope=Scope.ENV) for n, key in ((5, "'k'"), (3, '"k"'))]
    (limit,) = limits_for(config(*entries), {})
    assert limit.limit == 3


@given(
    st.recursive(
        st.none() | st.integers() | st.text() | st.floats(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_every_value_has_a_hash(found: Any) -> None:
    assert len(key_hash(found)) == 16
