"""Content codings are undone, whichever they are, and bombs are cut before they go off."""

import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import brotli
import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from stepwell.wire import decoders
from stepwell.wire.encodings import CannotDecode, DecodedSize, DecodesToMore, accepted, decode

Pack = Callable[[bytes], bytes]


def _brotli(data: bytes) -> bytes:
    return brotli.compress(data, quality=5)


PACK: dict[str, Pack] = {"gzip": gzip.compress, "deflate": zlib.compress, "br": _brotli, "zstd": zstd.compress}
BODIES = st.binary(max_size=300_000) | st.integers(0, 3_000_000).map(bytes)


def pack(body: bytes, codings: list[str]) -> bytes:
    for coding in codings:
        body = PACK[coding](body)
    return body


def measured(packed: bytes, codings: list[str], limit: int, every: int = 50_000) -> bool:
    """Whether a body that came in pieces of ``every`` bytes is found to be over the limit."""
    size = DecodedSize(codings, limit)
    try:
        for at in range(0, len(packed), every):
            if size.feed(packed[at : at + every]):
                size.measure()
    except DecodesToMore:
        return True
    return False


@given(BODIES, st.lists(st.sampled_from(sorted(PACK)), max_size=3))
@settings(max_examples=50, deadline=None)
def test_what_is_packed_comes_back(body: bytes, codings: list[str]) -> None:
    assert decode(pack(body, codings), [", ".join(codings)], 3_000_000) == body


@given(BODIES, st.lists(st.sampled_from(sorted(PACK)), min_size=1, max_size=3), st.integers(1, 3_000_000), st.data())
@settings(max_examples=100, deadline=None)
def test_what_arrives_in_pieces_is_measured(body: bytes, codings: list[str], limit: int, data: st.DataObject) -> None:
    """It is over the limit if what is packed is, or what one of the codings made of it."""
    sizes = [len(pack(body, codings[:count])) for count in range(len(codings))]
    every = data.draw(st.integers(1, 100_000) if max(sizes) > 100_000 else st.integers(1, 10))
    packed = pack(body, codings)
    assert measured(packed, codings, limit, every) is (max(sizes) > limit)


def test_a_bare_deflate_stream_is_measured_too() -> None:
    unit = zlib.compressobj(wbits=-15)
    assert measured(unit.compress(bytes(3_000_000)) + unit.flush(), ["deflate"], 2_000_000)


def test_codings_that_nobody_knows_do_not_hide_a_bomb() -> None:
    """A client that passes them over would set it off."""
    assert measured(gzip.compress(bytes(3_000_000)), ["gzip, rot13", "identity"], 2_000_000)
    assert not measured(b"plain", ["rot13"], 2)


def test_what_damaged_data_has_become_until_there_counts() -> None:
    packed = zstd.compress(bytes(3_000_000))
    assert measured(packed + b"damaged", ["zstd"], 2_000_000)
    assert not measured(b"damaged" * 100_000, ["zstd"], 1000)


def test_what_is_too_little_to_be_a_bomb_is_not_decoded() -> None:
    size = DecodedSize(["gzip"], 10_320_000)
    assert [size.feed(bytes(count)) for count in (9_999, 1, 1)] == [False, False, True]


@pytest.mark.parametrize("coding", sorted(PACK))
def test_bombs_are_cut(coding: str) -> None:
    with pytest.raises(CannotDecode, match="more than 1000000 bytes"):
        decode(pack(bytes(50_000_000), [coding, coding]), [f"{coding}, {coding}"], 1_000_000)
    assert decode(pack(bytes(1000), [coding]), [coding], 1000) == bytes(1000)


@pytest.mark.parametrize("coding", sorted(PACK))
def test_bombs_take_little_memory(coding: str) -> None:
    bomb = PACK[coding](bytes(100_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(CannotDecode, match="more than 1000000 bytes"):
            decode(bomb, [coding], 1_000_000)
        assert measured(bomb, [coding], 1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_a_window_larger_than_the_coding_may_have_is_refused() -> None:
    """RFC 9659: 8 MiB. More would let a few bytes ask for gigabytes."""
    options = {zstd.CompressionParameter.window_log: 24, zstd.CompressionParameter.content_size_flag: 0}
    unit = zstd.ZstdCompressor(options=options)
    with pytest.raises(CannotDecode, match="damaged"):
        decode(unit.compress(b"hello") + unit.flush(), ["zstd"], 1000)


def test_only_what_can_be_decoded_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert accepted() == "gzip, deflate, br, zstd"

    def missing(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr(decoders, "import_module", missing)
    assert sorted(decoders._decoders()) == ["deflate", "gzip", "x-gzip"]


def test_a_brotli_without_limits_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Old:
        Decompressor = object

    monkeypatch.setattr(decoders, "import_module", lambda name: Old)
    assert "br" not in decoders._decoders()
