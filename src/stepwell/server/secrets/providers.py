"""Where the values of secrets come from."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

_PREFIX = "STEPWELL_SECRET_"


class SecretUnavailable(Exception):
    """A value can not be had. ``kind`` is that of a broken request; ``final``: trying again is no use."""

    def __init__(self, message: str, kind: str = "invalid", *, final: bool = True) -> None:
        super().__init__(message)
        self.kind = kind
        self.final = final


class SecretProvider(Protocol):
    """A source of secrets. Asked at every request that needs one, so it keeps what is costly to get."""

    async def get(self, name: str, *, fresh: bool = False) -> str | None:
        """The value; None where this source has no such secret. ``fresh``: the last one was refused (401), get a new one.

        Raises :class:`SecretUnavailable` when it should have one and can not get it.
        """
        ...


class EnvironmentSecrets:
    """``STEPWELL_SECRET_<NAME>``, or the variable of the secret's own name. Only names with a rule are ever asked for."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env

    async def get(self, name: str, *, fresh: bool = False) -> str | None:
        """See :meth:`SecretProvider.get`."""
        del fresh
        plain = name.replace("-", "_")
        return self._env.get(_PREFIX + plain) or self._env.get(plain) or None


class GivenSecrets:
    """Values that are known from the start."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = dict(values)

    async def get(self, name: str, *, fresh: bool = False) -> str | None:
        """See :meth:`SecretProvider.get`."""
        del fresh
        return self._values.get(name)


class SecretFiles:
    """A file for each secret, as container platforms mount them; read anew at every use, so that they may change."""

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self._paths = dict(paths)

    async def get(self, name: str, *, fresh: bool = False) -> str | None:
        """See :meth:`SecretProvider.get`."""
        del fresh
        path = self._paths.get(name)
        if path is None:
            return None
        try:
            return (await asyncio.to_thread(path.read_text, encoding="utf-8")).strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not text"
            raise SecretUnavailable(f"the file of the secret {name!r} can not be read ({why}): {path}") from None
