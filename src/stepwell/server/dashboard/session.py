"""Who may see the pages: a signed cookie made by a login, and a token in every form. A dev platform trusts all. Pure.

A session is ``<end>.<nonce>.<signature>``: nothing is stored, and every process with the same keys knows it.
"""

import hashlib
import hmac
import secrets

from stepwell.server.settings import Settings
from stepwell.wire.signing import same_key

COOKIE = "stepwell-session"
LASTS_S = 12 * 3600
"""Seconds from the login until the next one."""
_DEV = "dev"


class Sessions:
    """Makes and checks sessions and the tokens of forms."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        password = settings.dashboard_password
        self._keys = [_derived(secret) for secret in ((password,) if password else settings.signing_keys)]
        self._dev_key = secrets.token_bytes(32)

    @property
    def possible(self) -> bool:
        """Whether anybody can log in: there is a password or a signing key."""
        return self._settings.dev or bool(self._keys)

    def admits(self, presented: str) -> bool:
        """Whether this is the password, or a signing key (as it is or hashed) where no password is set."""
        password = self._settings.dashboard_password
        if password:
            return hmac.compare_digest(presented.encode(), password.encode())
        return any(same_key(presented.strip(), key) for key in self._settings.signing_keys)

    def made(self, now_s: int) -> str:
        """A new session."""
        text = f"{now_s + LASTS_S}.{secrets.token_urlsafe(16)}"
        return f"{text}.{_signed(self._keys[0], text)}"

    def known(self, cookie: str | None, now_s: int) -> str | None:
        """The session of a request; None when it has to log in."""
        if self._settings.dev:
            return _DEV
        text, _, signature = (cookie or "").rpartition(".")
        end = text.partition(".")[0]
        if not (end.isascii() and end.isdecimal() and len(end) < 12 and int(end) > now_s):
            return None
        good = any(hmac.compare_digest(signature.encode(), _signed(key, text).encode()) for key in self._keys)
        return cookie if good else None

    def token(self, session: str) -> str:
        """What a form of this session carries, which no other site can know."""
        return _signed(self._dev_key if session == _DEV else self._keys[0], f"form:{session}")

    def is_token(self, session: str, presented: str) -> bool:
        """Whether a form came from one of our pages."""
        return hmac.compare_digest(presented.encode(), self.token(session).encode())


def _derived(secret: str) -> bytes:
    return hashlib.sha256(b"stepwell dashboard\0" + secret.encode()).digest()


def _signed(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
