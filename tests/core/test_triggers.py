"""Which functions an event starts."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.core.triggers import TriggerIndex, patterns, problems
from stepwell.wire.functions import Batch, Cancel, Concurrency, FunctionConfig, RateLimit, Trigger


def function(name: str, *triggers: Trigger, **members: Any) -> FunctionConfig:
    return FunctionConfig(id=name, name=name, triggers=triggers, **members)


def on(event: str, expression: str | None = None) -> Trigger:
    return Trigger(event=event, expression=expression)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("a", ["a"]),
        ("a/b.c", ["a/b.c", "a/*", "a/b.*"]),
        ("a.b.c", ["a.b.c", "a.*", "a.b.*"]),
        ("/a", ["/a"]),
        ("a/", ["a/", "a/*"]),
        ("a/*", ["a/*"]),
    ],
)
def test_patterns_that_cover_a_name(name: str, wanted: list[str]) -> None:
    assert patterns(name) == wanted


def test_match_by_name_and_pattern() -> None:
    index = TriggerIndex(
        [
            function("exact", on("a/b.c")),
            function("slash", on("a/*")),
            function("dot", on("a/b.*")),
            function("x", on("a")),
        ]
    )
    assert index.match("a/b.c", {}) == ["exact", "slash", "dot"]
    assert index.match("a/b", {}) == ["slash"]
    assert index.match("a", {}) == ["x"]
    assert index.match("b", {}) == []


def test_one_match_for_each_function_in_their_order() -> None:
    index = TriggerIndex([function("two", on("a/*"), on("a/b"), on("a/b", "true")), function("one", on("a/b"))])
    assert index.match("a/b", {}) == ["two", "one"]


def test_expressions_decide() -> None:
    index = TriggerIndex(
        [
            function("big", on("order", "event.data.total > 100")),
            function("failed", on("order", "event.data.function_id == 'app-f'")),
            function("text", on("order", "event.data.note")),
            function("fails", on("order", "event.data.note < 1")),
            function("either", on("order", "event.data.total > 100"), on("order", "event.data.note == 'x'")),
        ]
    )
    event = {"name": "order", "data": {"total": 200, "note": "x"}}
    assert index.match("order", event) == ["big", "either"]
    assert index.match("order", msgspec.json.encode(event)) == ["big", "either"]
    assert index.match("order", {"data": {"note": "x"}}) == ["either"]


def test_event_text_is_not_read_without_need() -> None:
    assert TriggerIndex([function("f", on("a"))]).match("a", b"not JSON") == ["f"]


def test_crons_and_bad_expressions_match_nothing() -> None:
    index = TriggerIndex(
        [function("cron", Trigger(cron="* * * * *")), function("bad", on("a", "event.data ="), on("b"))]
    )
    assert index.match("a", {}) == []
    assert index.match("b", {}) == ["bad"]


def test_problems_of_expressions() -> None:
    config = function(
        "f",
        on("a", "evnt.data.x"),
        concurrency=(Concurrency(limit=1, key="event.data."),),
        rate_limit=RateLimit(limit=1, period_ms=1, key="event.data.ok"),
        batch=Batch(max_size=2, timeout_ms=1, condition="async.data.x"),
        cancel=(Cancel(event="c", condition="async.data.x == event.data.x"), Cancel(event="c", condition="1 +")),
        priority="nope()",
    )
    found = problems(config)
    assert [text.split(":")[1].strip().split(" '")[0] for text in found] == [
        "trigger expression",
        "concurrency key",
        "priority",
        "batchEvents if",
        "cancel if",
    ]
    assert "unknown variable 'evnt'" in found[0]
    assert problems(function("g", on("a", "true"), on("b"))) == []


SEGMENTS = st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=4)


@given(SEGMENTS, st.lists(st.sampled_from("/."), min_size=3, max_size=3), SEGMENTS, st.sampled_from(["", "/*", ".*"]))
def test_index_agrees_with_the_plain_rule(words: list[str], signs: list[str], prefix: list[str], end: str) -> None:
    name = "".join(word + sign for word, sign in zip(words, [*signs[: len(words) - 1], ""], strict=True))
    pattern = "".join(word + sign for word, sign in zip(prefix, [*signs[: len(prefix) - 1], ""], strict=True)) + end
    wanted = name == pattern if not end else name.startswith(pattern[:-1])
    assert (TriggerIndex([function("f", on(pattern))]).match(name, {}) == ["f"]) is wanted
