"""Where a piece of code lives, and so what it means that a task waits in it."""

import asyncio
import functools
import inspect
import os
import sysconfig
from collections.abc import Callable
from enum import Enum, auto
from pathlib import Path
from types import CodeType

_own = {str(Path(__file__).parents[2]) + os.sep}
"""Beginnings of file names that are no library's, also where they are installed: the SDK, and apps with functions."""
_ASYNCIO = str(Path(asyncio.__file__).parent)
_STDLIB = sysconfig.get_paths()["stdlib"]
_SYNC = {"locks.py": "SYNC", "queues.py": "QUEUE"}
_JOINS = {
    ("tasks.py", "_wait"),
    ("tasks.py", "wait_for"),
    ("tasks.py", "_cancel_and_wait"),
    ("taskgroups.py", "__aexit__"),
}


class Place(Enum):
    """USER: the user's code, and the SDK's. LOCK, SYNC, QUEUE: asyncio's primitives, and anyio's. JOIN: waits for tasks.
    SLEEP: ``asyncio.sleep``. IO: real input and output of the standard library. LIBRARY: another installed package.
    THREAD: anyio waits for a thread."""

    USER = auto()
    LOCK = auto()
    SYNC = auto()
    QUEUE = auto()
    JOIN = auto()
    SLEEP = auto()
    IO = auto()
    LIBRARY = auto()
    ANYIO = auto()
    THREAD = auto()


_ANYIO = {
    "__aexit__": Place.JOIN,
    "start": Place.JOIN,
    "acquire": Place.LOCK,
    "wait": Place.SYNC,
    "run_sync_in_worker_thread": Place.THREAD,
}


def place(code: CodeType) -> Place:
    """The place of a code object."""
    return _place(code.co_filename, code.co_name)


def is_app(handler: Callable[..., object]) -> None:
    """The package that a function's handler is in is the user's, also where it is installed as libraries are."""
    code: CodeType | None = getattr(inspect.unwrap(handler), "__code__", None)
    if code is not None:
        _is_app(code.co_filename)


@functools.lru_cache(maxsize=4096)
def _is_app(file: str) -> None:
    for packages in ("site-packages", "dist-packages"):
        before, found, rest = file.partition(packages + os.sep)
        if found:
            top, inside, _ = rest.partition(os.sep)
            _own.add(before + found + top + inside)
            _place.cache_clear()


@functools.lru_cache(maxsize=4096)
def _place(file: str, name: str) -> Place:
    if "/anyio/" in file or "\\anyio\\" in file:
        return _ANYIO.get(name, Place.ANYIO)
    if file.startswith(_ASYNCIO):
        return _asyncio(Path(file).name, name)
    if file.startswith(tuple(_own)):
        return Place.USER
    if "site-packages" in file or "dist-packages" in file:
        return Place.LIBRARY
    return Place.IO if file.startswith(_STDLIB) else Place.USER


def _asyncio(module: str, name: str) -> Place:
    if (module, name) in _JOINS or name == "_wait_for_one":
        return Place.JOIN
    if module == "tasks.py" and name == "sleep":
        return Place.SLEEP
    if module in _SYNC:
        return Place.LOCK if name == "acquire" else Place[_SYNC[module]]
    return Place.IO
