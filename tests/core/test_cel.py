"""Expressions: the dialect's rules one by one, and agreement with a CEL library where it follows the standard."""

from datetime import UTC, datetime, timedelta
from typing import Any

import cel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.core.cel import ExpressionError
from stepwell.core.cel import compile as compile_expression

EVENT: dict[str, Any] = {
    "name": "shop/order",
    "ts": 1_700_000_000_000,
    "data": {
        "n": 5,
        "f": 1.5,
        "s": "abc",
        "t": "3",
        "yes": True,
        "no": False,
        "nothing": None,
        "empty": "",
        "list": [1, 2, 3],
        "map": {"a": 1, "b c": 2},
        "at": "2024-01-01T00:00:00Z",
        "big": 2**60,
        "json": '{"a":[1,2]}',
        "b64": "aGk=",
    },
}
NOW = 1_750_000_000_000


def value(text: str, **variables: Any) -> Any:
    return compile_expression(text).evaluate({"event": EVENT, **variables}, now_ms=NOW)


def shown(text: str) -> tuple[type, Any]:
    found = value(text)
    return (type(found), found)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        # what is missing
        ("event.data.x == null", True),
        ("null == event.data.x", True),
        ("event.data.x != null", False),
        ("event.data.x == 1", False),
        ("event.data.x == ''", False),
        ("event.data.x != 1", True),
        ("event.data.x == event.data.y", False),
        ("event.data.x != event.data.y", True),
        ("event.data.x == event.data.nothing", True),
        ("event.data.x < 1", True),
        ("event.data.x <= 1", True),
        ("event.data.x > 1", False),
        ("event.data.x >= 1", False),
        ("1 > event.data.x", True),
        ("1 >= event.data.x", True),
        ("1 < event.data.x", False),
        ("1 <= event.data.x", False),
        ("'z' > event.data.x", True),
        ("size(event.data.x)", 0),
        ("event.data.x.size()", 0),
        ("event.data.x.y.z == null", True),
        ("event.data.s.y == null", True),
        ("event.data.list[9] == null", True),
        ("event.data.list['a'] == null", True),
        ("event.data.list[0.5] == null", True),
        ("event.data['x'] == null", True),
        ("event.data.x.startsWith('a')", False),
        ("'a'.contains(event.data.x)", False),
        ("event.data.x.matches('.*')", False),
        ("lowercase(event.data.x)", False),
        ("string(event.data.x)", False),
        ("event.data.x - 1", False),
        ("-event.data.x", False),
        ("'a' + event.data.x", "a"),
        ("event.data.x + 'a'", "a"),
        ("event.data.x + event.data.y", None),
        ("event.data.x", None),
        ("event.data.x in [1]", False),
        ("1 in event.data.x", False),
        ("event.data.x.exists(i, true)", False),
        ("event.data.x.all(i, true)", False),
        ("event.data.x.map(i, i)", []),
        ("event.data.x.filter(i, true)", []),
        ("[event.data.x]", [None]),
        ("!event.data.x", True),
        ("has(event.data.x)", False),
        ("has(event.data.nothing)", True),
        ("has(event.data.x.y)", False),
        # truthiness, and the operand that decides
        ("event.data.x || event.data.s", "abc"),
        ("event.data.s || event.data.x", "abc"),
        ("event.data.empty || event.data.no || 'last'", "last"),
        ("event.data.s && event.data.n", 5),
        ("event.data.empty && event.data.n", ""),
        ("event.data.no && (1 / 0 == 1)", False),
        ("(1 / 0 == 1) && event.data.no", False),
        ("event.data.yes || (1 / 0 == 1)", True),
        ("(1 / 0 == 1) || event.data.yes", True),
        ("event.data.s ? 'y' : 'n'", "y"),
        ("event.data.x ? 'y' : 'n'", "n"),
        ("event.data.list ? 1 : 2", 1),
        ("!event.data.s", False),
        ("!!event.data.n", True),
        # numbers
        ("event.data.n == 5", True),
        ("event.data.n == 5.0", True),
        ("2.0 == 2", True),
        ("2 > 1.5", True),
        ("event.data.n / 2", 2.5),
        ("5 / 2", 2),
        ("-5 / 2", -2),
        ("-7 % 3", -1),
        ("7 % -3", 1),
        ("event.data.n % 2", 1),
        ("1 + 0.5", 1.5),
        ("0x10 + 1u", 17),
        ("event.data.big == 1152921504606846976", True),
        ("true == 1", False),
        ("event.data.yes == 1", False),
        # text
        ("event.data.s + event.data.n", "abc5"),
        ("event.data.n + event.data.s", "5abc"),
        ("'a' + 1.5", "a1.5"),
        ("'t' + event.ts", "t1700000000000"),
        ("'a' + true", "atrue"),
        ("string(event.data.n)", "5"),
        ("string(1.5)", "1.5"),
        ("'a' < 'b'", True),
        ("'\\u00e9\\n\\x41\\101'", "é\nAA"),
        (r"r'\d'", r"\d"),
        ("'''a'b'''", "a'b"),
        ('"""x\ny"""', "x\ny"),
        ("b'ab' == b'ab'", True),
        # null
        ("event.data.nothing == 0", False),
        ("event.data.nothing != 0", True),
        ("event.data.nothing == null", True),
        ("event.data.nothing < 1", True),
        ("event.data.nothing < 0", False),
        ("event.data.nothing >= 0", True),
        ("event.data.nothing > 'a'", False),
        ("event.data.nothing < 'a'", True),
        ("event.data.nothing <= event.data.nothing", True),
        ("null < null", False),
        ("null < timestamp('2024-01-01T00:00:00Z')", True),
        ("'a' + null", "a"),
        ("5 - null", 5),
        ("size(null)", 0),
        # members, lists, maps
        ("event['data']['n']", 5),
        ("event.data.map['b c']", 2),
        ("event.data.list[1]", 2),
        ("2 in event.data.list", True),
        ("2.0 in [1, 2]", True),
        ("'2' in event.data.list", False),
        ("'a' in event.data.map", True),
        ("[1, 'a'] == [1.0, 'a']", True),
        ("{'a': [1]} == {'a': [1.0]}", True),
        ("{'a': 1, 2: 3}[2]", 3),
        ("[1, 2,]", [1, 2]),
        ("[1] + [2]", [1, 2]),
        ("size('é😀')", 2),
        ("event.data.list.size()", 3),
        # macros
        ("event.data.list.exists(i, i > 2)", True),
        ("event.data.list.all(i, i > 1)", False),
        ("[].all(i, false)", True),
        ("event.data.list.exists_one(i, i == 1)", True),
        ("event.data.list.filter(i, i > 1)", [2, 3]),
        ("event.data.list.map(i, i * 2)", [2, 4, 6]),
        ("event.data.list.map(i, i > 1, i * 2)", [4, 6]),
        ("event.data.map.exists(k, k == 'a')", True),
        ("[[1], [2]].exists(l, l.exists(i, i == 2))", True),
        ("[1].exists(event, event == 1) && event.data.n == 5", True),
        # functions
        ("event.data.s.startsWith('ab') && event.data.s.endsWith('bc') && event.data.s.contains('b')", True),
        ("event.data.n.startsWith('5')", False),
        ("event.data.s.matches('^a.c$')", True),
        ("matches(event.data.s, 'x')", False),
        ("int('7') + int(1.9) + int(event.data.t)", 11),
        ("double('1.5')", 1.5),
        ("bool('true')", True),
        ("uppercase(event.data.s) + lowercase('ABC')", "ABCabc"),
        ("b64decode(event.data.b64)", "hi"),
        ("json_parse(event.data.json).a[1]", 2),
        ("timestamp(event.data.at) < timestamp('2024-01-01T00:00:01Z')", True),
        ("date(event.ts) == timestamp('2023-11-14T22:13:20Z')", True),
        ("date(1700000000) == date(1700000000000)", True),
        ("date('2024-01-02') - date('2024-01-01') == duration('1d')", True),
        ("timestamp('2024-01-01T00:00:00Z') + duration('1h') > timestamp('2024-01-01T00:59:59Z')", True),
        ("duration('90m') == duration('1h30m')", True),
        ("now_plus('1h') > now() && now_minus('1h') < now()", True),
        ("string(timestamp('2024-01-01T01:00:00+01:00'))", "2024-01-01T00:00:00Z"),
        # syntax
        ("event.data.n // a comment\n == 5", True),
        ("1 + 2 * 3 == 7 && !(1 > 2) || false", True),
        ("true ? (false ? 1 : 2) : 3", 2),
        ("false ? 1 : false ? 2 : 3", 3),
        ("- -1", 1),
    ],
)
def test_rule(text: str, wanted: Any) -> None:
    found = value(text)
    assert found == wanted
    assert isinstance(found, bool) is isinstance(wanted, bool)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "ends too early"),
        ("1 +", "ends too early"),
        ("1 2", "unexpected 2 at character 3"),
        ("(1", r"expected '\)'"),
        ("a ~ b", "unexpected '~' at character 3"),
        ("evnt.data", "unknown variable 'evnt' at character 1: there is async, event"),
        ("event.data.map(i, i) && i", "unknown variable 'i'"),
        ("'a", 'unexpected "\'"'),
        (r"'\q'", "unknown escape"),
        (r"'\ud800'", "unknown escape"),
        ("event.", "expected a member's name"),
        ("event.foo()", "there is no method foo"),
        ("foo(1)", "there is no function foo"),
        ("startsWith('a', 'b')", "there is no function startsWith"),
        ("size()", "takes 1 argument"),
        ("'a'.startsWith()", "takes 1 argument"),
        ("has(event)", "takes one member"),
        ("has(1, 2)", "takes one member"),
        ("[1].map(i)", "takes a variable"),
        ("[1].exists(i, i, i)", "takes a variable"),
        ("[1].exists(1, i)", "expected a variable's name"),
        ("'a'.matches('(')", "too early an end|not closed"),
        ("'a'.matches('(?=a)')", "not supported"),
        ("a" * 8193, "has 8193"),
        ("1" * 500, "too long"),
        ("(" * 200 + "1" + ")" * 200, "nested too deeply"),
        ("[" * 2000, "nested too deeply"),
        ("!" * 3000 + "true", "nested too deeply"),
        ("1" + "+1" * 1000, "nested too deeply"),
        ("event" + ".a" * 1000, "nested too deeply"),
        ("true ? 1 : " * 500 + "2", "nested too deeply"),
    ],
)
def test_bad_text_is_told_where_and_why(text: str, says: str) -> None:
    with pytest.raises(ExpressionError, match=says):
        compile_expression(text)


def test_an_integer_beyond_all_doubles_can_be_added_to_none() -> None:
    program = compile_expression("event.huge + 1.5 > 0")
    with pytest.raises(ExpressionError, match="leaves the range of numbers"):
        program.evaluate({"event": {"huge": 10**400}})
    assert not program.condition({"event": {"huge": 10**400}})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("event.data.s < 1", "a string and a number have no order"),
        ("[1] < [2]", "have no order"),
        ("1 / 0", "by zero"),
        ("1.5 / 0.0", "by zero"),
        ("1 % 0", "by zero"),
        ("'a' - 'b'", "does not take a string and a string"),
        ("[1] + 1", "does not take"),
        ("-'a'", "has no negative"),
        ("1 in 'abc'", "looks into lists and maps"),
        ("9223372036854775807 + 1", "64 bits"),
        ("size(1)", "takes a string"),
        ("int('x')", "int()"),
        ("bool('maybe')", "bool()"),
        ("double([1])", "double()"),
        ("timestamp('soon')", "timestamp()"),
        ("timestamp(1e300)", "timestamp()"),
        ("duration(5)", "a duration is made of"),
        ("duration('soon')", "is not a duration"),
        ("b64decode('!')", "base64"),
        ("json_parse('{')", "not JSON"),
        ("lowercase(1)", "takes a string"),
        ("event.data.n.exists(i, true)", "goes over lists and maps"),
        ("{[1]: 2}", "keys of a map"),
        ("'a' + [1]", "can not be written as text"),
        ("timestamp('9999-12-31T23:59:59Z') + duration('1w')", "years 1 to 9999"),
        ("'a'.matches(event.data.s + '(')", "pattern"),
    ],
)
def test_bad_values_are_told(text: str, says: str) -> None:
    with pytest.raises(ExpressionError, match=says.replace("()", r"\(\)")):
        value(text)
    assert compile_expression(text).condition({"event": EVENT}, now_ms=NOW) is False


def test_condition_wants_a_boolean() -> None:
    assert compile_expression("event.data.n == 5").condition({"event": EVENT}) is True
    for text in ("event.data.n", "event.data.x", "event.data.s || false", "null", "1 / 0", "now() > now()"):
        assert compile_expression(text).condition({"event": EVENT}) is False


def test_time_has_to_be_given() -> None:
    with pytest.raises(ExpressionError, match="the time is not known here"):
        compile_expression("now()").evaluate({})
    assert value("now()") == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=NOW)


def test_two_events() -> None:
    text = "event.data.n == async.data.n && async.name == 'b'"
    assert value(text, **{"async": {"name": "b", "data": {"n": 5.0}}}) is True
    assert value(text) is False


def test_variables_can_be_fewer() -> None:
    with pytest.raises(ExpressionError, match="unknown variable 'async'"):
        compile_expression("async.data", frozenset({"event"}))


def test_programs_are_remembered() -> None:
    assert compile_expression("event.data.n > 4") is compile_expression("event.data.n > 4")


def test_work_is_bounded() -> None:
    many = {"event": {"l": list(range(400))}}
    with pytest.raises(ExpressionError, match="more than 100000 steps"):
        compile_expression("event.l.all(a, event.l.all(b, event.l.all(c, a + b + c >= 0)))").evaluate(many)


def test_results_are_bounded() -> None:
    long = {"event": {"s": "x" * 600_000}}
    with pytest.raises(ExpressionError, match="more than 1048576"):
        compile_expression("event.s + event.s").evaluate(long)


def test_variables_are_not_changed() -> None:
    event = {"data": {"l": [1, 2]}}
    assert compile_expression("event.data.l.map(event, event + 1)").evaluate({"event": event}) == [2, 3]
    assert event == {"data": {"l": [1, 2]}}


NAMES = st.sampled_from(["a", "b", "c"])
TEXTS = st.text("ab'\\\né", max_size=4)


def literal(found: Any) -> str:
    if isinstance(found, bool):
        return str(found).lower()
    if isinstance(found, str):
        escaped = found.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
        return f"'{escaped}'"
    return str(found)


def binary(operators: list[str], side: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(side, st.sampled_from(operators), side).map(lambda parts: f"({parts[0]} {parts[1]} {parts[2]})")


INTS = st.recursive(
    st.integers(0, 9).map(str),
    lambda inner: binary(["+", "-", "*"], inner) | inner.map(lambda text: f"(-{text})" if text[0] != "-" else text),
    max_leaves=5,
)
STRINGS = st.recursive(TEXTS.map(literal) | st.just("event.s"), lambda inner: binary(["+"], inner), max_leaves=4)
DOUBLES = st.sampled_from(["1.5", "0.0", "2.0", "event.f"])
LISTS = st.lists(INTS, max_size=3).map(lambda items: f"[{', '.join(items)}]")
COMPARISONS = ["==", "!=", "<", "<=", ">", ">="]
TESTS = (
    binary(COMPARISONS, INTS)
    | binary(COMPARISONS, STRINGS)
    | binary(COMPARISONS, DOUBLES)
    | binary(["==", "!="], LISTS)
    | st.tuples(STRINGS, st.sampled_from(["startsWith", "endsWith", "contains"]), STRINGS).map(
        lambda p: f"{p[0]}.{p[1]}({p[2]})"
    )
    | st.tuples(LISTS, st.sampled_from(["exists", "all", "exists_one"]), st.sampled_from(COMPARISONS), INTS).map(
        lambda p: f"{p[0]}.{p[1]}(i, i {p[2]} {p[3]})"
    )
    | st.tuples(INTS, LISTS).map(lambda p: f"({p[0]} in {p[1]})")
    | st.tuples(INTS, LISTS).map(lambda p: f"(size({p[1]}) < {p[0]})")
    | st.just("has(event.s)")
    | st.just("has(event.nope)")
    | st.just("('s' in event)")
)
BOOLEANS = st.recursive(
    TESTS | st.sampled_from(["true", "false"]),
    lambda inner: (
        binary(["&&", "||"], inner)
        | inner.map(lambda text: f"!({text})")
        | st.tuples(inner, inner, inner).map(lambda p: f"({p[0]} ? {p[1]} : {p[2]})")
    ),
    max_leaves=5,
)


@given(BOOLEANS | INTS | STRINGS)
def test_agrees_with_a_cel_library(text: str) -> None:
    event = {"s": "ab", "f": 1.5}
    assert compile_expression(text).evaluate({"event": event}) == cel.evaluate(text, {"event": event})


@given(st.text("event.data'\"()[]{}!&|=<>+-*/%?:, 0123\\inx", max_size=30))
def test_no_text_breaks_it(text: str) -> None:
    try:
        program = compile_expression(text)
        assert isinstance(program.condition({"event": EVENT}), bool)
        program.evaluate({"event": EVENT}, now_ms=NOW)
    except ExpressionError:
        return


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("xy", max_size=1), inner, max_size=2),
    max_leaves=5,
)
OPERATORS = ["==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "&&", "||", "in"]


@given(ANY, ANY, st.sampled_from(OPERATORS), st.sampled_from(["event.a", "event.a.x", "event.a[0]", "event.nope"]))
def test_no_value_breaks_it(a: Any, b: Any, operator: str, left: str) -> None:
    try:
        compile_expression(f"{left} {operator} event.b").evaluate({"event": {"a": a, "b": b}})
    except ExpressionError:
        return


@given(ANY, ANY)
def test_equality_is_symmetric_and_opposes_inequality(a: Any, b: Any) -> None:
    event = {"event": {"a": a, "b": b}}
    same = compile_expression("event.a == event.b").evaluate(event)
    assert compile_expression("event.b == event.a").evaluate(event) is same
    assert compile_expression("event.a != event.b").evaluate(event) is not same
    assert compile_expression("event.a == event.a").evaluate(event) is True
