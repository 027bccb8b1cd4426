"""Loads the clients in a user's module. Every way that it can fail names the file and the line."""

import importlib
import importlib.util
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from stepwell.cli.errors import CliError, one_line

if TYPE_CHECKING:
    from stepwell import Client

_PACKAGE = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")


def load_clients(target: str) -> list["Client"]:
    """The clients with functions in ``target``: a file, or the dotted name of a module; ``:name`` picks one.

    Raises :class:`CliError` when it is not there, does not load, or has no functions.
    """
    place, _, name = _split(target)
    dotted = all(part.isidentifier() for part in place.split(".")) and not place.endswith(".py")
    module = _load_name(place) if dotted else _load_file(Path(place))
    clients = _clients(module, name or None, place)
    if not any(client.functions for client in clients):
        raise CliError(f"{place} has a client but no functions; add one with @client.create_function(...).")
    return [client for client in clients if client.functions]


def _split(target: str) -> tuple[str, str, str]:
    place, colon, name = target.rpartition(":")
    if colon and name.isidentifier() and place:
        return place, colon, name
    return target, "", ""


def _clients(module: ModuleType, name: str | None, place: str) -> list["Client"]:
    from stepwell import Client

    if name is not None:
        found = getattr(module, name, None)
        if not isinstance(found, Client):
            raise CliError(f"{place} has no stepwell.Client called {name!r}.")
        return [found]
    unique = {id(value): value for value in vars(module).values() if isinstance(value, Client)}
    if not unique:
        raise CliError(f"{place} has no stepwell.Client; put client = stepwell.Client(app_id=...) at its top level.")
    return list(unique.values())


def _load_file(path: Path) -> ModuleType:
    if path.is_dir():
        raise CliError(f"{path} is a folder; name the file with your functions.", 2)
    if not path.is_file():
        raise CliError(f"There is no file {path}; give the path of the module with your functions.", 2)
    sys.path.insert(0, str(path.resolve().parent))
    name = path.stem if path.stem.isidentifier() and path.stem not in sys.modules else f"stepwell_app_{abs(hash(path))}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise CliError(f"{path} is not a Python file.", 2)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise CliError(_where(error, path)) from error
    return module


def _load_name(name: str) -> ModuleType:
    sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            raise CliError(f"There is no module {name!r}; give a file such as app.py, or a module name.", 2) from error
        raise CliError(_where(error, None)) from error
    except (Exception, SystemExit) as error:
        raise CliError(_where(error, None)) from error


def _where(error: BaseException, path: Path | None) -> str:
    """``file:line: what``, at the innermost line that is the user's own."""
    what = one_line(f"{type(error).__name__}: {error}")
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_shown(error.filename)}:{error.lineno}: {type(error).__name__}: {error.msg}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _own(frame.filename, path)]
    return f"{_shown(frames[-1].filename)}:{frames[-1].lineno}: {what}" if frames else what


def _own(filename: str, path: Path | None) -> bool:
    if path is not None and os.path.realpath(filename) == os.path.realpath(path):
        return True
    library = "site-packages" in filename or "importlib" in filename or filename.startswith(sys.base_prefix)
    return not library and not filename.startswith(_PACKAGE)


def _shown(filename: str) -> str:
    relative = os.path.relpath(filename)
    return filename if relative.startswith("..") else relative
