"""Writes the table of docs/settings.md anew from the settings themselves; a test says when that is needed."""

import re
from pathlib import Path

from stepwell.server.settings import FIELDS, Field

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"
HEAD = "| setting | flag | variable | in the file | default |\n|---|---|---|---|---|\n"


def row(field: Field) -> str:
    flags = " ".join(f"`{flag}`" for flag in field.flags) or "none"
    return f"| {field.about.rstrip('.')} | {flags} | `{field.variable}` | `{field.key}` | {field.default} |\n"


def written(page: str) -> str:
    """The page with the table as it should be."""
    table = HEAD + "".join(row(field) for field in FIELDS.values())
    return re.sub(re.escape(HEAD) + r"(?:\|.*\n)*", lambda _: table, page)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
