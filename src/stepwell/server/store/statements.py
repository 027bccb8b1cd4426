"""The statements of a store: a file ``queries.sql`` of its package, each under ``-- name: …``."""

import re
from dataclasses import fields
from importlib.resources import files


def load_statements(package: str, kind: type) -> dict[str, str]:
    """The statements of ``package``; raises ValueError when they are not those that the dataclass ``kind`` names."""
    text = files(package).joinpath("queries.sql").read_text(encoding="utf-8")
    _, *parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)
    found = {name: sql.strip() for name, sql in zip(parts[::2], parts[1::2], strict=True)}
    unlike = found.keys() ^ {field.name for field in fields(kind)}
    if unlike:
        raise ValueError(f"queries.sql and {kind.__name__} differ in {', '.join(sorted(unlike))}")
    return found
