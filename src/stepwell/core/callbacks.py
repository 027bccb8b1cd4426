"""Requests whose result is a request of the upstream: the one-time URL that they carry, and who may call it."""

import hashlib
import hmac
import re
from collections.abc import Iterable
from urllib.parse import quote

from msgspec.structs import replace

from stepwell.core.model import Callback, Step
from stepwell.wire.constants import CALLBACK_URL
from stepwell.wire.fetch import FetchBroken, FetchOutcome, FetchRequest
from stepwell.wire.fetch_headers import without
from stepwell.wire.gateway import BadGateway
from stepwell.wire.ids import is_ulid
from stepwell.wire.memos import error_memo
from stepwell.wire.secrets import uses

PATH = "/v1/callbacks/"
_PLACEHOLDER = re.compile(
    "".join(
        f"(?:{re.escape(char)}|{quote(char, safe='')})" if char in ":/" else re.escape(char) for char in CALLBACK_URL
    ),
    re.IGNORECASE,
)
_IN_BYTES = re.compile(_PLACEHOLDER.pattern.encode(), re.IGNORECASE)
_LENGTH = frozenset({"content-length"})
_ULID = 26


def arm(request: FetchRequest, run_id: str, secret: str, public_url: str) -> tuple[FetchRequest, Callback]:
    """The request with its own URL in the place of each ``CALLBACK_URL``, and what is kept to know the caller by.

    The placeholder may stand in URL, header values and body, as it is or percent-encoded; the URL comes in the same form.
    Raises :class:`BadGateway` where it stands nowhere, or where the platform has no URL.
    """
    if not public_url:
        raise BadGateway(
            "This request can not be made: with callback=True the platform needs a URL where it can be reached; give it a "
            "port, or set STEPWELL_PUBLIC_URL."
        )
    url = f"{public_url.rstrip('/')}{PATH}{run_id}{secret}"
    armed = _filled(request, url)
    if armed == request:
        raise BadGateway(
            f"This request can not be made: callback=True needs stepwell.CALLBACK_URL ({CALLBACK_URL}) in the URL, a header "
            "or the body, where the upstream looks for the address to call."
        )
    return armed, Callback(digest=_digest(secret), rich=request.rich, secrets=tuple(sorted(uses(request))))


def parse_token(token: str) -> tuple[str, str] | None:
    """Run id and secret of the last part of a call-back URL; None where it is none."""
    run_id, secret = token[:_ULID], token[_ULID:]
    return (run_id, secret) if is_ulid(run_id) and secret else None


def owner(steps: Iterable[Step], secret: str) -> Step | None:
    """The step that the secret was made for."""
    digest = _digest(secret)
    found = [s for s in steps if s.callback is not None and hmac.compare_digest(s.callback.digest, digest)]
    return found[0] if found else None


def waits(request: FetchRequest, outcome: FetchOutcome) -> bool:
    """Whether the step goes on to wait: the upstream took the request. An error status, or no response, is the result."""
    return request.policy.callback and not isinstance(outcome, FetchBroken) and outcome.status < 400


def timed_out(step: Step) -> bytes:
    """The memo of a step that nobody called back in time."""
    message = f"{step.name}: the upstream took the request, and did not call back in time."
    broken = FetchBroken(kind="timeout", message=message, sent=True, final=True)
    return error_memo(broken, 1, step.callback is not None and step.callback.rich)


def _filled(request: FetchRequest, url: str) -> FetchRequest:
    def as_found(found: re.Match[str]) -> str:
        return quote(url, safe="") if "%" in found[0] else url

    def in_bytes(found: re.Match[bytes]) -> bytes:
        return (quote(url, safe="") if b"%" in found[0] else url).encode()

    body = None if request.body is None else _IN_BYTES.sub(in_bytes, request.body)
    headers = tuple((name, _PLACEHOLDER.sub(as_found, value)) for name, value in request.headers)
    if body != request.body:
        headers = without(headers, _LENGTH)
    return replace(request, url=_PLACEHOLDER.sub(as_found, request.url), headers=headers, body=body)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
