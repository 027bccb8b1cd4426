"""Keys of conditions: what an event must have to satisfy one. They miss nothing."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.core.cel import ExpressionError
from stepwell.core.cel.keys import canonical, equality_key, event_keys
from stepwell.core.cel.residual import residual
from stepwell.core.cel.values import equal
from tests.core.test_cel_residual import EVENT, EVENTS, TEXTS, parsed, true_for


@pytest.mark.parametrize("text", ["", "event.", "evnt.data == 1", "async.a =="])
def test_text_that_can_not_be_read_is_an_error(text: str) -> None:
    with pytest.raises(ExpressionError):
        equality_key(text)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("async.data.user.id == 'u1'", ("data.user.id", b"su1")),
        ("5.0 == async.data.n", ("data.n", b"n5")),
        ("async['data']['n'] == 5", ("data.n", b"n5")),
        ("async.name == 'x' && async.data.ok == true && (async.data.n == 255 && async.a > 1)", ("data.n", b"nff")),
        ("async.name == 'x' && async.data.ok == true", ("data.ok", b"t")),
        ("async.name == 'x'", ("name", b"sx")),
        ("async.data.n == 1 || async.data.m == 2", None),
        ("!(async.data.n == 1)", None),
        ("async.data.n != 1", None),
        ("async.data.n == null", None),
        ("async.data.n == null.missing", None),
        ("async.data.n == [1]", None),
        ("async.data.n == event.data.n", None),
        ("async['a.b'] == 1", None),
        ("async.l[0] == 1", None),
        ("async == 1", None),
        ("has(async.a) == true", None),
        ("async.l.exists(async, async.a == 1)", None),
        ("true", None),
    ],
)
def test_key(text: str, wanted: tuple[str, bytes] | None) -> None:
    assert equality_key(text) == wanted


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=3)
    | st.sampled_from([1, 1.0, True, "1"])
)
LONG = st.sampled_from(["x" * 64, "x" * 65, "x" * 66, 10**500, 2**53 + 1, float(2**53)])


@given(SCALARS | LONG, SCALARS | LONG)
def test_canonical_agrees_with_equality(a: Any, b: Any) -> None:
    forms = canonical(a), canonical(b)
    if None not in forms:
        assert (forms[0] == forms[1]) is equal(a, b)
    assert all(form is None or len(form) <= 64 for form in forms)
    assert (forms[0] is None) is (a is None)


EQUALITIES = st.tuples(
    st.sampled_from(["async.a", "async.b", "async['a']", "async.a.b"]), st.sampled_from(["event.a", "'a'", "1", "true"])
).flatmap(lambda pair: st.permutations(pair).map(" == ".join))


@given(EQUALITIES, TEXTS, EVENTS, EVENTS, st.booleans(), st.booleans())
def test_no_event_that_satisfies_is_missed(
    same: str, rest: str, event: dict[str, Any], other: dict[str, Any], alone: bool, first: bool
) -> None:
    text = same if alone else f"({same}) && ({rest})" if first else f"({rest}) && ({same})"
    if parsed(text) is None:
        return
    left = residual(text, event)
    key = equality_key(left)
    if key is not None and true_for(left, **{"async": other}):
        assert event_keys([key[0]], other) == [key]


def test_event_keys_leave_out_what_has_no_form() -> None:
    paths = ["data.n", "data.id.x", "data.l", "data.nothing", "gone", "name"]
    assert event_keys(paths, EVENT) == [("data.n", b"n5"), ("name", b"sshop/order")]
