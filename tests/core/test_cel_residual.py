"""Residual expressions: the same truth without the event, text that parses again."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.core.cel import ExpressionError
from stepwell.core.cel import compile as compile_expression
from stepwell.core.cel.residual import ResidualTooLarge, residual
from stepwell.core.cel.unparse import unparse

EVENT: dict[str, Any] = {
    "name": "shop/order",
    "data": {
        "id": "o'1\\\n",
        "n": 5,
        "f": 1.5,
        "no": False,
        "nothing": None,
        "l": [1, "a"],
        "m": {"k v": 2},
        "bad": "(",
    },
}
NOW = 1_750_000_000_000

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.sampled_from([0, 1, -1, 2, 1.0, 1.5, -0.0, 2**53, 2**53 + 1, 2**63, float("inf")])
    | st.sampled_from(["", "a", "b", "1", "(", "'\\\n", "true", "1h", "2024-01-01"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
    max_leaves=4,
)
EVENTS = st.fixed_dictionaries({}, optional={"a": VALUES, "b": VALUES})
LEAVES = st.sampled_from(
    ["null", "true", "false", "0", "1", "2", "1.0", "-1", "''", "'a'", "b'a'", "1e999", "[]", "{}", "now()", "1 / 0"]
    + [f"{side}{path}" for side in ("event", "async") for path in ("", ".a", ".b", ".a.b", ".a[0]", "['b']", ".z")] * 2
)


def grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    logical = st.sampled_from(["&&", "||"])
    operators = st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "in", "+", "-", "*", "/", "%"])
    calls = ["size({})", "string({})", "int({})", "timestamp({})", "duration({})", "lowercase({})", "({}).a", "!({})"]
    methods = ["({}).matches({})", "({}).startsWith({})", "({})[{}]", "[{}, {}]", "{{'a': {}, 'b': {}}}"]
    methods += ["({}).exists(i, i == ({}))", "({}).all(event, event.a == ({}))", "({}).map(async, async + ({}))"]
    return (
        st.tuples(inner, logical | operators, inner).map(lambda p: f"({p[0]}) {p[1]} ({p[2]})")
        | st.tuples(inner, logical, inner).map(lambda p: f"({p[0]}) {p[1]} ({p[2]})")
        | st.tuples(inner, inner, inner).map(lambda p: f"({p[0]}) ? ({p[1]}) : ({p[2]})")
        | st.tuples(st.sampled_from([*calls, "has(({}).b)", "-({})"]), inner).map(lambda p: p[0].format(p[1]))
        | st.tuples(st.sampled_from(methods), inner, inner).map(lambda p: p[0].format(p[1], p[2]))
    )


TEXTS = st.recursive(LEAVES, grown, max_leaves=7)


def parsed(text: str) -> Any:
    """The program, or None: ``'a'.matches('(')`` is refused when it is read."""
    try:
        return compile_expression(text)
    except ExpressionError:
        return None


def true_for(text: str, **variables: Any) -> bool:
    return compile_expression(text, frozenset(variables)).condition(variables, now_ms=NOW)


@given(TEXTS)
def test_a_tree_survives_its_text(text: str) -> None:
    program = parsed(text)
    if program is not None:
        # repr tells 1 from 1.0 and true, which are equal in Python
        assert repr(compile_expression(unparse(program.tree)).tree) == repr(program.tree)


@pytest.mark.parametrize(
    "text",
    [
        "1 - (2 - 3) - 4", "(a && b) || c && (d || e)", "!(a == b)", "!!a", "--a", "(-5).a", "- (a + b)", "-1.5e-7",
        "(a ? b : c) ? (d ? e : a) : b ? c : d", "(a + b).c[d ? 1 : 2]", "has(a.b.c)", "a.in.true", "5.e1", "1e999",
        "'\\\\\\'\\n\\r\\t\"'", "b'\\xff'", "{'a': a ? b : c, 2: []}", "a.map(i, i > 1, {'x': i}).size() in [1]",
        "a.lowercase()" + ".lowercase()" * 100, "'a'.matches('^a') && now_plus('1h') > now()", "-9223372036854775808",
    ],
)  # fmt: skip
def test_text_of_every_shape(text: str) -> None:
    names = frozenset("abcde")
    tree = compile_expression(text, names).tree
    assert repr(compile_expression(unparse(tree), names).tree) == repr(tree)


@given(TEXTS, EVENTS, EVENTS)
def test_a_residual_means_the_same(text: str, event: dict[str, Any], other: dict[str, Any]) -> None:
    if parsed(text) is not None:
        left = residual(text, event)
        assert true_for(left, **{"async": other}) is true_for(text, **{"event": event, "async": other})
        assert "async" in left or "now" in left or left in ("true", "false")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("event.data.n == 5", "true"),
        ("event.data.n", "false"),
        ("1 / 0 == 1", "false"),
        ("async.data.n == event.data.n", "async.data.n == 5.0"),
        ("event['data'].id == async.data.id", "'o\\'1\\\\\\n' == async.data.id"),
        ("async.data.x == event.data.x", "async.data.x == null.missing"),
        ("async.data.x == event.data.nothing", "async.data.x == null"),
        ("async.data.n in event.data.l", "async.data.n in [1, 'a']"),
        ("event.data.m[async.k] == 2", "{'k v': 2}[async.k] == 2"),
        ("event.data.no && async.a == 1", "false"),
        ("async.a == 1 && event.data.no", "false"),
        ("async.a == 1 && event.data.n == 5", "async.a == 1"),
        ("event.data && async.a == 1", "async.a == 1"),
        ("event.data.x || async.a == 1", "async.a == 1"),
        ("event.data.n == 5 || async.a == 1", "true"),
        ("async.a == 1 || event.data.n == 5", "true"),
        ("event.data.id < 1 || async.a == 1", "async.a == 1"),
        ("event.data.n > 4 ? async.a == 1 : async.b == 2", "async.a == 1"),
        ("async.s.matches(event.data.bad)", "async.s.matches('(' + '')"),
        ("async.l.exists(event, event == 1)", "async.l.exists(event, event == 1)"),
        ("async.l.exists(i, i > event.data.n)", "async.l.exists(i, i > 5.0)"),
        ("now() > timestamp(event.data.n)", "now() > timestamp(5.0)"),
    ],
)
def test_what_is_left(text: str, wanted: str) -> None:
    assert residual(text, EVENT) == wanted


def test_two_missing_values_stay_unequal() -> None:
    left = residual("async.data.user == event.data.user", {"data": {}})
    assert not true_for(left, **{"async": {"data": {}}})
    assert true_for(left, **{"async": {"data": {"user": None}}})


@pytest.mark.parametrize("text", ["", "event.", "evnt.data == 1", "async.a =="])
def test_text_that_can_not_be_read_is_an_error(text: str) -> None:
    with pytest.raises(ExpressionError):
        residual(text, EVENT)


@pytest.mark.parametrize(
    "value",
    ["x" * 9000, list(range(3000)), 10**500, 10**5000, eval("[" * 90 + "]" * 90)],
    ids=["text", "list", "digits", "more digits", "depth"],
)
def test_values_that_do_not_fit_are_told_apart(value: Any) -> None:
    with pytest.raises(ResidualTooLarge):
        residual("async.data.v == event.v", {"v": value})
    assert residual("event.v == event.v", {"v": value}) == "true"


def test_folding_is_bounded() -> None:
    product = "event.l.all(a, event.l.all(b, event.l.all(c, a + b + c >= 0)))"
    left = residual(f"!({product}) && async.a == 1", {"l": list(range(100))})
    assert not true_for(left, **{"async": {"a": 1}})
