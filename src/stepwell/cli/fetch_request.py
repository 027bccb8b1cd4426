"""What ``stepwell fetch`` was asked for, as the data of the event that starts it. Pure but for ``@file``."""

import base64
import hashlib
import json
import sys
from pathlib import Path
from urllib.parse import urlsplit

from stepwell.cli.errors import CliError

Json = dict[str, object]
_FORM = "application/x-www-form-urlencoded"


def build(url: str, method: str | None, headers: tuple[str, ...], data: str | None, json_data: str | None) -> Json:
    """The request, with curl's rules: ``-d`` means POST and a form, ``--json`` POST and JSON. Raises CliError."""
    if data is not None and json_data is not None:
        raise CliError("Give either -d or --json, not both.", 2)
    pairs = [_header(text) for text in headers]
    body = _content(data if data is not None else json_data)
    if body is not None:
        _add(pairs, "Content-Type", "application/json" if json_data is not None else _FORM)
    if json_data is not None:
        _add(pairs, "Accept", "application/json")
    shape: Json = {
        "url": _url(url),
        "method": (method or ("GET" if body is None else "POST")).upper(),
        "headers": pairs,
    }
    if body is not None:
        shape["body"] = base64.b64encode(body).decode()
    return shape


def sorted_out(
    target: str | None, json_values: tuple[str, ...], run_id: str | None
) -> tuple[str | None, str | None, bool]:
    """URL, JSON body, and whether JSON is to be printed: ``--json DATA`` sends it, ``--json`` alone prints. Raises CliError.

    In ``--json URL`` the URL was taken for the data; a request needs one, so that it can not be anything else.
    """
    data = [value for value in json_values if value]
    alone = len(data) < len(json_values)
    if target is None and run_id is None and len(data) == 1:
        return data[0], None, True
    if len(data) > 1:
        raise CliError("Give one JSON body.", 2)
    if data and run_id is not None:
        raise CliError("The request of that run has its body: give --json without one.", 2)
    return target, data[0] if data else None, alone


def fingerprint(request: Json, platform: str | None) -> str:
    """The same for the same request to the same platform; tells nothing about either."""
    text = json.dumps([request, platform], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _url(url: str) -> str:
    full = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(full)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise CliError(f"{url!r} is not an http or https URL.", 2)
    return full


def _header(text: str) -> list[str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise CliError(f"The header {text!r} must have the form 'Name: value'.", 2)
    return [name.strip(), value.strip()]


def _add(pairs: list[list[str]], name: str, value: str) -> None:
    if not any(key.lower() == name.lower() for key, _ in pairs):
        pairs.append([name, value])


def _content(text: str | None) -> bytes | None:
    if text is None or not text.startswith("@"):
        return None if text is None else text.encode()
    if text == "@-":
        return sys.stdin.buffer.read()
    try:
        return Path(text[1:]).read_bytes()
    except OSError as error:
        raise CliError(f"{text[1:]} can not be read: {error.strerror}.", 2) from error
