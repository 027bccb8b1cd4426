"""Where a piece of code lives, and so what it means that a task waits in it."""

import asyncio
import functools
import sysconfig
from enum import Enum, auto
from pathlib import Path
from types import CodeType

_ASYNCIO = str(Path(asyncio.__file__).parent)
_STDLIB = sysconfig.get_paths()["stdlib"]
_SYNC = {"locks.py", "queues.py"}
_JOINS = {
    ("tasks.py", "_wait"),
    ("tasks.py", "wait_for"),
    ("tasks.py", "_cancel_and_wait"),
    ("taskgroups.py", "__aexit__"),
}


class Place(Enum):
    """USER: the user's code. LOCK, SYNC: asyncio's primitives. JOIN: waits for tasks. SLEEP: ``asyncio.sleep``. IO: real
    input and output of the standard library. LIBRARY: an installed package."""

    USER = auto()
    LOCK = auto()
    SYNC = auto()
    JOIN = auto()
    SLEEP = auto()
    IO = auto()
    LIBRARY = auto()
    ANYIO = auto()


def place(code: CodeType) -> Place:
    """The place of a code object."""
    return _place(code.co_filename, code.co_name)


@functools.lru_cache(maxsize=4096)
def _place(file: str, name: str) -> Place:
    if "/anyio/" in file or "\\anyio\\" in file:
        return {"__aexit__": Place.JOIN, "acquire": Place.LOCK}.get(name, Place.ANYIO)
    if file.startswith(_ASYNCIO):
        return _asyncio(Path(file).name, name)
    if "site-packages" in file or "dist-packages" in file:
        return Place.LIBRARY
    return Place.IO if file.startswith(_STDLIB) else Place.USER


def _asyncio(module: str, name: str) -> Place:
    if (module, name) in _JOINS or name == "_wait_for_one":
        return Place.JOIN
    if module == "tasks.py" and name == "sleep":
        return Place.SLEEP
    if module in _SYNC:
        return Place.LOCK if name == "acquire" else Place.SYNC
    return Place.IO
