"""The errors of the command line, and how any exception becomes one line."""

import errno
import os
import sys

from stepwell.cli.main import NEEDS_SERVER

_EXTRAS = frozenset({"aiohttp", "starlette", "uvicorn", "uvloop", "httptools", "click", "prometheus_client"})


class CliError(Exception):
    """What went wrong, in one sentence, and what to do. ``code`` is the exit code: 1, or 2 for a wrong call."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def one_line(text: str) -> str:
    """The text without line breaks."""
    return " ".join(text.split())


def explain(error: BaseException) -> tuple[str, int]:
    """The line and the exit code for any exception."""
    if isinstance(error, CliError):
        return str(error), error.code
    if isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] in _EXTRAS:
        return NEEDS_SERVER, 1
    if isinstance(error, ModuleNotFoundError) and error.name == "asyncpg":
        return "PostgreSQL needs one more package: pip install 'stepwell[postgres]'.", 2
    if _is(error, "stepwell.server.settings", "SettingsError"):
        return str(error), 2
    if _is(error, "stepwell.server.store.base", "StoreError"):
        return str(error), 1
    if _is(error, "stepwell.server.host", "HostError"):
        return str(error), 1
    if _is(error, "stepwell.wire.function_fields", "BadRegistration") or _is(error, "stepwell.errors", "ConfigError"):
        return str(error), 1
    if isinstance(error, OSError):
        return _os_error(error), 1
    text = str(error) or "no message"
    return f"Unexpected {type(error).__name__}: {text} (STEPWELL_DEBUG=1 shows where).", 1


def _is(error: BaseException, module: str, name: str) -> bool:
    """Whether the error is of that class, without loading the class's module for it."""
    found = getattr(sys.modules.get(module), name, None)
    return isinstance(found, type) and isinstance(error, found)


def _os_error(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "The port is in use by another process; stop that one or choose another with --port."
    if error.errno == errno.EACCES and error.filename is None:
        return "The system does not allow that; for a port below 1024 choose a higher one with --port."
    where = f": {os.fspath(error.filename)}" if isinstance(error.filename, str) else ""
    return f"{error.strerror or type(error).__name__}{where}."
