"""Requests as commands for a shell. Pure."""

import re
import shlex
from base64 import b64encode

import msgspec

from stepwell.core.requestcopies import RequestCopy, as_text
from stepwell.wire.masks import mask_url
from stepwell.wire.secrets import basic_pair, split_references

FILE = "BODY"
"""Where a command takes a body from that is not kept."""
_ARGUMENT = 64 * 1024
"""A program takes no longer argument; what is built into the shell does."""
_OWN = frozenset({"content-length", "transfer-encoding", "connection", "accept-encoding"})
"""Headers that curl makes by itself."""


def of_request(asked: RequestCopy, beside: bytes | None = None) -> str:
    """The request as it was asked for; ``beside``: its body, where that is beside the state.

    A reference to a secret becomes a variable of the shell, such as ``${OPENAI_API_KEY}``.
    """
    body = asked.text.encode() if asked.text is not None else asked.data if asked.data is not None else beside
    words = ["curl", *_method(asked.method, body is not None or bool(asked.size))]
    words += ["-L"] if asked.follows else []
    url = mask_url(asked.url) + (f"?{asked.query}" if asked.query else "")
    words += ["-g"] if re.search(r"[\[\]{}]", url) else []
    words.append(quoted(url))
    for name, value in asked.headers:
        words += _header(name, value)
    if any(name.lower() == "accept-encoding" for name, _ in asked.headers):
        words.append("--compressed")
    before, data = _data(body, asked.size)
    if data and not any(name.lower() == "content-type" for name, _ in asked.headers):
        words += ["-H", "'content-type:'"]
    return before + " ".join(words + data)


def of_event(address: str, name: str, data: object) -> str:
    """An event sent once more; the key is a placeholder, and a dev platform takes any."""
    body = msgspec.json.encode({"name": name, "data": data}).decode()
    headers = ["-H", "content-type: application/json"]
    return shlex.join(["curl", "-X", "POST", f"{address}/e/EVENT_KEY", *headers, "--data-raw", body])


def quoted(text: str) -> str:
    """The text for a shell; references to secrets as its variables."""
    words: list[str] = []
    for number, part in enumerate(split_references(text)):
        if number % 2:
            words.append(f'"${{{part.replace("-", "_")}}}"')
        elif part:
            words.append(shlex.quote(part))
    return "".join(words) or "''"


def _method(method: str, has_body: bool) -> list[str]:
    if method.upper() == "HEAD":
        return ["--head"]
    return [] if method == ("POST" if has_body else "GET") else ["-X", shlex.quote(method)]


def _header(name: str, value: str) -> list[str]:
    if name.lower() in _OWN:
        return []
    pair = basic_pair(name, value)
    if pair is not None:
        return ["-u", quoted(pair)]
    return ["-H", quoted(f"{name}: {value}") if value else shlex.quote(f"{name};")]


def _data(body: bytes | None, size: int) -> tuple[str, list[str]]:
    """What stands before the command, and its last words."""
    if body is None:
        return ("", ["--data-binary", f"@{FILE}"]) if size else ("", [])
    text = as_text(body)
    if text is None:
        return f"printf %s {b64encode(body).decode()} | base64 -d | ", ["--data-binary", "@-"]
    if len(body) > _ARGUMENT:
        return f"printf %s {quoted(text)} | ", ["--data-binary", "@-"]
    return "", ["--data-raw", quoted(text)]
