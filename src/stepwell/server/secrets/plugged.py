"""A source of secrets that somebody else wrote, named by a setting."""

import os
import sys
from importlib import import_module
from typing import cast

from stepwell.server.secrets.providers import SecretProvider
from stepwell.server.settings import SettingsError


def load_provider(target: str) -> SecretProvider:
    """What ``module:name`` makes: a class or function, called without arguments. Raises :class:`SettingsError`.

    Modules are also looked for in the current folder, after all other places.
    """
    place, _, name = target.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        made: object = getattr(import_module(place), name)()
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingsError(
            f"The provider of secrets {target!r} can not be made ({error}): write module:name."
        ) from error
    except Exception as error:  # its words may hold a credential
        words = f"The provider of secrets {target!r} can not be made: it raised {type(error).__name__}."
        raise SettingsError(words) from error
    if not callable(getattr(made, "get", None)):
        raise SettingsError(f"The provider of secrets {target!r} has no method get(name, *, fresh).")
    return cast("SecretProvider", made)
