"""Sizes as people write them: ``64MiB``, ``500 kB``, ``1000000``. In bytes."""

import re

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
_SIZE = re.compile(r"(\d{1,15})(?:\.(\d{1,6}))?\s*([A-Za-z]*)", re.ASCII)


def parse_size(text: str) -> int:
    """Bytes, at least one. Raises ``ValueError``."""
    found = _SIZE.fullmatch(text.strip())
    unit = _UNITS.get(found[3].lower()) if found is not None else None
    if found is None or unit is None:
        raise ValueError(f"{text[:40]!r} is not a size: write a number of bytes, or one with a unit, such as '64MiB'")
    rest = found[2] or ""
    size = int(found[1] + rest) * unit // 10 ** len(rest)
    if size <= 0:
        raise ValueError("a size is at least one byte")
    return size
