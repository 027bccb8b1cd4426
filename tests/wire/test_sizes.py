"""Sizes as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.wire.sizes import parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [("1", 1), ("64MiB", 64 << 20), (" 500 kB ", 500_000), ("1.5gib", 3 << 29), ("2GB", 2 * 10**9), ("7 b", 7)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@given(st.integers(1, 10**12), st.sampled_from(["KiB", "MiB", "GiB"]))
def test_a_unit_multiplies(number: int, unit: str) -> None:
    assert parse_size(f"{number}{unit}") == number * 1024 ** (["KiB", "MiB", "GiB"].index(unit) + 1)


@pytest.mark.parametrize("text", ["", "0", "0.1", "-1", "MiB", "1 2", "1e6", "64Mi B", "\u0661", "1MiBs"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_size(text)
