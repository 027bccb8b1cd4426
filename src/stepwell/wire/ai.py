"""An AIGateway op: a request to a model's provider, whose result is the provider's JSON (protocol 4.6)."""

from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

import msgspec
from msgspec.structs import replace

from stepwell.wire.constants import MAX_STEP_OUTPUT
from stepwell.wire.encodings import CannotDecode, decode
from stepwell.wire.fetch import FetchBroken, FetchRequest, FetchResponse, Header
from stepwell.wire.fetch_headers import find, find_all
from stepwell.wire.gateway import BadGateway, parse_gateway
from stepwell.wire.jsons import as_object, decode_as
from stepwell.wire.jsons import decode as decode_json
from stepwell.wire.memos import BadMemo, is_error

AI_ERROR = "AIGatewayError"
_SHOWN = 200
_MAX_ERROR = 64 * 1024
"""Characters of a provider's error that are kept."""
_ENVELOPE = len(b'{"data":}')
_ABSENT = msgspec.Raw(b"")


class _Options(msgspec.Struct, frozen=True):
    url: str
    body: msgspec.Raw
    headers: dict[str, str] | None = None
    auth_key: str | None = None
    format: str | None = None


def parse_ai_gateway(opts: bytes) -> FetchRequest:
    """The request that an AIGateway op asks for. Raises :class:`BadGateway`.

    Always a POST of JSON. ``auth_key`` goes where the provider's ``format`` has it, unless a header of the user is there
    already: ``x-api-key`` for anthropic, the query's ``key`` for gemini, ``Authorization`` as it is for bedrock and as a
    Bearer for all others. The ``stepwell-*`` headers become the policy, as of any durable request.
    """
    try:
        options = decode_as(opts, _Options)
    except ValueError as problem:
        raise BadGateway(f"This request to a model can not be made: its options can not be read: {problem}.") from None
    text = _text(options.body)
    url, headers = _authorized(options)
    if find(headers, "content-type") is None:
        headers.append(("Content-Type", "application/json"))
    request = parse_gateway(msgspec.json.encode({"url": url, "method": "POST", "headers": headers, "body": text}))
    limit = min(request.policy.max_body or MAX_STEP_OUTPUT, MAX_STEP_OUTPUT - _ENVELOPE)
    return replace(request, ai=True, policy=replace(request.policy, max_body=limit))


def _text(body: msgspec.Raw) -> str:
    try:
        if as_object(decode_json(body)) is not None:
            return bytes(body).decode()
        problem = "it is no JSON object"
    except ValueError as error:
        problem = str(error)
    raise BadGateway(f"This request to a model can not be made because of its body: {problem}.")


def _authorized(options: _Options) -> tuple[str, list[Header]]:
    headers = list((options.headers or {}).items())
    key, kind = options.auth_key, (options.format or "").lower()
    if not key:
        return options.url, headers
    if kind == "gemini":
        return _keyed(options.url, key), headers
    name, value = "Authorization", f"Bearer {key}"
    if kind == "anthropic":
        name, value = "x-api-key", key
    elif kind == "bedrock":
        value = key
    if find(headers, name.lower()) is None:
        headers.append((name, value))
    return options.url, headers


def _keyed(url: str, key: str) -> str:
    """The URL with one ``key`` in its query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url  # refused later on, with a reason
    if any(name == "key" and value for name, value in parse_qsl(parts.query, keep_blank_values=True)):
        return url
    kept = [part for part in parts.query.split("&") if part and part.partition("=")[0] != "key"]
    return urlunsplit(parts._replace(query="&".join([*kept, f"key={quote(key, safe='')}"])))


def ai_memo(response: FetchResponse) -> bytes:
    """The memo of a provider's answer: ``{"data": <its JSON, verbatim>}``, or the error that it amounts to."""
    try:
        body = decode(response.body, find_all(response.headers, "content-encoding"), MAX_STEP_OUTPUT - _ENVELOPE)
    except CannotDecode as problem:
        return _error(f"the answer with status {response.status} can not be read: {problem}")
    if response.status > 299:
        return _refused(response.status, body)
    try:
        decode_json(body)
    except ValueError as problem:
        return _error(_no_json(response, body, str(problem)))
    return b'{"data":' + body + b"}"


def ai_error(broken: FetchBroken, attempts: int) -> bytes:
    """The memo of a request that got no answer."""
    tries = "" if attempts <= 1 else f" ({attempts} attempts)"
    return _error(f"{broken.message}{tries}", kind=broken.kind, attempts=attempts)


def parse_ai_memo(data: bytes) -> FetchResponse:
    """The answer that a memo holds, as JSON from a provider. Raises :class:`BadMemo` where it was an error."""
    if is_error(data):
        raise BadMemo("the request to the model failed")
    body = bytes(msgspec.json.decode(data, type=dict[str, msgspec.Raw]).get("data", _ABSENT))
    return FetchResponse(status=200, url="", headers=(("Content-Type", "application/json"),), body=body)


def _refused(status: int, body: bytes) -> bytes:
    text = body.decode("utf-8", "replace")
    data: Any = text[:_MAX_ERROR]
    if len(text) <= _MAX_ERROR:
        try:
            decode_json(body)
            data = msgspec.Raw(body)
        except ValueError:
            pass
    return _error(f"unsuccessful status code: {status}", data=data, stack=text[:_MAX_ERROR])


def _no_json(response: FetchResponse, body: bytes, problem: str) -> str:
    kind = (find(response.headers, "content-type") or "no content type").partition(";")[0].strip()
    if kind == "text/event-stream":
        return "the answer is a stream of events, which is no JSON to record: leave 'stream' out of the body"
    begins = " ".join(body[: _SHOWN * 4].decode("utf-8", "replace").split())[:_SHOWN]
    return f"the answer with status {response.status} ({kind}) can not be used: {problem}; it begins: {begins}"


def _error(message: str, **members: object) -> bytes:
    error = {"name": AI_ERROR, "message": f"Error making AI request: {message}", **members}
    return msgspec.json.encode({"error": error})
