"""Tracebacks as a page shows them: the frames of the user's code, without those of SDKs and libraries. Pure."""

import re
from dataclasses import dataclass

_PYTHON = re.compile(r'(?P<margin>[\s|+]*)File "(?P<path>[^"]*)", line \d+')
_SCRIPT = re.compile(r"\s+at (?P<path>\S.*)")
_LIBRARY = re.compile(
    r"/(site|dist)-packages/|/lib(64)?/python\d|/python\d+/lib/|^<frozen |/stepwell/(sdk|transports|frameworks)/"
    r"|/node_modules/|(^|[ (])(node|native|ext|internal)[:/]|\(<anonymous>\)$|\(index \d+\)$|\(native\)$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Stack:
    """``own``: the text without the frames of libraries; all of it where no other frame is left. ``left``: frames left out."""

    own: str
    whole: str
    left: int


def folded(whole: str) -> Stack:
    """The stack of an error, as Python and JavaScript write it; what is no frame stays."""
    kept: list[str] = []
    own = left = 0
    inside: str | None = None  # the margin of the Python frame that lines belong to
    library = False
    for line in whole.splitlines(keepends=True):
        if inside is not None and line.startswith((f"{inside}  ", f"{inside}[Previous line repeated")):
            kept += [] if library else [line]
            continue
        python, script = _PYTHON.match(line), _SCRIPT.match(line)
        frame = python or script
        inside = python["margin"] if python else None
        library = frame is not None and _LIBRARY.search(frame["path"].replace("\\", "/")) is not None
        own += frame is not None and not library
        left += library
        kept += [] if library else [line]
    return Stack("".join(kept), whole, left) if own else Stack(whole, whole, 0)
