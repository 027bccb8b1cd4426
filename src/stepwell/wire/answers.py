"""Answers as HTTP statuses, headers and bodies, and back (protocol section 3)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeGuard

import msgspec
from msgspec.structs import replace

from stepwell.wire.calls import Answer, AnswerKind
from stepwell.wire.constants import (
    H_NO_RETRY,
    H_REQ_VERSION,
    H_RETRY_AFTER,
    H_SDK,
    H_SIGNATURE,
    MAX_ANSWER_BYTES,
)
from stepwell.wire.errors import ErrorInfo, parse_error
from stepwell.wire.headers import lower, sdk_headers
from stepwell.wire.jsons import as_array, as_object, decode, decode_as
from stepwell.wire.ops import Op, Timing, Userland

TRANSPORT_ERROR: Final = "TransportError"
"""Name of the error of an answer that did not come from the user's function."""

_NULL: Final = msgspec.Raw(b"null")
_ABSENT: Final = msgspec.Raw()
_NPM: Final = "inngest-js:"
_SHOWN: Final = 200
_STATUS_HINTS: Final = {
    401: "the app did not accept the signature: both sides need the same signing key",
    403: "the app refused the call: both sides need the same signing key",
    404: "nothing answers at the app's URL: check its path, and sync the app again",
    413: "the app refuses a body of this size: raise its limit",
}


def parse_answer(status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    """What an app's HTTP answer says. Header names are lower-case. Never raises: what is wrong is an ERROR."""
    if len(body) > MAX_ANSWER_BYTES:
        text = f"the app answered with {len(body)} bytes, more than {MAX_ANSWER_BYTES}: return references to large data"
        return _broken(text, headers, no_retry=True)
    if status == 201:
        return _streamed(headers, body)
    if H_SDK not in headers and status not in (401, 403):  # SDKs do not say what they are to whom they do not trust
        return _broken(_not_an_sdk(status, headers, body), headers)
    if status == 200:
        return _returned(headers, body)
    if status == 206:
        return _ops(headers, body)
    if status in (400, 500):
        return Answer(kind=AnswerKind.ERROR, error=_error(body), **_common(headers))
    hint = _STATUS_HINTS.get(status, "the platform knows no such answer of an SDK")
    return _broken(f"the app answered with status {status}: {hint} ({_words(body)})", headers)


def signed_part(status: int, headers: Mapping[str, str], body: bytes) -> tuple[bytes, str | None]:
    """The bytes that a signature of the answer is made over, and the signature; None where the app has not signed.

    Of a stream it is the answer in the envelope that is signed (protocol 0.1, 3.2).
    """
    signature = headers.get(H_SIGNATURE)
    if status != 201:
        return body, signature
    try:
        envelope = as_object(decode(body.strip())) or {}
    except ValueError:
        return body, None
    inner, members = envelope.get("body"), as_object(envelope.get("headers")) or {}
    named = lower((key, value) for key, value in members.items() if isinstance(value, str))
    return (inner.encode() if isinstance(inner, str) else body), named.get(H_SIGNATURE)


def parse_ops(raw: bytes | msgspec.Raw) -> list[Op]:
    """Ops of a JSON array, or of a single object; null is none. Raises ``ValueError``."""
    value = decode(raw)
    if value is None:
        return []
    if as_object(value) is not None:
        return [_op(decode_as(raw, _WireOp))]
    if as_array(value) is None:
        raise ValueError("it is neither an array of ops nor an op")
    return [_op(op) for op in decode_as(raw, list[_WireOp])]


def render_answer(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of what our SDK answers."""
    headers = sdk_headers(answer.req_version)
    if answer.no_retry is not None:
        headers[H_NO_RETRY] = "true" if answer.no_retry else "false"
    if answer.retry_after is not None:
        headers[H_RETRY_AFTER] = answer.retry_after
    if answer.kind is AnswerKind.RETURNED:
        return 200, headers, answer.data
    if answer.kind is AnswerKind.OPS:
        return 206, headers, render_ops(answer.ops)
    headers.setdefault(H_NO_RETRY, "false")
    status = 400 if answer.no_retry else 500
    return status, headers, render_error(answer.error or ErrorInfo(message="Function execution error"))


def render_ops(ops: Sequence[Op]) -> bytes:
    """The JSON array of ops; each has a ``data`` member, as SDKs send it."""
    return msgspec.json.encode([op if op.data is not None else replace(op, data=_NULL) for op in ops])


def render_error(error: ErrorInfo) -> bytes:
    """The error object, always with its name and message."""
    members: dict[str, Any] = {"name": error.name, "message": error.message}
    for key in ("stack", "cause", "data", "code", "kind", "attempts"):
        found = getattr(error, key)
        if found is not None:
            members[key] = found
    return msgspec.json.encode(members)


class _WireOp(msgspec.Struct, rename="camel"):
    """An op as it comes: a Raw member of a union can not be decoded, so that absence is an empty one here."""

    op: str
    id: str | None = None
    name: str | None = None
    display_name: str | None = None
    opts: msgspec.Raw = _ABSENT
    data: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT
    userland: msgspec.Raw = _ABSENT
    timing: msgspec.Raw = _ABSENT


def _op(given: _WireOp) -> Op:
    return Op(
        op=given.op,
        id=given.id or "",
        name=given.name,
        display_name=given.display_name,
        opts=_member(given.opts),
        data=given.data or None,
        error=_member(given.error),
        userland=_userland(given.userland),
        timing=_timing(given.timing),
    )


def _member(raw: msgspec.Raw) -> msgspec.Raw | None:
    return None if not raw or bytes(raw) == b"null" else raw


def _userland(raw: msgspec.Raw) -> Userland | None:
    """Only for people to read, so that no shape of it makes an answer bad."""
    members = as_object(decode(raw)) if raw else None
    if members is None:
        return None
    name, index = members.get("id"), members.get("index")
    return Userland(
        id=name if isinstance(name, str) else "",
        index=index if isinstance(index, int) and not isinstance(index, bool) else None,
    )


def _timing(raw: msgspec.Raw) -> Timing | None:
    """Likewise; zeros are what an SDK says that did not look."""
    members = as_object(decode(raw)) if raw else None
    begun, taken = (members or {}).get("a"), (members or {}).get("b")
    if not (_is_time(begun) and _is_time(taken)) or not (begun or taken):
        return None
    return Timing(int(begun), int(taken))


def _is_time(value: object) -> TypeGuard[float]:
    """Whether it is a number of nanoseconds."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1 << 63


def _common(headers: Mapping[str, str]) -> dict[str, Any]:
    version = headers.get(H_REQ_VERSION, "").strip()
    return {
        "no_retry": {"true": True, "false": False}.get(headers.get(H_NO_RETRY, "").strip().lower()),
        "retry_after": headers.get(H_RETRY_AFTER) or None,
        "ends_late": headers.get(H_SDK, "").startswith(_NPM),
        "req_version": int(version) if version.isascii() and version.isdigit() and len(version) < 10 else None,
    }


def _broken(text: str, headers: Mapping[str, str], *, no_retry: bool | None = None) -> Answer:
    error = ErrorInfo(name=TRANSPORT_ERROR, message=text)
    after = headers.get(H_RETRY_AFTER) or None
    return Answer(kind=AnswerKind.ERROR, error=error, transport=True, no_retry=no_retry, retry_after=after)


def _returned(headers: Mapping[str, str], body: bytes) -> Answer:
    if not body.strip():
        return Answer(kind=AnswerKind.RETURNED, **_common(headers))
    try:
        decode(body)
    except ValueError as problem:
        return _broken(f"the app's return value can not be read: {problem} ({_words(body)})", headers)
    return Answer(kind=AnswerKind.RETURNED, data=body, **_common(headers))


def _ops(headers: Mapping[str, str], body: bytes) -> Answer:
    try:
        ops = parse_ops(body)
    except ValueError as problem:
        return _broken(f"the steps that the app reported can not be read: {problem} ({_words(body)})", headers)
    return Answer(kind=AnswerKind.OPS, ops=ops, **_common(headers))


def _error(body: bytes) -> ErrorInfo:
    """The error of a 400 or 500; some SDKs write the object as a JSON string once more."""
    try:
        value = decode(body)
        if isinstance(value, str):
            inner = value.encode()
            return parse_error(inner if as_object(decode(inner)) is not None else body)
    except ValueError:
        pass
    return parse_error(body)


def _streamed(headers: Mapping[str, str], body: bytes) -> Answer:
    """A 201: blanks that kept the connection alive, then the real answer in an envelope (protocol 3.2)."""
    try:
        envelope = as_object(decode(body.strip()))
    except ValueError as problem:
        if H_SDK not in headers:
            return _broken(_not_an_sdk(201, headers, body), headers)
        return _broken(f"the app's stream ended without an answer: {problem} ({_words(body.strip())})", headers)
    status = envelope.get("status") if envelope else None
    if envelope is None or not isinstance(status, int) or status == 201:
        return _broken(f"the app's stream ended without an answer that has a status ({_words(body.strip())})", headers)
    if isinstance(envelope.get("error"), str) and not envelope.get("body"):
        return _broken(f"the app's stream ended with an error: {envelope['error']}", headers)
    inner = {key: value for key, value in (as_object(envelope.get("headers")) or {}).items() if isinstance(value, str)}
    return parse_answer(status, {**headers, **lower(inner.items())}, _inner_body(status, envelope.get("body")))


def _inner_body(status: int, body: object) -> bytes:
    """The body is a string of JSON. Ops that were encoded twice are still a string when they have been read once."""
    if not isinstance(body, str):
        return msgspec.json.encode(body)
    try:
        inner = decode(body.encode()) if status == 206 else None
    except ValueError:
        inner = None
    return (inner if isinstance(inner, str) else body).encode()


def _not_an_sdk(status: int, headers: Mapping[str, str], body: bytes) -> str:
    kind = headers.get("content-type") or "no content type"
    return (
        f"the answer with status {status} ({kind}) did not come from an SDK: it lacks the header {H_SDK}; "
        f"check the app's URL and what stands in front of it ({_words(body)})"
    )


def _words(body: bytes) -> str:
    text = " ".join(body[: _SHOWN * 4].decode("utf-8", "replace").split())
    if not text:
        return "its body is empty"
    return f"it begins: {text[:_SHOWN]}"
