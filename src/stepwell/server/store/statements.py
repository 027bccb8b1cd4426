"""The statements of a store: the files ``*.sql`` of its package, each statement under ``-- name: …``."""

import re
from dataclasses import fields
from importlib.resources import files


def load_statements(package: str, kind: type) -> dict[str, str]:
    """The statements of ``package``; raises ValueError when they are not those that the dataclass ``kind`` names."""
    found: dict[str, str] = {}
    for file in files(package).iterdir():
        if file.name.endswith(".sql"):
            _, *parts = re.split(r"^-- name: (\w+)\n", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
            found |= {name: sql.strip() for name, sql in zip(parts[::2], parts[1::2], strict=True)}
    unlike = found.keys() ^ {field.name for field in fields(kind)}
    if unlike:
        raise ValueError(f"the statements of {package} and {kind.__name__} differ in {', '.join(sorted(unlike))}")
    return found
