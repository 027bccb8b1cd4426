"""User values through JSON and back."""

import dataclasses
import datetime as dt
import enum
import functools
import math
import uuid
from decimal import Decimal
from typing import Any, NamedTuple, Optional

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell import NonRetriableError, ValueNotSerializable
from stepwell.sdk import values
from tests.sdk.fake_engine import Engine


@dataclasses.dataclass
class Point:
    x: int
    when: dt.datetime


class Model(pydantic.BaseModel):
    name: str
    at: dt.date


class Fast(msgspec.Struct):
    ids: list[uuid.UUID]


class Colour(enum.Enum):
    RED = "red"


class Ratio(float):
    """A number of a class of its own, as numpy's are."""


class Count(int):
    """The same."""


class Pair(NamedTuple):
    a: int
    b: str


NOW = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_json_comes_back_as_it_was(value: Any) -> None:
    assert values.decode(values.encode(value, "it is")) == value


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Point, Point(1, NOW)),
        (Model, Model(name="n", at=NOW.date())),
        (list[Model], [Model(name="n", at=NOW.date())]),
        (Fast, Fast([uuid.UUID(int=5)])),
        (Colour, Colour.RED),
        (Pair, Pair(1, "b")),
        (dt.datetime, NOW),
        (dt.timedelta, dt.timedelta(seconds=90)),
        (Decimal, Decimal("1.10")),
        (set[int], {1, 2}),
        (bytes, b"\x00\xff"),
        (tuple[int, str], (1, "a")),
        (dict[str, Point], {"p": Point(1, NOW)}),
        (Optional[Point], None),  # noqa: UP045
        (Point | None, Point(2, NOW)),
    ],
)
def test_declared_types_come_back(kind: Any, value: Any) -> None:
    def handler() -> Any:
        return value

    handler.__annotations__["return"] = kind
    declared = values.declared(functools.partial(handler))
    assert declared is not None
    assert values.decode(values.encode(value, "it is"), declared) == value


@pytest.mark.parametrize(
    "kind", [int, str, dict, list[int], dict[str, Any], Any, None, "Unknown", object, float | None]
)
def test_plain_annotations_are_not_enforced(kind: Any) -> None:
    def handler() -> Any: ...

    handler.__annotations__["return"] = kind
    assert values.declared(handler) is None


class Wrapper:
    """A callable that nothing can refer to weakly."""

    __slots__ = ("__annotations__", "inner")

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.__annotations__ = inner.__annotations__

    def __call__(self) -> Any:
        return self.inner()


def test_the_declared_type_of_a_callable_that_can_not_be_kept_in_mind() -> None:
    def handler() -> dt.date:
        return dt.date(2026, 1, 1)

    assert values.declared(Wrapper(handler)) is dt.date


def test_mismatch_is_final() -> None:
    with pytest.raises(NonRetriableError, match="does not fit"):
        values.decode(b'"x"', Point)


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"a": [1, {"b": object()}]}, r"builtins|object at \$\['a'\]\[1\]\['b'\]"),
        (lambda: 1, r"function at \$"),
        ({"x": math.nan}, r"\$\['x'\]"),
        ([math.inf], r"\$\[0\]"),
        (Point(1, object()), r"object at \$\.when"),  # type: ignore[arg-type]
        ({(1, 2): 3}, r"dict at \$"),
        (["caf\udce9"], r"a text at \$\[0\] that is no Unicode"),
        ([Ratio(math.nan)], r"\$\[0\]"),
    ],
)
def test_what_json_can_not_say_is_named(value: Any, where: str) -> None:
    with pytest.raises(ValueNotSerializable, match=where) as caught:
        values.encode(value, "step 'a' returned")
    assert str(caught.value).startswith("step 'a' returned")
    assert "dataclass" in str(caught.value)


def test_numbers_of_a_class_of_their_own_are_numbers() -> None:
    assert (
        values.encode({"ratio": Ratio(0.5), "count": [Count(2**70)]}, "it is") == b'{"ratio":0.5,"count":[%d]}' % 2**70
    )


def test_loops_and_sizes() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(ValueNotSerializable, match="contains itself"):
        values.encode(loop, "it is")
    with pytest.raises(ValueNotSerializable, match="4194304"):
        values.encode("x" * 5_000_000, "it is")


async def test_step_results_keep_their_declared_type() -> None:
    async def load() -> Point:
        return Point(3, NOW)

    async def f(ctx: Any) -> Any:
        point = await ctx.step.run("load", load)
        model = await ctx.step.run("model", lambda: {"name": "x", "at": "2026-01-02"}, output_type=Model)
        return [type(point).__name__, type(model).__name__, point]

    assert await Engine(f).run() == ["Point", "Model", {"x": 3, "when": "2026-01-02T03:04:05Z"}]
