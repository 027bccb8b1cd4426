"""Signing keys, signatures and canonical JSON (protocol section 0.1; RFC 8785 for the canonical form)."""

import hashlib
import hmac
import re
from typing import Any, Final, cast

import msgspec
import rfc8785

LEEWAY_S: Final = 300
"""Seconds by which a signature's time may differ from ours."""

_PREFIX: Final = re.compile(r"^signkey-\w+-", re.ASCII)
_HEADER: Final = re.compile(r"t=(\d{1,15})&s=([0-9a-f]{64})", re.ASCII)
_SAFE_INT: Final = 2**53 - 1


def sign(body: bytes, key: str, now_s: int) -> str:
    """The signature header of ``body``: ``t=<seconds>&s=<hex>``, an HMAC-SHA256 over the body and the decimal time."""
    return f"t={now_s}&s={_mac(body, key, now_s)}"


def verify(
    body: bytes, header: str | None, key: str, now_s: int, fallback: str | None = None, leeway_s: int = LEEWAY_S
) -> bool:
    """Whether ``header`` signs ``body`` with ``key`` or ``fallback``, at most ``leeway_s`` from now. Constant time."""
    return signer(body, header, key, now_s, fallback, leeway_s) is not None


def signer(
    body: bytes, header: str | None, key: str, now_s: int, fallback: str | None = None, leeway_s: int = LEEWAY_S
) -> str | None:
    """As :func:`verify`: which of the two keys it was; None for neither."""
    found = _HEADER.fullmatch(header or "")
    if found is None:
        return None
    at = int(found.group(1))
    if abs(now_s - at) > leeway_s:
        return None
    first = hmac.compare_digest(_mac(body, key, at), found.group(2))
    second = fallback is not None and hmac.compare_digest(_mac(body, fallback, at), found.group(2))
    return key if first else fallback if second else None


def hashed_key(key: str) -> str:
    """What an ``Authorization: Bearer`` header carries for a key: its prefix, and the SHA-256 of its decoded hex.

    Raises ``ValueError`` when the key is not hex digits after its prefix.
    """
    prefix, rest = _split(key)
    try:
        secret = bytes.fromhex(rest)
    except ValueError:
        message = "a signing key is hex digits, after a prefix such as 'signkey-prod-': check the configured key"
        raise ValueError(message) from None
    return prefix + hashlib.sha256(secret).hexdigest()


def same_key(presented: str | None, configured: str) -> bool:
    """Whether a presented key is the configured one: raw or hashed, with or without ``Bearer`` and prefix.

    Takes the same time for every wrong key.
    """
    if not presented:
        return False
    given = _split(presented.removeprefix("Bearer ").strip())[1].encode()
    good = hmac.compare_digest(given, _split(configured)[1].encode())
    try:
        hashed = _split(hashed_key(configured))[1]
    except ValueError:
        return good
    return good | hmac.compare_digest(given, hashed.encode())


def canonical(value: Any) -> bytes:
    """JSON of ``value`` in RFC 8785 form. Integers beyond 2^53 become doubles.

    Raises ``ValueError`` for what JSON can not say: NaN, infinities, keys that are no strings, other types.
    """
    if _is_plain(value):
        return msgspec.json.encode(value, order="sorted")
    return rfc8785.dumps(_doubles(value))


def canonical_bytes(json: bytes | msgspec.Raw) -> bytes:
    """The same for JSON text. Raises ``ValueError`` (``msgspec.DecodeError``) when it is not JSON."""
    return canonical(msgspec.json.decode(json))


def _split(key: str) -> tuple[str, str]:
    prefix = _PREFIX.match(key)
    return (prefix.group(), key[prefix.end() :]) if prefix else ("", key)


def _mac(body: bytes, key: str, at: int) -> str:
    return hmac.new(_split(key)[1].encode(), body + str(at).encode(), hashlib.sha256).hexdigest()


def _is_plain(value: Any) -> bool:
    """Whether the fast encoder writes the canonical form: no doubles, no huge integers, ASCII keys."""
    pending: list[Any] = [value]
    while pending:
        item = pending.pop()
        kind = cast("type[object]", type(item))
        if kind is dict:
            if not all(type(key) is str and key.isascii() for key in item):
                return False
            pending.extend(item.values())
        elif kind is list:
            pending.extend(item)
        elif kind is int:
            if not -_SAFE_INT <= item <= _SAFE_INT:
                return False
        elif kind is not str and kind is not bool and item is not None:
            return False
    return True


def _doubles(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _doubles(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list | tuple):
        return [_doubles(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, int) and not isinstance(value, bool) and not -_SAFE_INT <= value <= _SAFE_INT:
        try:
            return float(value)
        except OverflowError:
            raise ValueError(f"an integer of {value.bit_length()} bits is beyond what JSON numbers hold") from None
    return value
