"""Step ids, ULIDs, stable UUIDs."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.wire.ids import is_ulid, seeded_entropy, stable_uuid, step_hash, ulid, ulid_millis


@pytest.mark.parametrize(
    ("user_id", "index", "wanted"),
    [
        ("step.fetch: localhost", 0, "ed965c72d0175c8a15e4b5e9ce98aa7cd81f0674"),
        ("step.fetch: localhost", 1, "d31b454b3180e1e35ca3d49b406b8b9c441a1e62"),
        ("complete", 0, "0737c22d3bfae812339732d14d8c7dbd6dc4e09c"),
    ],
)
def test_step_hash_vectors(user_id: str, index: int, wanted: str) -> None:
    assert step_hash(user_id, index) == wanted


@given(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10))
def test_ulid_tells_its_time(millis: int, entropy: bytes) -> None:
    text = ulid(millis, entropy)
    assert is_ulid(text)
    assert ulid_millis(text) == millis


@given(st.lists(st.tuples(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10)), min_size=2))
def test_ulids_sort_by_time_and_entropy(parts: list[tuple[int, bytes]]) -> None:
    assert sorted(ulid(*part) for part in parts) == [ulid(*part) for part in sorted(parts)]


@pytest.mark.parametrize(
    "text", ["", "01ARZ3NDEKTSV4RRFFQ69G5FA", "01arz3ndektsv4rrffq69g5fav", "81ARZ3NDEKTSV4RRFFQ69G5FAV", "I" * 26]
)
def test_what_is_no_ulid(text: str) -> None:
    assert not is_ulid(text)
    with pytest.raises(ValueError, match="is not a ULID"):
        ulid_millis(text)


def test_ulid_wants_ten_bytes() -> None:
    with pytest.raises(ValueError, match="10 bytes"):
        ulid(0, b"short")


def test_seeded_entropy_counts_in_its_last_four_bytes() -> None:
    assert seeded_entropy(b"\x01" * 6 + b"\xff" * 4, 1) == b"\x01" * 6 + b"\x00" * 4
    assert seeded_entropy(b"\x00" * 10, 258) == b"\x00" * 8 + b"\x01\x02"


@given(st.lists(st.text(max_size=5), min_size=1, max_size=3), st.lists(st.text(max_size=5), min_size=1, max_size=3))
def test_stable_uuid(one: list[str], other: list[str]) -> None:
    first = stable_uuid(*one)
    assert str(uuid.UUID(first)) == first == stable_uuid(*one)
    assert uuid.UUID(first).version == 5
    if "\x00".join(one) != "\x00".join(other):
        assert first != stable_uuid(*other)
