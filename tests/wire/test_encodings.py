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

from stepwell.wire import encodings
from stepwell.wire.encodings import CannotDecode, accepted, decode

Pack = Callable[[bytes], bytes]


def _brotli(data: bytes) -> bytes:
    return brotli.compress(data, quality=5)


PACK: dict[str, Pack] = {"gzip": gzip.compress, "deflate": zlib.compress, "br": _brotli, "zstd": zstd.compress}


@given(st.binary(max_size=300_000), st.lists(st.sampled_from(sorted(PACK)), max_size=3))
@settings(max_examples=50, deadline=None)
def test_what_is_packed_comes_back(body: bytes, codings: list[str]) -> None:
    packed = body
    for coding in codings:
        packed = PACK[coding](packed)
    assert decode(packed, [", ".join(codings)], 1_000_000) == body


@pytest.mark.parametrize("coding", sorted(PACK))
def test_bombs_are_cut(coding: str) -> None:
    pack = PACK[coding]
    with pytest.raises(CannotDecode, match="more than 1000000 bytes"):
        decode(pack(pack(bytes(50_000_000))), [f"{coding}, {coding}"], 1_000_000)
    assert decode(pack(bytes(1000)), [coding], 1000) == bytes(1000)


@pytest.mark.parametrize("coding", sorted(PACK))
def test_bombs_take_little_memory(coding: str) -> None:
    bomb = PACK[coding](bytes(100_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(CannotDecode, match="more than 1000000 bytes"):
            decode(bomb, [coding], 1_000_000)
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

    monkeypatch.setattr(encodings, "import_module", missing)
    assert sorted(encodings._decoders()) == ["deflate", "gzip", "x-gzip"]


def test_a_brotli_without_limits_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Old:
        Decompressor = object

    monkeypatch.setattr(encodings, "import_module", lambda name: Old)
    assert "br" not in encodings._decoders()
