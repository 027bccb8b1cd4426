"""Who may call: signing keys as bearer tokens, event keys in the path (protocol 0.1). A dev platform trusts all."""

import hmac

from starlette.types import Scope

from stepwell.server.api.body import header
from stepwell.server.api.problems import Problem
from stepwell.server.settings import Settings
from stepwell.wire.signing import same_key


def require_bearer(settings: Settings, scope: Scope) -> None:
    """Raise :class:`Problem` 401 unless the request carries a signing key, hashed or as it is."""
    if settings.dev:
        return
    scheme, _, token = (header(scope, "authorization") or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Problem(401, "This needs the signing key: send `Authorization: Bearer <hashed signing key>`.")
    if not any(same_key(token.strip(), key) for key in settings.signing_keys):
        raise Problem(401, "The signing key is not the one of this platform; check STEPWELL_SIGNING_KEY on both sides.")


def event_key_known(settings: Settings, key: str) -> bool:
    """Whether events may be sent under ``key``."""
    if settings.dev:
        return True
    presented = key.encode()
    return any(hmac.compare_digest(presented, known.encode()) for known in settings.event_keys)
