"""Signatures and keys: the protocol's vectors; canonical JSON against RFC 8785."""

import json
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from inngest._internal import net, server_lib, transforms

from stepwell.wire.signing import canonical, canonical_bytes, hashed_key, same_key, sign, verify

KEY = "signkey-test-abc123def456"
OTHER = "signkey-prod-00ff00ff"
BODY = b'{"a":1}'
AT = 1_700_000_000
HASHED = "signkey-test-3e0c020d16ae2fa8467cb0af8488907cbaec86257d6b26c54e60696bc475fc8c"


def test_vectors() -> None:
    assert sign(BODY, KEY, AT) == "t=1700000000&s=b5f5e6fbcef58ff593d38a3263d6ef73e80915d5a97aac2a7d871aa039564b8a"
    assert hashed_key(KEY) == HASHED


def test_the_official_sdk_agrees_on_signatures() -> None:
    body = canonical({"b": [1.0, 2**60, "é😀"], "a": None})
    assert net.sign_response(body, KEY, AT) == sign(body, KEY, AT)
    found = net.validate_request_sig(
        body=body,
        headers={"x-inngest-signature": sign(body, KEY, AT)},
        mode=server_lib.ServerKind.CLOUD,
        signing_key=KEY,
        signing_key_fallback=None,
    )
    assert found == KEY


def test_the_official_sdk_agrees_on_the_hash_of_a_key() -> None:
    assert same_key(f"Bearer {transforms.hash_signing_key(KEY)}", KEY)


def test_own_signature_holds() -> None:
    assert verify(BODY, sign(BODY, KEY, AT), KEY, AT)
    assert verify(BODY, sign(BODY, KEY, AT), KEY.removeprefix("signkey-test-"), AT + 300)


def test_fallback_key_holds() -> None:
    assert verify(BODY, sign(BODY, OTHER, AT), KEY, AT, fallback=OTHER)
    assert not verify(BODY, sign(BODY, OTHER, AT), KEY, AT)


@pytest.mark.parametrize("now", [AT - 301, AT + 301])
def test_old_and_future_signatures_fail(now: int) -> None:
    assert not verify(BODY, sign(BODY, KEY, AT), KEY, now)


@pytest.mark.parametrize("header", [None, "", "t=1&s=", "s=00&t=1", "t=x&s=" + "0" * 64, "t=1700000000&s=" + "é" * 64])
def test_malformed_signatures_fail(header: str | None) -> None:
    assert not verify(BODY, header, KEY, AT)


@given(st.binary(max_size=200), st.binary(min_size=1, max_size=5), st.integers(0, 200))
def test_changed_body_fails(body: bytes, extra: bytes, at: int) -> None:
    assert verify(body, sign(body, KEY, AT), KEY, AT)
    assert not verify(body[:at] + extra + body[at:], sign(body, KEY, AT), KEY, AT)


@pytest.mark.parametrize(
    "presented", [KEY, "abc123def456", HASHED, f"Bearer {HASHED}", HASHED.removeprefix("signkey-test-")]
)
def test_every_form_of_a_key_is_the_key(presented: str) -> None:
    assert same_key(presented, KEY)


@pytest.mark.parametrize("presented", [None, "", "Bearer ", "Bearer undefined", OTHER, "abc123def45", "ümlaut"])
def test_other_keys_are_not(presented: str | None) -> None:
    assert not same_key(presented, KEY)


def test_key_that_is_not_hex() -> None:
    with pytest.raises(ValueError, match="hex digits"):
        hashed_key("signkey-test-hello")
    assert same_key("signkey-test-hello", "signkey-test-hello")
    assert not same_key("signkey-test-other", "signkey-test-hello")


JSONS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSONS)
def test_canonical_is_rfc8785_whatever_way_it_was_made(value: Any) -> None:
    doubles = json.loads(json.dumps(value), parse_int=lambda text: int(text) if abs(int(text)) < 2**53 else float(text))
    assert canonical(value) == rfc8785.dumps(doubles)


@given(JSONS)
def test_canonical_is_stable(value: Any) -> None:
    once = canonical(value)
    assert canonical_bytes(once) == once
    assert canonical_bytes(json.dumps(value, indent=1).encode()) == once


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1: 2}, object(), 10**400, {"a": [float("nan")]}])
def test_what_json_can_not_say(value: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        canonical(value)


def test_big_integers_are_doubles() -> None:
    assert canonical({"b": 2**60, "a": 9007199254740993}) == b'{"a":9007199254740992,"b":1152921504606847000}'
