"""Values and bodies as a page shows them: a JSON tree, text, an image, or hex. Pure."""

from dataclasses import dataclass, field
from typing import cast

import msgspec

from stepwell.wire.encodings import CannotDecode, decode
from stepwell.wire.fetch import FetchResponse
from stepwell.wire.fetch_headers import find, find_all

MAX_SHOWN = 64 * 1024
"""Bytes of a body that a page shows."""
MAX_NODES = 2_000
MAX_DEPTH = 40
_HEX_BYTES = 2_048
_MAX_TEXT = 2_000
IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/avif"})
"""What is shown as a picture; an SVG is a document that could do things, and is shown as text."""


@dataclass(slots=True)
class Node:
    """A JSON value. ``kind``: object, array, string, number, word; ``text``: of a scalar; ``more``: members left out."""

    kind: str
    key: str | None = None
    text: str = ""
    members: list["Node"] = field(default_factory=list["Node"])
    more: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class Shown:
    """``kind``: json, text, image, hex or empty. ``cut``: there is more of it than is shown."""

    kind: str
    text: str = ""
    tree: Node | None = None
    size: int = 0
    cut: bool = False
    type: str = ""


def of_json(data: bytes | None) -> Shown:
    """A JSON text, as a tree; text where it is none."""
    if not data:
        return Shown("empty")
    try:
        value: object = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return _text(data)
    return Shown(
        "json",
        msgspec.json.format(data[:MAX_SHOWN], indent=2).decode() if len(data) <= MAX_SHOWN else "",
        tree(value),
        len(data),
        len(data) > MAX_SHOWN,
    )


def tree(value: object) -> Node:
    """The value as nodes, bounded in number and depth."""
    return _Trees().node(value, None, 0)


def of_response(response: FetchResponse, body: bytes) -> Shown:
    """The body of a response, its content coding undone where that can be done."""
    kind = (find(response.headers, "content-type") or "").partition(";")[0].strip().lower()
    size = response.stored if response.stored is not None else len(body)
    cut = len(body) > MAX_SHOWN or (response.stored or 0) > len(body)
    if not body:
        return Shown("empty", type=kind)
    if not cut:
        try:
            body = decode(body, find_all(response.headers, "content-encoding"), 8 * MAX_SHOWN)
        except CannotDecode:
            return _hex(body, size, kind)
    if kind in IMAGES:
        return Shown("image", size=size, type=kind)
    if not cut and (kind.endswith(("/json", "+json")) or body.lstrip()[:1] in (b"{", b"[")):
        shown = of_json(body)
        return Shown(shown.kind, shown.text, shown.tree, size, shown.cut, kind)
    return _text(body, size, kind, cut=cut)


def of_body(content_type: str | None, body: bytes) -> Shown:
    """The body of a request; a picture is shown as hex."""
    kind = (content_type or "").partition(";")[0].strip().lower()
    if not body:
        return Shown("empty", type=kind)
    if len(body) <= MAX_SHOWN and (kind.endswith(("/json", "+json")) or body.lstrip()[:1] in (b"{", b"[")):
        return of_json(body)
    return _text(body, len(body), kind)


def _text(body: bytes, size: int | None = None, kind: str = "", *, cut: bool = False) -> Shown:
    piece = body[:MAX_SHOWN]
    try:
        text = piece.decode()
    except UnicodeDecodeError as problem:
        if problem.start < len(piece) - 4 or b"\0" in piece:
            return _hex(body, size or len(body), kind)
        text = piece[: problem.start].decode()
    if "\0" in text:
        return _hex(body, size or len(body), kind)
    return Shown("text", text, None, size or len(body), cut or len(body) > MAX_SHOWN, kind)


def _hex(body: bytes, size: int, kind: str) -> Shown:
    lines: list[str] = []
    for at in range(0, min(len(body), _HEX_BYTES), 16):
        row = body[at : at + 16]
        plain = "".join(chr(byte) if 32 <= byte < 127 else "·" for byte in row)
        lines.append(f"{at:08x}  {row.hex(' '):<47}  {plain}")
    return Shown("hex", "\n".join(lines), None, size, size > _HEX_BYTES, kind)


class _Trees:
    """Counts the nodes made, so that a page stays small."""

    def __init__(self) -> None:
        self._left = MAX_NODES

    def node(self, value: object, key: str | None, depth: int) -> Node:
        self._left -= 1
        if isinstance(value, dict):
            pairs = list(cast("dict[str, object]", value).items())
            return self._branch("object", key, pairs, depth)
        if isinstance(value, list):
            pairs = [(str(n), each) for n, each in enumerate(cast("list[object]", value))]
            return self._branch("array", key, pairs, depth)
        if isinstance(value, str):
            cut = value if len(value) <= _MAX_TEXT else f"{value[:_MAX_TEXT]}… ({len(value)} characters)"
            return Node("string", key, msgspec.json.encode(cut).decode())
        kind = "word" if value is None or isinstance(value, bool) else "number"
        return Node(kind, key, msgspec.json.encode(value).decode())

    def _branch(self, kind: str, key: str | None, pairs: list[tuple[str, object]], depth: int) -> Node:
        made = Node(kind, key, size=len(pairs))
        for done, (name, value) in enumerate(pairs):
            if self._left <= 0 or depth >= MAX_DEPTH:
                made.more = len(pairs) - done
                break
            made.members.append(self.node(value, name, depth + 1))
        return made
