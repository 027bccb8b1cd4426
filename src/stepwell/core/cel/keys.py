"""Keys of conditions: what an event must have at a path to satisfy one, so that waits can be found by an index."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

from stepwell.core.cel.nodes import Binary, Const, Index, Name, Node, Select
from stepwell.core.cel.program import compile as compile_expression
from stepwell.core.cel.values import member

_LONGEST: Final = 64
"""Bytes up to which a canonical form is the value itself; longer ones are hashed, so that an index takes them."""

_Key = tuple[str, bytes]


def equality_key(text: str) -> _Key | None:
    """A path below ``async`` and the canonical form that an event's value there must have for ``text`` to be true.

    Comes from one ``async.<path> == <literal>``, either way round, among the operands of the outermost ``&&``: rather
    of another path than ``name``, rather of a string or number than of a boolean, then the first. None when there is
    none; null gives no key, since what is missing equals it. Raises ExpressionError for a text that can not be parsed.
    """
    found = [key for part in _conjuncts(compile_expression(text).tree) if (key := _key(part)) is not None]
    return max(found, key=_worth, default=None)


def event_keys(paths: Iterable[str], event: Mapping[str, Any]) -> list[_Key]:
    """The keys that ``event`` has at these paths; none for a path where it has no string, number or boolean."""
    pairs = [(path, canonical(_at(event, path))) for path in paths]
    return [(path, form) for path, form in pairs if form is not None]


def canonical(value: Any) -> bytes | None:
    """The same bytes, at most 64, for scalars that the dialect holds equal (1 and 1.0); None for everything else."""
    if isinstance(value, bool):
        return b"t" if value else b"f"
    if isinstance(value, str):
        return _short(b"s" + value.encode("utf-8", "surrogatepass"))
    if isinstance(value, float):
        if not value.is_integer():
            return b"n" + repr(value).encode()
        value = int(value)
    # hexadecimal: the interpreter refuses to write very long integers in decimal
    return _short(b"n" + f"{value:x}".encode()) if isinstance(value, int) else None


def _short(form: bytes) -> bytes:
    return form if len(form) <= _LONGEST else b"#" + hashlib.sha256(form).digest()


def _worth(key: _Key) -> tuple[bool, bool]:
    path, form = key
    return path != "name", form not in (b"t", b"f")


def _conjuncts(node: Node) -> list[Node]:
    if isinstance(node, Binary) and node.operator == "&&":
        return _conjuncts(node.left) + _conjuncts(node.right)
    return [node]


def _key(node: Node) -> _Key | None:
    if not isinstance(node, Binary) or node.operator != "==":
        return None
    for side, other in ((node.left, node.right), (node.right, node.left)):
        path, form = _path(side), canonical(other.value) if isinstance(other, Const) else None
        if path and form is not None:
            return path, form
    return None


def _path(node: Node) -> str | None:
    """The members below ``async``, joined by dots; empty for ``async`` itself, None for anything else."""
    if isinstance(node, Name):
        return "" if node.name == "async" else None
    if isinstance(node, Select) and not node.test:
        return _joined(node.of, node.member)
    if isinstance(node, Index) and isinstance(node.at, Const) and isinstance(node.at.value, str):
        return _joined(node.of, node.at.value)
    return None


def _joined(of: Node, last: str) -> str | None:
    if not last or "." in last:
        return None
    above = _path(of)
    return None if above is None else f"{above}.{last}" if above else last


def _at(event: Mapping[str, Any], path: str) -> Any:
    found: Any = event
    for name in path.split("."):
        found = member(found, name)
    return found
