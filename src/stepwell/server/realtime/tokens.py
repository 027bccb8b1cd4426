"""Tokens for browsers: a JWT that names topics, for a minute (protocol 1.9)."""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Sequence
from typing import Any

import jwt
import msgspec

from stepwell.wire.ids import ZERO_UUID
from stepwell.wire.realtime import ISSUER, TOKEN_S, Topic

_ALGORITHM = "HS256"


_UNSIGNED = secrets.token_bytes(32)
"""Of a platform without a signing key: for this process."""


class BadToken(ValueError):
    """The token is not one of this platform, or not any more."""


class Grant(msgspec.Struct, frozen=True):
    """What a token allows: to read the topics, or, with ``publish``, to write to them."""

    topics: tuple[Topic, ...]
    publish: bool = False


class Tokens:
    """Makes and reads tokens. Their key is derived from the signing key, so that every process takes those of the others;
    without one they are for this process. ``now``: ms."""

    def __init__(self, signing_keys: Sequence[str], now: Callable[[], int]) -> None:
        self._keys = [_derived(key) for key in signing_keys] or [_UNSIGNED]
        self._now = now

    def make(self, topics: Sequence[Topic], *, publish: bool = False) -> str:
        """A token for a minute from now."""
        now = self._now() // 1000
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "sub": ZERO_UUID,
            "env": ZERO_UUID,
            "topics": msgspec.to_builtins(topics),
            "jti": secrets.token_hex(16),
            "iat": now,
            "exp": now + TOKEN_S,
        }
        if publish:
            claims["publish"] = True
        return jwt.encode(claims, self._keys[0], _ALGORITHM)

    def read(self, token: str) -> Grant:
        """What it allows. Raises :class:`BadToken`."""
        for key in self._keys:
            try:
                return self._grant(jwt.decode(token, key, [_ALGORITHM], issuer=ISSUER, options=_OURS))
            except (jwt.InvalidTokenError, msgspec.ValidationError):
                continue
        raise BadToken("The token is not one of this platform: get one from POST /v1/realtime/token.")

    def _grant(self, claims: dict[str, Any]) -> Grant:
        if int(claims["exp"]) <= self._now() // 1000:
            raise BadToken("The token has expired: get a new one from POST /v1/realtime/token.")
        return msgspec.convert(claims, Grant)


# The time is looked at here, by the platform's own clock.
_OURS: Any = {"require": ["exp", "iss"], "verify_exp": False, "verify_iat": False}


def _derived(key: str) -> bytes:
    return hmac.new(key.encode(), b"stepwell realtime tokens", hashlib.sha256).digest()
